# SPDX-License-Identifier: MIT
"""Entries of a transcript: calls, and notes between them."""

from __future__ import annotations

import os

from ioctl.encoding import Request
from ioctl.errors import errno_name
from ioctl.pointers import Capture


class Record:
    """One call. ``result`` stays None if it never returned: a signal handler raised, or it still hangs."""

    __slots__ = (
        "after",
        "before",
        "began_ns",
        "duration_ns",
        "errno",
        "fd",
        "nested",
        "request",
        "restarts",
        "result",
    )

    def __init__(self, fd: int, request: Request, before: bytes | int) -> None:
        self.fd = fd
        self.request = request
        self.before = before  # the argument's bytes, or the number given in place of a structure
        self.after: bytes = b""
        self.result: int | None = None
        self.errno = 0
        self.restarts = 0
        self.began_ns = 0
        self.duration_ns = 0
        self.nested: list[Capture] | None = None


class Note:
    """Something between two calls, for example a change of a mapping; converted to text when it is read.

    ``replay`` is the Python line that does it again, if there is one. It finds os, mmap, ctypes, errno, libc
    and a variable fd5 for each descriptor 5 of the transcript.
    """

    __slots__ = ("replay", "what")

    def __init__(self, what: object, replay: str = "") -> None:
        self.what = what
        self.replay = replay

    def __str__(self) -> str:
        return str(self.what)


def outcome(record: Record) -> str:
    """Result of a call in the notation of strace."""
    if record.result is None:
        return "? <unfinished>"
    restarts = f", restarted {record.restarts} times" if record.restarts else ""
    took = f"<{record.duration_ns / 1e9:.6f}{restarts}>"
    if record.errno:
        name = errno_name(record.errno)
        return f"-1 {name} ({os.strerror(record.errno)}) {took}"
    return f"{record.result} {took}"
