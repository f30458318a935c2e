# SPDX-License-Identifier: MIT
"""A client's address space as the driver tracks it: its mirrors, and its pages in VRAM.

One for each mm, shared by all devices: memory migrates between them, and every VM is notified of every change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mock.driver.lib.errors import Refused
from mock.driver.lib.sizes import SZ_4K
from mock.driver.pagemap import copies
from mock.driver.pagemap.devmem import Stretch
from mock.driver.pagemap.residence import Residence
from mock.kernel import Change
from mock.spans import joined, runs

if TYPE_CHECKING:
    from mock.driver.pagemap.devmem import DevMem
    from mock.kernel import Mm


class Mirror(Protocol):
    """Maps memory of the process for a GPU (mmu_interval_notifier)."""

    def changed(self, start: int, end: int, *, unmapped: bool) -> None:
        """The pages of [start, end) are about to change or move; ``unmapped``: the mapping is gone."""


class Process:
    """Implements mock.kernel.Notifier."""

    def __init__(self, mm: Mm) -> None:
        self.mm = mm
        self.vram = Residence()
        self._mirrors: list[Mirror] = []
        mm.register(self)

    def add(self, mirror: Mirror) -> None:
        if mirror not in self._mirrors:
            self._mirrors.append(mirror)

    def remove(self, mirror: Mirror) -> None:
        if mirror in self._mirrors:
            self._mirrors.remove(mirror)

    def notify(self, start: int, end: int, *, unmapped: bool = False) -> None:
        """Notify every mirror of a change."""
        for mirror in list(self._mirrors):
            mirror.changed(start, end, unmapped=unmapped)

    # Out of VRAM

    def to_system(self, devmem: DevMem, stretches: list[Stretch]) -> None:
        """Move memory of an allocation to system memory. Pages that the kernel does not accept now stay."""
        stretches = sorted(stretches, key=lambda stretch: stretch.start)
        if not stretches:
            return
        size = sum(stretch.size for stretch in stretches)
        ranges = list(joined((stretch.start, stretch.end) for stretch in stretches))
        with copies.timed(devmem.pagemap.stats, "cpu", size):
            for start, end in ranges:
                self.notify(start, end)
            moved = [part for start, end in ranges for part in self._restore(start, end)]
        copies.count(devmem.pagemap.stats, "cpu", moved)
        for start, end in moved:
            self.vram.drop(start, end)

    def _restore(self, start: int, end: int) -> list[tuple[int, int]]:
        """Move [start, end) to system memory. Returns the parts that were moved."""
        stuck = self.mm.restore(start, self._contents(start, end)) if self.mm.alive else []
        if not stuck:
            return [(start, end)]
        return list(runs(page for page in range(start, end, SZ_4K) if page not in set(stuck)))

    def _contents(self, start: int, end: int) -> bytes:
        """Contents of [start, end), which is in VRAM."""
        stretches = self.vram.within(start, end)
        return b"".join(stretch.devmem.copy_out(stretch.offset, stretch.size) for stretch in stretches)

    # mock.kernel.Notifier

    def invalidated(self, mm: Mm, start: int, end: int, change: Change) -> None:
        self.notify(start, end, unmapped=change is Change.UNMAP)
        if change is not Change.FORK:
            self.vram.drop(start, end)

    def remapped(self, mm: Mm, old: int, new: int, size: int) -> None:
        self.notify(old, old + size, unmapped=True)
        for stretch in self.vram.take(old, old + size):
            self.vram.add(stretch.moved(new - old))

    def forked(self, mm: Mm, child: Mm) -> None:
        for start, end in joined((stretch.start, stretch.end) for stretch in self.vram):
            child.restore(start, self._contents(start, end))

    def cpu_fault(self, mm: Mm, address: int, *, write: bool, tid: int | None) -> None:
        """Move the whole allocation that contains the page to system memory (drm_pagemap_migrate_to_ram).

        Raises Refused(ENOMEM) if an injected allocation failure hits it: everything stays in VRAM.
        """
        stretch = self.vram.at(address)
        if stretch is None or stretch.devmem.busy:
            return
        devmem = stretch.devmem
        # As many bytes as the allocation has, around the page, within one mapping of the process.
        start = address // devmem.size * devmem.size
        end = start + devmem.size
        for vma in mm.vmas(address, address + SZ_4K):
            start, end = max(start, vma.start), min(end, vma.end)
        self._populate_ram(devmem, end - start, tid)
        self.to_system(devmem, [one for one in self.vram.within(start, end) if one.devmem is devmem])

    @staticmethod
    def _populate_ram(devmem: DevMem, size: int, tid: int | None) -> None:
        """Allocate system memory for ``size`` bytes: large pages if they are large in VRAM and can be allocated.

        (__drm_pagemap_migrate_to_ram, drm_pagemap_migrate_populate_ram_pfn). Raises Refused(ENOMEM).
        """
        faults = devmem.pagemap.faults
        faults.kmalloc(tid)
        if devmem.order:
            try:
                faults.alloc_pages(devmem.order, tid)
            except Refused:
                pass  # fall back to small pages
            else:
                return
        for _ in range(size // SZ_4K):
            faults.alloc_pages(0, tid)

    def exited(self, mm: Mm) -> None:
        self.notify(0, 1 << 64, unmapped=True)
        self.vram.drop(0, 1 << 64)


class Processes:
    """The address spaces that the driver tracks."""

    def __init__(self) -> None:
        self._by_mm: dict[Mm, Process] = {}

    def of(self, mm: Mm) -> Process:
        """The Process of an mm, created on first use."""
        self._by_mm = {known: process for known, process in self._by_mm.items() if known.alive}
        if mm not in self._by_mm:
            self._by_mm[mm] = Process(mm)
        return self._by_mm[mm]
