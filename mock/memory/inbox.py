# SPDX-License-Identifier: MIT
"""Events that a userfaultfd has reported and that are not handled yet.

A client's munmap, madvise, mremap and fork sleep until their event is read, and UFFDIO_COPY fails with EAGAIN
in the meantime: so events are read whenever the mock waits for anything, kept here in order, and acted on when the
driver is idle.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from mock.kernel import PAGE_SIZE
from mock.linux.userfaultfd import PAGEFAULT_WRITE, Busy, Kind, Message, Userfaultfd
from mock.memory.intervals import Intervals

T = TypeVar("T")

PATIENCE = 0.1
"""Seconds to wait for a client that holds up a mapping change. Others wait that long, but only once."""


@dataclass(frozen=True, slots=True)
class Unmapped:
    """The mapping of [start, end) is gone."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Removed:
    """The pages of [start, end) are dropped."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Moved:
    """[start, end) is now mapped at ``new``."""

    start: int
    end: int
    new: int


@dataclass(frozen=True, slots=True)
class Forked:
    """fork(2); ``child`` is the userfaultfd of the child's memory."""

    child: Userfaultfd


Happening = Unmapped | Removed | Moved | Forked


class StuckError(Exception):
    """A mapping change of the client did not end in PATIENCE seconds."""


