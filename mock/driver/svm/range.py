# SPDX-License-Identifier: MIT
"""SVM ranges: the chunks in which mirrored memory is mapped and migrated (drm_gpusvm.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_2M, SZ_4K, SZ_64K, MiB
from mock.driver.pagemap.cpu import CpuPages
from mock.driver.vm.pagetable import Backing, Mapping

if TYPE_CHECKING:
    from mock.driver.lib.interval import IntervalMap
    from mock.driver.pagemap.devmem import Pagemap
    from mock.driver.pagemap.process import Process
    from mock.driver.vm.vma import Vma
    from mock.kernel import Mm
    from mock.kernel import Vma as CpuVma

CHUNKS = (SZ_2M, SZ_64K, SZ_4K)
"""Sizes of ranges, in bytes (xe_svm.c: fault_chunk_sizes)."""
NOTIFIER = 512 * MiB
"""No range crosses a multiple of this (module parameter svm_notifier_size)."""


@dataclass(eq=False)
class SvmRange:
    """struct xe_svm_range: [start, end) of both address spaces.

    may_migrate       whether its memory is of a kind that can be in VRAM
    pagemap           location of its pages when they were last collected; None: system memory
    tile_present      tiles whose page tables were written for it
    tile_invalidated  tiles whose entries were zapped since
    unmapped          the process unmapped a part: the range waits for garbage collection
    """

    start: int
    end: int
    may_migrate: bool
    pagemap: Pagemap | None = None
    tile_present: int = 0
    tile_invalidated: int = 0
    unmapped: bool = False

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def size_name(self) -> str:
        """Its size as counter names spell it."""
        return {SZ_4K: "4K", SZ_64K: "64K", SZ_2M: "2M"}[self.size]

    def valid_on(self, tiles: int) -> bool:
        """Whether the page tables of all these tiles map the range now."""
        return self.tile_present & ~self.tile_invalidated & tiles == tiles


def cpu_vma(mm: Mm, address: int, *, read_only: bool) -> CpuVma:
    """The CPU mapping at an address, if a mirror may use it.

    Raises Refused: EFAULT if the process is gone, ENOENT without a mapping, EPERM if it is not writable and the mirror
    is not READONLY, EIO for memory of a device (drm_gpusvm_range_find_or_insert).
    """
    refuse_if(not mm.alive, errno.EFAULT, "the process is gone")
    vma = next(iter(mm.vmas(address, address + SZ_4K)), None)
    if vma is None:
        raise Refused(errno.ENOENT, f"no CPU mapping at {address:#x}")
    refuse_if(not read_only and not vma.writable, errno.EPERM, "CPU mapping is not writable")
    refuse_if(vma.file is not None, errno.EIO, "CPU mapping of a device")
    return vma


def chunk(
    ranges: IntervalMap[SvmRange],
    area: CpuVma,
    vma: Vma,
    address: int,
    *,
    populated: Callable[[int, int], bool],
    threshold: int,
) -> tuple[int, int]:
    """[start, end) of the range to create for an address (drm_gpusvm_range_chunk_size).

    The largest size that fits into the CPU mapping, the GPU VMA and a notifier and overlaps no other range. All pages
    of a range of more than a page and at most ``threshold`` bytes must be ``populated``.
    """
    window = address // NOTIFIER * NOTIFIER
    low, high = max(area.start, vma.start, window), min(area.end, vma.end, window + NOTIFIER)
    for size in CHUNKS:
        start = address // size * size
        end = start + size
        if start < low or end > high:
            continue
        if size > SZ_4K:
            if ranges.first(start, end) is not None:
                continue
            if size <= threshold and not populated(start, end):
                continue
        return start, end
    raise Refused(errno.EINVAL, "no chunk fits")


@dataclass(frozen=True)
class Guarded:
    """A backing that checks the rights of the process at each access: the mock is not notified of mprotect(2).

    If the kernel's notifier would have zapped the mapping, the access finds it lost: EFAULT.
    """

    backing: Backing
    mm: Mm
    delta: int
    """Address in the process minus the offset in the backing."""
    read_only: bool

    def _check(self, offset: int, size: int) -> None:
        address, end = offset + self.delta, offset + self.delta + size
        for area in self.mm.vmas(address, end):
            if area.start > address or not area.readable or not (area.writable or self.read_only):
                break
            address = area.end
        if address < end:
            raise OSError(errno.EFAULT, "the process may not access this memory any more")

    def read(self, offset: int, size: int) -> bytes:
        self._check(offset, size)
        return self.backing.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self._check(offset, len(data))
        self.backing.write(offset, data)

    def atomic(self, offset: int, size: int, operation: Callable[[int], int]) -> int:
        self._check(offset, size)
        return self.backing.atomic(offset, size, operation)


def mappings(
    process: Process,
    device: int,
    start: int,
    end: int,
    *,
    read_only: bool,
    atomic: Callable[[bool], bool],
) -> list[Mapping]:
    """Page table entries of [start, end), in system memory or in one VRAM allocation, for a GPU given by number.

    ``atomic``: whether GPU atomics are enabled in its own VRAM, and in all other memory, also the VRAM of other GPUs
    (xe_res_is_vram). Raises Refused(EOPNOTSUPP) for pages in several places (drm_gpusvm_get_pages).
    """
    there = process.vram.within(start, end)
    if not there:
        system = Guarded(CpuPages(process.mm, 0), process.mm, 0, read_only)
        return [Mapping(start, end, system, start, not read_only, atomic(False))]
    devmem = there[0].devmem
    mixed = sum(s.size for s in there) != end - start or any(s.devmem is not devmem for s in there)
    refuse_if(mixed, errno.EOPNOTSUPP, "pages in several places")
    devmem.touch()
    local = devmem.pagemap.device == device
    entries = []
    for s in there:
        vram = Guarded(devmem, process.mm, s.start - s.offset, read_only)
        entries.append(Mapping(s.start, s.end, vram, s.offset, not read_only, atomic(local)))
    return entries
