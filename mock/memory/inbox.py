# SPDX-License-Identifier: MIT
"""What a userfaultfd has told and nobody has acted on yet.

A client's munmap, madvise, mremap and fork sleep until their event is read, and UFFDIO_COPY fails with EAGAIN
meanwhile: so events are read whenever the mock waits for anything, kept here in order, and acted on when the
driver is idle.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mock.kernel import PAGE_SIZE
from mock.linux.userfaultfd import PAGEFAULT_WRITE, Busy, Kind, Message, Userfaultfd

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds until a client that holds up a mapping change is given up."""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """[start, end) is not mapped any more."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Removed:
    """The pages of [start, end) go."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Moved:
    """[start, end) is mapped at `new` now."""

    start: int
    end: int
    new: int


@dataclass(frozen=True, slots=True)
class Forked:
    """fork(2); `child` is the userfaultfd of the child's memory."""

    child: Userfaultfd


Happening = Unmapped | Removed | Moved | Forked


class StuckError(Exception):
    """A mapping change of the client did not end in PATIENCE seconds."""


class Inbox:
    """Unread and undigested messages of one userfaultfd."""

    def __init__(
        self, uffd: Userfaultfd, arrived: Callable[[], None], forked: Callable[[Userfaultfd], None]
    ) -> None:
        """`arrived` is called when there is something to digest, `forked` at once for each fork."""
        self._uffd = uffd
        self.fd = uffd.fd
        self._arrived = arrived
        self._forked = forked
        self._removes: list[Removed] | None = None
        self.happenings: deque[Happening] = deque()
        self.faults: dict[int, Message] = {}

    def read(self) -> bool:
        """Take in what waits; whether there was something."""
        messages = self._uffd.read()
        for message in messages:
            self._sort(message)
        if messages:
            self._arrived()
        return bool(messages)

    def _sort(self, message: Message) -> None:
        match message.kind:
            case Kind.PAGEFAULT:
                page = message.b & -PAGE_SIZE
                before = self.faults.get(page)
                if before is None or message.a & PAGEFAULT_WRITE:
                    self.faults[page] = message
            case Kind.UNMAP:
                self.happenings.append(Unmapped(message.a, message.b))
            case Kind.REMOVE:
                removed = Removed(message.a, message.b)
                if self._removes is not None:
                    self._removes.append(removed)
                else:
                    self.happenings.append(removed)
            case Kind.REMAP:
                self.happenings.append(Moved(message.a, message.a + message.c, message.b))
            case Kind.FORK:
                child = Userfaultfd(message.a)
                self._forked(child)
                self.happenings.append(Forked(child))

    def insist(self, operation: Callable[[], T]) -> T:
        """Repeat an operation on the userfaultfd while it is Busy. Raises StuckError."""
        deadline = 0.0
        while True:
            try:
                return operation()
            except Busy:
                now = time.monotonic()
                deadline = deadline or now + PATIENCE
                if now > deadline:
                    raise StuckError from None
            # The event is either still to be read, or read and its thread about to run.
            if not self.read():
                os.sched_yield()

    def overlapping(self, start: int, end: int) -> list[Unmapped | Removed | Moved]:
        """Undigested changes of [start, end), in order."""
        return [
            happening
            for happening in self.happenings
            if not isinstance(happening, Forked) and happening.start < end and start < happening.end
        ]

    # madvise by our own hand (zap) makes REMOVE events too, which look like the client's.

    def expect_removes(self) -> None:
        """Set REMOVE events aside from now on."""
        self._removes = []

    def settle_removes(self, start: int, end: int) -> bool:
        """End that: our own madvise ran over [start, end). What remains are the client's, which are queued.

        Ours went from mapping to mapping, so its events join without gaps from start to end; of two that
        start at the same address the longer is ours, the other stopped short of a mapping's end. Returns
        False when ours has gaps: the madvise met a mapping that is not registered.
        """
        removes, self._removes = self._removes or [], None
        at = start
        while at < end:
            ours = max(
                (r for r in removes if r.start == at and r.end <= end), key=lambda r: r.end, default=None
            )
            if ours is None:
                break
            removes.remove(ours)
            at = ours.end
        self.happenings.extend(removes)
        return at >= end
