# SPDX-License-Identifier: MIT
"""The steps of a test, its ioctls and others, in order, recorded cheaply: enough to write it as a program.

A step is a tuple, made without formatting: mappings and accesses of the process, waits, children, and the records of
its ioctls. ``Steps.export`` turns them into plain data when a test has failed, for ``svmcts reproduce``. ``check`` has
the expected and the actual value of the failing check, ``obstacle`` the reason why steps cannot describe the test.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from threading import get_ident
from time import perf_counter_ns
from typing import Any

from ioctl.record import Record

FORMAT = 1
"""Version of the steps, increased when the meaning of one changes."""
KEPT = 4096
"""Maximum number of steps; later ones are dropped, which the export records."""
WHOLE = 1 << 16
"""Maximum number of bytes to keep of a load or store."""
MOST = 1 << 22
"""Maximum number of bytes to keep of all loads and stores of a test."""
CHUNK = 64
"""Bytes of the pattern to search for in a store that is too long to keep."""
PERIOD = 4096
"""Longest pattern to search for in a store."""

Step = tuple[str, int, int, tuple[Any, ...]]
"""Kind, thread, time in ns of CLOCK_MONOTONIC, and the fields of the kind."""
Data = dict[str, Any]

FIELDS: dict[str, tuple[str, ...]] = {
    "open": ("fd", "path"),
    "close": ("fd",),
    "dup": ("fd", "to"),
    "reserve": ("address", "size"),
    "mmap": ("address", "size", "protection", "flags", "fd", "offset", "file", "result", "errno"),
    "munmap": ("address", "size", "errno"),
    "mprotect": ("address", "size", "protection", "errno"),
    "mremap": ("address", "size", "new_size", "flags", "new_address", "result", "errno"),
    "madvise": ("address", "size", "advice", "errno"),
    "mlock": ("address", "size", "errno"),
    "munlock": ("address", "size", "errno"),
    "load": ("address", "size", "value"),
    "store": ("address", "size", "value"),
    "read": ("address", "size", "data"),
    "write": ("address", "size", "data"),
    "present": ("address", "value"),
    "put": ("path", "text"),
    "get": ("path",),
    "counters": ("node", "gt", "values"),
    "wait": ("deadline", "what"),
    "waited": ("met",),
    "fork": ("child",),
    "reap": ("child", "signal", "steps"),
}
"""Fields of each kind of step, in order; "ioctl" has a record."""


_WITH_DATA = frozenset({"read", "write"})


class Steps:
    """The first ``kept`` steps of a test."""

    def __init__(self, kept: int = KEPT) -> None:
        self.items: list[Step] = []
        self.dropped = 0
        self.check: Data | None = None
        """Expected and actual value of the last failed check."""
        self.obstacle = ""
        """Reason why the steps are incomplete."""
        self._kept = kept
        self._bytes = 0
        self._sink = -1
        self._children = 0

    def add(self, kind: str, *values: Any) -> None:
        """Appends a step; the same load again, as in a loop that waits, is one."""
        items = self.items
        if len(items) >= self._kept:
            self.dropped += 1
            return
        thread = get_ident()
        if kind == "load" and items:
            last = items[-1]
            if last[0] == "load" and last[3] == values and last[1] == thread:
                return
        if kind in _WITH_DATA:
            values = (*values[:2], self._data(values[2]))
        items.append((kind, thread, perf_counter_ns(), values))
        if self._sink >= 0 and kind != "ioctl":
            self._send(items[-1])

    def _data(self, data: bytes) -> bytes | Data:
        """Recorded form of bytes: themselves, a pattern, or only their number."""
        size = len(data)
        if size > WHOLE:
            chunk = data[:CHUNK]
            if size % CHUNK == 0 and data == chunk * (size // CHUNK):
                return {"hex": chunk.hex(), "size": size}
            return {"size": size}
        self._bytes += size
        return data if self._bytes <= MOST else {"size": size}

    def called(self, record: Record) -> None:
        """An ioctl has returned; in a child its step is complete only now."""
        if self._sink >= 0:
            self._send(("ioctl", get_ident(), record.began_ns, (record,)))

    def failed(self, check: str, **facts: Any) -> None:
        """Records expected and actual value of a check that is about to fail the test; the last one counts."""
        self.check = {"check": check, "after": len(self.items), **facts}
        if self._sink >= 0:
            self._send(("check", get_ident(), perf_counter_ns(), (self.check,)))

    def cannot(self, why: str) -> None:
        """Records an action of the test that steps cannot describe."""
        self.obstacle = self.obstacle or why

    def back_to(self, mark: int) -> None:
        """Drops all steps from ``mark`` on: a state machine starts again, and only its last run counts."""
        del self.items[mark:]
        self.check, self.dropped, self._bytes = None, 0, 0

    def forget_from(self, mark: int) -> None:
        """Drops the steps of a condition that did not hold: only the last round of a waiting loop is kept."""
        thread = get_ident()
        if all(item[1] == thread for item in self.items[mark:]):
            del self.items[mark:]

    # Children of fork: their steps go into a file that the parent reads when they have ended.

    def fork(self) -> Branch:
        """To be called before fork(2)."""
        self._children += 1
        branch = Branch(self._children)
        self.add("fork", branch.number)
        return branch

    def begin_child(self, branch: Branch) -> None:
        """In the child: record its own steps from now on, and write each at once, as a signal may end it."""
        self.items, self.check, self.dropped = [], None, 0
        self._sink = branch.file

    def end_child(self, branch: Branch, signal: int) -> None:
        """To call in the parent when the child has ended."""
        steps = branch.read()
        for kind, _, _, values in steps:
            if kind == "check":
                self.check = {**values[0], "after": len(self.items), "child": branch.number}
        self.add("reap", branch.number, signal, [step for step in steps if step[0] != "check"])

    def _send(self, step: Step) -> None:
        try:
            data = pickle.dumps(step)
            os.write(self._sink, len(data).to_bytes(4, "little") + data)
        except (OSError, pickle.PickleError, TypeError, AttributeError):
            self._sink = -1

    def export(self) -> Data | None:
        """All steps as data for JSON; None if there are none."""
        if not self.items:
            return None
        main = self.items[0][1]
        threads: dict[int, int] = {main: 0}
        return {
            "format": FORMAT,
            "steps": _exported(self.items, threads),
            "check": self.check,
            **({"dropped": self.dropped} if self.dropped else {}),
            **({"obstacle": self.obstacle} if self.obstacle else {}),
        }


class Branch:
    """A child of fork, and the file that its steps go to."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.file = os.memfd_create("steps", os.MFD_CLOEXEC)

    def read(self) -> list[Step]:
        """Output of the child; it has ended then."""
        data = os.pread(self.file, os.fstat(self.file).st_size, 0)
        os.close(self.file)
        steps, at = [], 0
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            if at + 4 + size > len(data):
                break
            steps.append(pickle.loads(data[at + 4 : at + 4 + size]))
            at += 4 + size
        return steps


