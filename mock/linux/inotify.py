# SPDX-License-Identifier: MIT
"""inotify(7) on unnamed files, to notice the last close of an open file."""

from __future__ import annotations

import ctypes
import os
import struct

IN_CLOSE_WRITE = 0x8
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
IN_Q_OVERFLOW = 0x4000
"""Flag of an event with watch descriptor -1: events were lost."""
IN_IGNORED = 0x8000

_EVENT = struct.Struct("=iIII")
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


class Inotify:
    """One inotify instance, non-blocking."""

    def __init__(self) -> None:
        self.fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")

    def watch(self, fd: int, mask: int) -> int:
        """Watch the inode of an open descriptor; returns the watch. Raises OSError(ENOSPC): max_user_watches."""
        return _check(
            _libc.inotify_add_watch(self.fd, f"/proc/self/fd/{fd}".encode(), mask), "inotify_add_watch"
        )

    def forget(self, watch: int) -> None:
        """Remove a watch."""
        _libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> list[tuple[int, int]]:
        """(watch descriptor, mask) of each pending event. The kernel merges equal consecutive events."""
        try:
            data = os.read(self.fd, 16384)
        except (BlockingIOError, InterruptedError):
            return []
        events, at = [], 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            events.append((watch, mask))
            at += _EVENT.size + length
        return events
