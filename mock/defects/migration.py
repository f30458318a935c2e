# SPDX-License-Identifier: MIT
"""Defects of migration to VRAM and back."""

from __future__ import annotations

from typing import Any

from mock.defects.patch import nothing, replace
from mock.driver.lib.sizes import SZ_4K
from mock.driver.pagemap import migrate
from mock.driver.pagemap.devmem import DevMem, Pagemap
from mock.driver.pagemap.process import Process
from mock.driver.svm.svm import Svm
from mock.driver.ttm.vram import VramManager
from mock.kernel import Mm


def copies_zero() -> None:
    """Every copy of a migration delivers zeros, to VRAM and back."""

    def copy_out(self: DevMem, offset: int, size: int) -> bytes:
        return bytes(size)

    replace(DevMem, "copy_out", copy_out)
    replace(migrate, "_fill", nothing)


def freed_vram_stays() -> None:
    """Not a defect, but part of some: a stale mapping of freed VRAM still finds the old data."""

    def release(self: DevMem) -> None:
        self._allocation.free()

    replace(DevMem, "release", release)


def last_page_lost() -> None:
    """Migration to VRAM leaves out the last page of a chunk."""
    sound = migrate._fill

    def fill(devmem: DevMem, start: int, isolated: dict[int, bytes | None]) -> None:
        sound(devmem, start, {**isolated, start + devmem.size - SZ_4K: None})

    replace(migrate, "_fill", fill)


def returned_page_zero() -> None:
    """The middle page of memory that migrates back from VRAM in one piece holds zeros."""
    sound = DevMem.copy_out

    def copy_out(self: DevMem, offset: int, size: int) -> bytes:
        data = bytearray(sound(self, offset, size))
        middle = self.size // SZ_4K // 2 * SZ_4K - offset
        if 0 <= middle < size:
            data[middle : middle + SZ_4K] = bytes(SZ_4K)
        return bytes(data)

    replace(DevMem, "copy_out", copy_out)


def one_page_returns() -> None:
    """The CPU's touch brings back one page, not the whole allocation."""

    def cpu_fault(self: Process, mm: Mm, address: int, *, write: bool, tid: int | None) -> None:
        for stretch in self.vram.within(address, address + SZ_4K):
            self.to_system(stretch.devmem, [stretch])

    replace(Process, "cpu_fault", cpu_fault)


def vram_dirty() -> None:
    """Fresh VRAM is not cleared: pages that the process never touched have old contents."""
    sound = DevMem.__init__

    def init(self: DevMem, *arguments: Any, **options: Any) -> None:
        sound(self, *arguments, **options)
        self.write(0, b"\xa5" * self.size)

    replace(DevMem, "__init__", init)


def vram_leaks() -> None:
    """Freed VRAM stays allocated."""
    replace(VramManager, "release", nothing)


def eviction_forgets() -> None:
    """Eviction gives VRAM to others and drops what was in it."""
    sound = DevMem.evict

    def evict(self: DevMem) -> None:
        self.write(0, bytes(self.size))
        sound(self)

    replace(DevMem, "evict", evict)


def advice_ignored() -> None:
    """Memory goes to the VRAM of the GPU that faults, whatever location was advised."""

    def preferred(self: Svm, vma: object, tile: Any) -> Pagemap | None:
        found: Pagemap | None = tile.pagemap
        return found

    replace(Svm, "preferred", preferred)


DEFECTS = {
    "copies-zero": copies_zero,
    "last-page-lost": last_page_lost,
    "returned-page-zero": returned_page_zero,
    "one-page-returns": one_page_returns,
    "vram-dirty": vram_dirty,
    "vram-leaks": vram_leaks,
    "eviction-forgets": eviction_forgets,
    "advice-ignored": advice_ignored,
}
