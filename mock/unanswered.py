# SPDX-License-Identifier: MIT
"""The calls the mock has received and not answered, in memory that its keeper shares.

A notification that was received cannot be received again: when the mock dies, its keeper must know whom to
answer.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

_SLOTS = mmap.PAGESIZE // 8
_CURRENT = 0


class Unanswered:
    """Made before the fork that parts mock and keeper. Slot 0 is the call in hand, the others are callers
    that sleep.
    """

    def __init__(self) -> None:
        self._slots = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self._free = list(range(1, _SLOTS))
        self._sleeping: dict[int, int] = {}

    def begin(self, ident: int) -> None:
        """A call was received; it takes the place of the one before."""
        self._slots[_CURRENT] = ident

    def sleep(self, ident: int) -> None:
        """Its answer comes later. More than 500 sleepers are not remembered."""
        if self._free:
            slot = self._sleeping[ident] = self._free.pop()
            self._slots[slot] = ident

    def wake(self, ident: int) -> None:
        """It was answered, or its caller died."""
        slot = self._sleeping.pop(ident, None)
        if slot is not None:
            self._slots[slot] = 0
            self._free.append(slot)

    def __iter__(self) -> Iterator[int]:
        """Calls that may be unanswered."""
        return (ident for ident in self._slots if ident)
