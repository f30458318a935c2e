# SPDX-License-Identifier: MIT
"""The calls that the mock has received and not answered, in memory shared with its keeper.

A notification that was received cannot be received again: when the mock dies, its keeper must know whom to
answer.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

_SLOTS = mmap.PAGESIZE // 8
_CURRENT = 0


class Unanswered:
    """Created before mock and keeper fork. Slot 0 is the current call, the others are callers that sleep."""

    def __init__(self) -> None:
        self._slots = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")
        self._free = list(range(1, _SLOTS))
        self._sleeping: dict[int, int] = {}

    def begin(self, ident: int) -> None:
        """A call was received; it replaces the previous one."""
        self._slots[_CURRENT] = ident

    def sleep(self, ident: int) -> None:
        """Its answer comes later. Sleepers beyond 500 are not recorded."""
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
