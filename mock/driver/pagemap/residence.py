# SPDX-License-Identifier: MIT
"""Location of process memory in VRAM, by stretches, not by pages: 2 MiB would have 512."""

from __future__ import annotations

from collections.abc import Iterator

from mock.driver.lib.interval import IntervalMap
from mock.driver.pagemap.devmem import Stretch


class Residence:
    """The stretches of one process."""

    def __init__(self) -> None:
        self._stretches: IntervalMap[Stretch] = IntervalMap()

    def __iter__(self) -> Iterator[Stretch]:
        return iter(self._stretches)

    def at(self, address: int) -> Stretch | None:
        """The stretch that holds an address."""
        return self._stretches.at(address)

    def within(self, start: int, end: int) -> list[Stretch]:
        """The stretches of [start, end), ascending, clipped to it."""
        return [stretch.clipped(start, end) for stretch in self._stretches.overlapping(start, end)]

    def add(self, stretch: Stretch) -> None:
        """Add memory that is in VRAM now, and was not before."""
        self._stretches.insert(stretch)
        stretch.devmem.stretches[stretch] = None

    def take(self, start: int, end: int) -> list[Stretch]:
        """Remove [start, end) and return the removed stretches. The allocation keeps its VRAM."""
        taken = []
        for stretch in list(self._stretches.overlapping(start, end)):
            self._stretches.remove(stretch)
            del stretch.devmem.stretches[stretch]
            taken.append(stretch.clipped(start, end))
            for low, high in ((stretch.start, start), (end, stretch.end)):
                if low < high:
                    self.add(stretch.clipped(low, high))
        return taken

    def drop(self, start: int, end: int) -> None:
        """Remove [start, end). An allocation that is empty then frees its VRAM."""
        for devmem in {stretch.devmem: None for stretch in self.take(start, end)}:
            if not devmem.stretches:
                devmem.release()