class Inbox:
    """Unread and undigested messages of one userfaultfd, in the order in which the changes were made.

    A change is made first and its event queued a moment later, so events of two threads can come in the wrong
    order: one moves memory to a place before the event by which another one left it. ``places``, the registered
    ones, tell.
    """

    def __init__(
        self, uffd: Userfaultfd, arrived: Callable[[], None], forked: Callable[[Userfaultfd], None]
    ) -> None:
        """``arrived`` is called when there is something to digest, ``forked`` at once for each fork."""
        self._uffd = uffd
        self.fd = uffd.fd
        self._arrived = arrived
        self._forked = forked
        self._removes: list[Removed] | None = None
        self._trailing: list[tuple[int, int]] = []
        self._staying: set[int] = set()
        self._held: list[tuple[Moved, bool]] = []
        self.reserved = False
        """A zap is running: only the zap reads (see memory.zap)."""
        self._stuck = False
        self.places = Intervals()
        self.happenings: deque[Happening] = deque()
        self.faults: dict[int, Message] = {}

    def read(self, most: int = 64) -> bool:
        """Read waiting messages, at most ``most``. Returns whether there were any."""
        return not self.reserved and self.read_anyway(most)

    def read_anyway(self, most: int) -> bool:
        """The same, for the zap itself."""
        messages = self._uffd.read(most)
        for message in messages:
            self._sort(message)
        if messages:
            self._arrived()
        return bool(messages)

    def stays(self, address: int) -> None:
        """An mremap of the mapping at ``address`` is coming which leaves the old mapping there
        (MREMAP_DONTUNMAP).
        """
        self._staying.add(address)

    def _sort(self, message: Message) -> None:
        match message.kind:
            case Kind.PAGEFAULT:
                page = message.b & -PAGE_SIZE
                before = self.faults.get(page)
                if before is None or message.a & PAGEFAULT_WRITE:
                    self.faults[page] = message
            case Kind.UNMAP:
                self._unmapped(message.a, message.b)
            case Kind.REMOVE:
                removed = Removed(message.a, message.b)
                self.happenings.append(removed)
                if self._removes is not None:
                    self._removes.append(removed)
            case Kind.REMAP:
                self._moved(Moved(message.a, message.a + message.c, message.b))
            case Kind.FORK:
                child = Userfaultfd(message.a)
                self._forked(child)
                self.happenings.append(Forked(child))

    def _unmapped(self, start: int, end: int) -> None:
        if (start, end) in self._trailing:
            # The end of an mremap that was reported as a whole.
            self._trailing.remove((start, end))
            return
        self.happenings.append(Unmapped(start, end))
        self.places.remove(start, end)
        self._release_held()

    def _moved(self, moved: Moved) -> None:
        if moved.start in self._staying:
            self._staying.remove(moved.start)
            leaving = False
        else:
            self._trailing.append((moved.start, moved.end))
            leaving = True
        self._held.append((moved, leaving))
        self._release_held()

    def _release_held(self) -> None:
        """Report moves, but not before their destination was vacated: nothing could have been moved there before, so
        that event is on its way.
        """
        held, self._held = self._held, []
        for moved, leaving in held:
            if self.places.overlaps(moved.new, moved.new + moved.end - moved.start):
                self._held.append((moved, leaving))
                continue
            self.happenings.append(moved)
            if leaving:
                self.happenings.append(Unmapped(moved.start, moved.end))
                self.places.remove(moved.start, moved.end)
            self.places.add(moved.new, moved.new + moved.end - moved.start)
        if 0 < len(self._held) < len(held):
            self._release_held()

    @property
    def holding(self) -> bool:
        """Whether moves wait for other events."""
        return bool(self._held)

    def release_all(self) -> None:
        """No event is on its way any more (see Migration.barrier): report moves regardless of the recorded places."""
        for moved, _ in self._held:
            self.places.remove(moved.new, moved.new + moved.end - moved.start)
        self._release_held()

    def insist(self, operation: Callable[[], T]) -> T:
        """Repeat an operation on the userfaultfd while it is Busy. Raises StuckError: after PATIENCE, and from then on
        at once, until something succeeds.
        """
        deadline = 0.0
        while True:
            try:
                result = operation()
            except Busy:
                now = time.monotonic()
                deadline = deadline or now + PATIENCE
                read = self.read()
                if now > deadline or self.reserved or (self._stuck and not read):
                    self._stuck = True
                    raise StuckError from None
            else:
                self._stuck = False
                return result
            # The event is either still to be read, or read and its thread about to run.
            if not read:
                os.sched_yield()

    def overlapping(self, start: int, end: int) -> list[Unmapped | Removed | Moved]:
        """Undigested changes of [start, end), in order."""
        return [
            happening
            for happening in self.happenings
            if not isinstance(happening, Forked) and happening.start < end and start < happening.end
        ]

    def arriving(self, start: int, end: int) -> bool:
        """Whether an undigested change has moved memory into [start, end)."""
        return any(
            isinstance(move, Moved) and move.new < end and start < move.new + move.end - move.start
            for move in self.happenings
        )

    def unsettled(self, start: int, end: int) -> Iterator[int]:
        """Pages of [start, end) that an undigested change affects, at their old or new place."""
        for happening in self.happenings:
            if isinstance(happening, Forked):
                continue
            places = [(happening.start, happening.end)]
            if isinstance(happening, Moved):
                places.append((happening.new, happening.new + happening.end - happening.start))
            for low, high in places:
                yield from range(max(low, start), min(high, end), PAGE_SIZE)

    def follow(self, page: int) -> int | None:
        """Address of a page after the pending changes; None if they removed it. Our own REMOVE events are ignored."""
        undecided = self._removes or []
        for happening in self.happenings:
            if isinstance(happening, Forked) or not happening.start <= page < happening.end:
                continue
            if isinstance(happening, Moved):
                page += happening.new - happening.start
            elif not any(happening is removed for removed in undecided):
                return None
        return page

    # madvise by our own hand (zap) makes REMOVE events too, which look like the client's.

    def expect_removes(self) -> None:
        """From now on REMOVE events may be our own."""
        self._removes = []

    def settle_removes(self, start: int, end: int) -> bool:
        """Our own madvise ran over [start, end): take its events out.

        It went from mapping to mapping, so its events join without gaps from start to end; of two that start
        at the same address the longer is ours (the other stopped short of a mapping's end), of equal ones the
        later (the client's can have been followed by other changes of the place, ours cannot). Returns False
        when ours has gaps: the madvise met a mapping that is not registered.
        """
        removes, self._removes = self._removes or [], None
        at = start
        while at < end:
            starting = [
                removed for removed in reversed(removes) if removed.start == at and removed.end <= end
            ]
            if not starting:
                return False
            ours = max(starting, key=lambda removed: removed.end)
            self.happenings = deque(happening for happening in self.happenings if happening is not ours)
            at = ours.end
        return True
