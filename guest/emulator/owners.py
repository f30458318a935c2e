# SPDX-License-Identifier: MIT
"""Who a page of VRAM belongs to, as far as the GPU's own accesses tell.

The driver gives VRAM to a new owner through its migration queue: it clears the page or copies data in. So a
user's translation that was walked *before* such a write leads to memory that has another owner now, whether a
translation was not invalidated or a page table still holds the old address. Pages that were walked as page
tables are known too.
"""

from __future__ import annotations

from array import array

from guest.emulator.memory import PAGE, Vram


class Clock:
    """Counts gifts of memory, over all GPUs that reach one another's."""

    def __init__(self) -> None:
        self.now = 0


class Owners:
    """For each 4 KiB page of a VRAM when the driver last gave it away, and whether it is in use as a page
    table.
    """

    def __init__(self, vram: Vram, clock: Clock) -> None:
        self._given = array("I", bytes(4 * (vram.size // PAGE)))
        self._clock = clock
        self._tables: set[int] = set()

    def give(self, offset: int, size: int) -> None:
        """The driver's own context writes `size` bytes at a VRAM offset."""
        first, end = offset // PAGE, (offset + size + PAGE - 1) // PAGE
        self._clock.now += 1
        if end - first == 1:
            self._given[first] = self._clock.now
            self._tables.discard(first)
        else:
            self._given[first:end] = array("I", [self._clock.now]) * (end - first)
            self._tables.difference_update(range(first, end))

    def given_since(self, offset: int, size: int, moment: int) -> bool:
        """Whether a page of the range was given away after `moment`."""
        first, end = offset // PAGE, (offset + size + PAGE - 1) // PAGE
        if end - first == 1:
            return self._given[first] > moment
        return max(self._given[first:end], default=0) > moment

    def use_as_tables(self, offsets: tuple[int, ...]) -> None:
        """The walker went through these pages."""
        self._tables.update(offset // PAGE for offset in offsets)

    def is_table(self, offset: int, size: int) -> bool:
        """Whether a page of the range is a page table."""
        tables = self._tables
        first, end = offset // PAGE, (offset + size + PAGE - 1) // PAGE
        if end - first == 1:
            return first in tables
        return not tables.isdisjoint(range(first, end))
