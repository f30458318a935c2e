# SPDX-License-Identifier: MIT
"""A client's address space as the driver follows it: who mirrors it, which of its pages are in VRAM.

One for each mm, shared by all devices: memory migrates between them, and every VM hears of every change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sortedcontainers import SortedDict  # type: ignore[import-untyped]

from mock.driver import copies
from mock.driver.devmem import DevMem, runs
from mock.driver.platform import SZ_4K
from mock.kernel import Change

if TYPE_CHECKING:
    from mock.kernel import Mm


class Mirror(Protocol):
    """Something that maps memory of the process for a GPU (mmu_interval_notifier)."""

    def changed(self, start: int, end: int, *, unmapped: bool) -> None:
        """The pages of [start, end) are about to change or move; `unmapped`: the mapping is gone."""


class Process:
    """Implements mock.kernel.Notifier."""

    def __init__(self, mm: Mm) -> None:
        self.mm = mm
        self.pages: SortedDict = SortedDict()
        """Address -> (DevMem, index) of the pages in VRAM."""
        self._mirrors: list[Mirror] = []
        mm.register(self)

    def add(self, mirror: Mirror) -> None:
        if mirror not in self._mirrors:
            self._mirrors.append(mirror)

    def remove(self, mirror: Mirror) -> None:
        if mirror in self._mirrors:
            self._mirrors.remove(mirror)

    def device_pages(self, start: int, end: int) -> list[tuple[int, DevMem, int]]:
        """(address, allocation, index) of the pages of [start, end) in VRAM, ascending."""
        return [(address, *self.pages[address]) for address in self.pages.irange(start, end, (True, False))]

    def notify(self, start: int, end: int, *, unmapped: bool = False) -> None:
        """Tell every mirror of a change."""
        for mirror in list(self._mirrors):
            mirror.changed(start, end, unmapped=unmapped)

    # Out of VRAM

    def to_system(self, devmem: DevMem, indices: list[int]) -> None:
        """Move pages of an allocation to system memory. Those that the kernel does not take now stay."""
        addresses = sorted((devmem.addresses[index], index) for index in indices if index in devmem.addresses)
        if not addresses:
            return
        with copies.timed(devmem.pagemap.tile.primary_gt, "cpu", len(addresses)):
            for first, count in runs((address for address, _ in addresses), SZ_4K):
                self.notify(first, first + count * SZ_4K)
            moved = []
            for first, count in runs((address for address, _ in addresses), SZ_4K):
                moved += self._restore(first, count)
        copies.count(devmem.pagemap.tile.primary_gt, "cpu", moved)
        for address in moved:
            devmem.detach(self.pages[address][1])

    def _restore(self, first: int, count: int) -> list[int]:
        pages = [first + number * SZ_4K for number in range(count)]
        data = b"".join(devmem.page(index) for devmem, index in (self.pages[page] for page in pages))
        stuck = set(self.mm.restore(first, data)) if self.mm.alive else set()
        return [page for page in pages if page not in stuck]

    # mock.kernel.Notifier

    def invalidated(self, mm: Mm, start: int, end: int, change: Change) -> None:
        self.notify(start, end, unmapped=change is Change.UNMAP)
        if change is not Change.FORK:
            self._drop(start, end)

    def remapped(self, mm: Mm, old: int, new: int, size: int) -> None:
        self.notify(old, old + size, unmapped=True)
        moved = self.device_pages(old, old + size)
        for address, _, _ in moved:
            del self.pages[address]
        for address, devmem, index in moved:
            devmem.attach(index, address - old + new)

    def forked(self, mm: Mm, child: Mm) -> None:
        for first, count in runs(list(self.pages), SZ_4K):
            pages = (self.pages[first + number * SZ_4K] for number in range(count))
            child.restore(first, b"".join(devmem.page(index) for devmem, index in pages))

    def cpu_fault(self, mm: Mm, address: int, *, write: bool) -> None:
        """Bring back the whole allocation that the page belongs to (drm_pagemap_migrate_to_ram)."""
        if address not in self.pages:
            return
        devmem, _ = self.pages[address]
        if devmem.busy:
            return
        # The stretch of the allocation's size that holds the page, as far as it is one mapping of the process.
        start = address // devmem.size * devmem.size
        end = start + devmem.size
        for vma in mm.vmas(address, address + SZ_4K):
            start, end = max(start, vma.start), min(end, vma.end)
        inside = [index for _, where, index in self.device_pages(start, end) if where is devmem]
        self.to_system(devmem, inside)

    def exited(self, mm: Mm) -> None:
        self.notify(0, 1 << 64, unmapped=True)
        self._drop(0, 1 << 64)

    def _drop(self, start: int, end: int) -> None:
        """The process gave the memory up."""
        for _, devmem, index in self.device_pages(start, end):
            devmem.detach(index)


class Processes:
    """The address spaces that the driver follows."""

    def __init__(self) -> None:
        self._by_mm: dict[Mm, Process] = {}

    def of(self, mm: Mm) -> Process:
        """That of an mm, made when first asked for."""
        self._by_mm = {known: process for known, process in self._by_mm.items() if known.alive}
        if mm not in self._by_mm:
            self._by_mm[mm] = Process(mm)
        return self._by_mm[mm]