def _exported(items: list[Step], threads: dict[int, int]) -> list[Data]:
    steps = []
    for kind, thread, at, values in items:
        number = threads.setdefault(thread, len(threads))
        step: Data = {"do": kind, "at": at, **({"thread": number} if number else {})}
        if kind == "ioctl":
            step |= _of_record(values[0])
        elif kind in FIELDS:
            step |= {
                name: value
                for name, value in zip(FIELDS[kind], values, strict=True)
                if value not in (None, "") and (value or name not in ("errno", "file", "offset"))
            }
        if kind == "reap":
            step["steps"] = _exported(step["steps"], {})
        for name in ("data",):
            if name in step:
                step[name] = packed(step[name])
        steps.append(step)
    return steps


def _of_record(record: Record) -> Data:
    before = record.before
    data: Data = {
        "request": record.request.name,
        "fd": record.fd,
        "before": before if isinstance(before, int) else before.hex(),
    }
    if record.result is None:
        data["result"] = None
    elif record.errno:
        data["errno"] = record.errno
    elif record.result:
        data["result"] = record.result
    if not isinstance(before, int) and record.after != before:
        data["after"] = record.after.hex()
    if record.duration_ns:
        data["took"] = record.duration_ns
    if record.nested:
        data["nested"] = [
            {
                "field": capture.field,
                "kind": type(capture.pointer).__name__,
                "address": capture.address,
                "size": capture.size,
                **({"before": capture.before.hex()} if capture.before is not None else {}),
                **({"after": capture.after.hex()} if capture.after is not None else {}),
            }
            for capture in record.nested
        ]
    return data


_REPEATED = re.compile(rb"(.{1,16}?)\1+", re.DOTALL)


def packed(data: bytes | Data) -> Data:
    """Bytes as hexadecimal digits and their number: a repeated pattern once, and no digits of what was too long."""
    if isinstance(data, dict):
        return data
    if match := _REPEATED.fullmatch(data):
        return {"hex": match[1].hex(), "size": len(data)}
    for period in (32, 64, 256, 1024, PERIOD):
        if len(data) > period and data[period:] == data[:-period]:
            return {"hex": data[:period].hex(), "size": len(data)}
    return {"hex": data.hex(), "size": len(data)} if len(data) <= WHOLE else {"size": len(data)}


def unpacked(data: Data) -> bytes | None:
    """The bytes passed to ``packed``; None if they were too long."""
    if "hex" not in data:
        return None
    pattern = bytes.fromhex(data["hex"])
    size: int = data["size"]
    return (pattern * (size // len(pattern) + 1))[:size] if pattern else b""


def plain(value: Any, depth: int = 0) -> Any:
    """A value of a comparison as data for JSON, if a program can compare it; else None."""
    convert: Callable[[Any], Any] = plain
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, bytes | bytearray):
        return packed(bytes(value))
    if isinstance(value, list | tuple) and depth < 1 and len(value) <= 64:
        items = [convert(item, 1) for item in value]  # type: ignore[call-arg]
        return items if all(isinstance(item, int) for item in items) else None
    return None
