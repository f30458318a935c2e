# SPDX-License-Identifier: MIT
"""Shared virtual memory of a VM: ranges, faults, notifier, garbage collection, prefetch (xe_svm.c)."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ioctl import xe
from mock.driver.lib.blocking import settled
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.fence import Fence
from mock.driver.lib.interval import IntervalMap
from mock.driver.lib.sizes import SZ_4K, SZ_64K
from mock.driver.pagemap import migrate
from mock.driver.pagemap.devmem import Pagemap
from mock.driver.svm.range import SvmRange, chunk, cpu_vma, mappings
from mock.driver.vm import binding
from mock.driver.vm.remap import mirror_range, remap_mirror
from mock.driver.vm.vma import MemAttr
from mock.kernel import Stalled

if TYPE_CHECKING:
    from mock.driver.device import Gt, Tile
    from mock.driver.lib.blocking import Blocking
    from mock.driver.vm.vm import Vm
    from mock.driver.vm.vma import Vma

ATOMIC_TIMESLICE = 0.005
"""Seconds that memory stays in VRAM after a GPU atomic moved it there (xe_device.c: atomic_svm_timeslice_ms)."""
ATOMIC_TRIES = 3
CONSULT = xe.DRM_XE_CONSULT_MEM_ADVISE_PREF_LOC & 0xFFFF_FFFF
_DEVICE = xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE


class VmaChanged(Exception):  # noqa: N818 - the kernel's -EAGAIN: the caller tries again
    """Garbage collection reset attributes, and VMAs were split or merged for it."""


class Svm:
    """The SVM ranges of one VM."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.ranges: IntervalMap[SvmRange] = IntervalMap()
        self._garbage: dict[SvmRange, None] = {}
        self.process = vm.process

    # For VM_BIND

    def has_mapping(self, start: int, end: int) -> bool:
        """Whether there is a range in [start, end), mapped or not (xe_svm_has_mapping)."""
        return self.ranges.first(start, end) is not None

    def unmap_address_range(self, start: int, end: int) -> None:
        """Remove the ranges that [start, end) splits (xe_svm_unmap_address_range)."""
        for found in list(self.ranges.overlapping(start, end)):
            if start > found.start or end < found.end:
                if found.pagemap is not None:
                    migrate.to_system(self.process, found.start, found.end)
                self._garbage.pop(found, None)
                with contextlib.suppress(Refused):  # the kernel ignores it, too
                    self._remove(found)

    def flush(self) -> Blocking[None]:
        """Finish pending garbage collection (xe_svm_flush)."""
        self._collect_quietly()
        return
        yield

    def close(self) -> None:
        """The VM is being destroyed (xe_svm_close, xe_svm_fini)."""
        self.vm.device.machine.owners.release(self.vm.peer)
        for found in self.ranges:
            self._garbage.pop(found, None)
            self.ranges.remove(found)
            self._unwatch(found)
        self.process.remove(self)

    # Notifier

    def changed(self, start: int, end: int, *, unmapped: bool) -> None:
        """Pages of the process change: zap their entries (xe_svm_invalidate)."""
        if self.vm.closed:
            return
        for found in list(self.ranges.overlapping(start, end)):
            if not found.unmapped:
                self._zap(found)
            found.pagemap = None
            if unmapped and not found.unmapped:
                found.unmapped = True
                self._garbage[found] = None
        if self._garbage:
            self.vm.device.services.loop.call_soon(self._collect_quietly)

    def _zap(self, found: SvmRange) -> None:
        """Zap the entries of a range: the next GPU access faults (xe_pt_zap_ptes_range)."""
        for tile in self.vm.device.tiles:
            bit = 1 << tile.id
            if not found.valid_on(bit):
                continue
            self.vm.page_tables[tile.id].zap(found.start, found.end)
            found.tile_invalidated |= bit
            self.vm.tlb_invalidated(tile)
            for gt in tile.gts:
                gt.stats.add("svm_tlb_inval_count")

    def zap(self, start: int, end: int) -> None:
        """Zap all ranges of [start, end), as their attributes changed (xe_svm_ranges_zap_ptes_in_range)."""
        for found in list(self.ranges.overlapping(start, end)):
            self._zap(found)

    def lost(self, address: int) -> None:
        """The GPU accessed a page that is gone, isolated or protected: its range is stale."""
        found = self.ranges.at(address)
        if found is not None:
            self._zap(found)

    # Garbage collection

    def _collect_quietly(self) -> None:
        """The work item of the collector, which has no caller to return an error to."""
        if not self.vm.closed_or_banned:
            with contextlib.suppress(VmaChanged, Refused):
                self.collect()

    def collect(self) -> None:
        """Remove the ranges that the process unmapped (xe_svm_garbage_collector).

        Raises Refused(ENOENT) for a closed or banned VM; VmaChanged if VMAs were changed to reset attributes.
        A range that cannot be removed bans the VM.
        """
        refuse_if(self.vm.closed_or_banned, errno.ENOENT, "VM is closed or banned")
        changed = False
        while self._garbage:
            found = next(iter(self._garbage))
            del self._garbage[found]
            try:
                self._remove(found)
            except Refused as refusal:
                self.vm.device.services.log(f"garbage collection failed: {refusal}")
                self.vm.banned = True
                raise
            changed |= self._reset_attributes(found.start, found.end)
        if changed:
            raise VmaChanged

    def _remove(self, found: SvmRange) -> None:
        """__xe_svm_garbage_collector(). Raises Refused if a step of the unbind fails by fault injection."""
        if found.tile_present:
            faults = self.vm.device.machine.faults
            faults.enter("xe_vma_ops_alloc")
            faults.update_page_tables(len(self.vm.device.tiles))
        for tile in self.vm.device.tiles:
            if found.tile_present & 1 << tile.id:
                self.vm.page_tables[tile.id].clear(found.start, found.end)
                self.vm.tlb_invalidated(tile)
        self.ranges.remove(found)
        self._unwatch(found)

    def _unwatch(self, found: SvmRange) -> None:
        if self.process.mm.alive:
            self.process.mm.unwatch(found.start, found.end)

    def _reset_attributes(self, start: int, end: int) -> bool:
        """Reset attributes of unmapped memory to the defaults, for AUTORESET binds (xe_svm_range_set_default_attr)."""
        vma = self.vm.find_vma(start)
        if vma is None:
            raise Refused(errno.EINVAL, "nothing is bound where a range was")
        if not vma.autoreset:
            return False
        default = vma.has_default_attributes()
        if default:
            start, end = vma.start, vma.end
        elif (vma.start, vma.end) == (start, end):
            pat = vma.attr.default_pat_index
            vma.attr = MemAttr(0 if self.vm.device.has("autoreset-forgets-pat") else pat, pat)
        start, end = mirror_range(self.vm, start, end)
        if default and (vma.start, vma.end) == (start, end):
            return False
        remap_mirror(self.vm, start, end)
        return True

    # Faults

    def handle_fault(self, vma: Vma, gt: Gt, address: int, *, atomic: bool) -> Blocking[None]:
        """xe_svm_handle_pagefault(): handle a GPU fault in a CPU address mirror VMA.

        Raises Refused with the errno.
        """
        while True:
            vram = binding.needs_vram_for_atomic(vma, atomic=atomic)
            try:
                yield from self._serve(vma, gt, address, vram_only=vram and self._may_use_vram)
            except VmaChanged:
                found = self.vm.find_vma(address)
                if found is None:
                    raise Refused(errno.EINVAL, "the VMA is gone") from None
                vma = found
            else:
                return

    @property
    def _may_use_vram(self) -> bool:
        return self.vm.device.profile.discrete and self.vm.device.kconfig.drm_xe_pagemap

    def _serve(self, vma: Vma, gt: Gt, address: int, *, vram_only: bool) -> Blocking[None]:
        """__xe_svm_handle_pagefault()."""
        tile, start = gt.tile, time.monotonic_ns()
        tries = ATOMIC_TRIES if vram_only else 1
        timeslice = ATOMIC_TIMESLICE if vram_only else 0.0
        threshold = SZ_64K if self._may_use_vram else 0
        gt.stats.add("svm_pagefault_count")
        again = False  # an attempt that waited for the process continues, and was counted
        while True:
            self.collect()
            pagemap = tile.pagemap if vram_only else self.preferred(vma, tile)
            found = self.find_or_insert(vma, address, threshold=threshold)
            if not again:
                gt.stats.add(f"svm_{found.size_name}_pagefault_count")
            refuse_if(vram_only and not found.may_migrate, errno.EACCES, "memory cannot be in VRAM")
            if found.valid_on(1 << tile.id) and (not vram_only or found.pagemap is pagemap):
                gt.stats.add(f"svm_{found.size_name}_valid_pagefault_count")
                break
            tries -= 1
            try:
                if tries >= 0 and self._needs_migration(found, pagemap):
                    assert pagemap is not None
                    try:
                        self._migrate(found, gt, pagemap, timeslice, counted=again)
                    except Refused:
                        again = False
                        timeslice *= 2
                        if not vram_only:
                            continue
                        if not tries:
                            raise
                    else:
                        timeslice *= 2
            except Stalled as stalled:
                # The kernel waits inside. Here others run in the meantime, and the attempt starts over.
                tries += 1
                again = True
                yield settled(stalled.mm)
                refuse_if(self.vm.closed, errno.ENOENT, "VM is closed")
                continue
            again = False
            try:
                self._get_pages(vma, found, vram_only=vram_only, keep=pagemap is not None)
                self._bind(vma, found, tile)
            except Refused as refusal:
                if refusal.code not in (errno.EOPNOTSUPP, errno.EFAULT, errno.EPERM):
                    break  # the kernel reports success here: the GPU faults again
                if vram_only and tries <= 0:
                    raise
                timeslice *= 2
                yield self._soon()
                continue
            break
        gt.stats.add(f"svm_{found.size_name}_pagefault_us", _since(start))

    def _soon(self) -> Fence:
        """A fence that signals after other work had its turn: endless retries must not block the rest."""
        fence = Fence()
        self.vm.device.services.loop.call_soon(fence.signal)
        return fence

    def _migrate(self, found: SvmRange, gt: Gt, pagemap: Pagemap, timeslice: float, *, counted: bool) -> None:
        start = time.monotonic_ns()
        if not counted:
            gt.stats.add(f"svm_{found.size_name}_migrate_count")
        try:
            migrate.to_vram(self.process, pagemap, found.start, found.end, timeslice)
        finally:
            gt.stats.add(f"svm_{found.size_name}_migrate_us", _since(start))

    def preferred(self, vma: Vma, tile: Tile) -> Pagemap | None:
        """Preferred location of the VMA's memory for a tile; None: system memory (xe_vma_resolve_pagemap)."""
        if vma.attr.pagemap is not None:
            return vma.attr.pagemap
        return tile.pagemap if vma.attr.devmem_fd == _DEVICE else None

    def _needs_migration(self, found: SvmRange, pagemap: Pagemap | None) -> bool:
        """xe_svm_range_needs_migrate_to_vram()."""
        if not found.may_migrate or pagemap is None or found.pagemap is pagemap:
            return False
        return found.size >= SZ_64K or not self.vm.device.profile.needs_64k

    def find_or_insert(self, vma: Vma, address: int, *, threshold: int) -> SvmRange:
        """The range of an address. Raises Refused, see range.cpu_vma and range.chunk."""
        mm = self.process.mm
        area = cpu_vma(mm, address, read_only=vma.read_only)
        known = self.ranges.at(address)
        if known is not None:
            return known
        start, end = chunk(self.ranges, area, vma, address, populated=self._populated, threshold=threshold)
        found = SvmRange(start, end, may_migrate=self._may_use_vram and area.anonymous)
        self.process.add(self)
        self.ranges.insert(found)
        mm.watch(start, end)
        return found

    def _populated(self, start: int, end: int) -> bool:
        """Whether every page of [start, end) is in system memory or accessible VRAM (drm_gpusvm_check_pages)."""
        mine = self.vm.peer.owner
        present = self.process.mm.present(start, end)
        for stretch in self.process.vram.within(start, end):
            if stretch.devmem.pagemap.owner is mine:
                first, count = (stretch.start - start) // SZ_4K, stretch.size // SZ_4K
                present[first : first + count] = [True] * count
        return all(present)

    def _get_pages(self, vma: Vma, found: SvmRange, *, vram_only: bool, keep: bool) -> None:
        """Get all pages of the range, where this device can access them (drm_gpusvm_get_pages).

        keep  pages in accessible VRAM may stay there. Raises Refused: EFAULT if pages are missing, or not in VRAM;
        EOPNOTSUPP if they are in several places, after moving all to system memory; ENOMEM.
        """
        start, process = time.monotonic_ns(), self.process
        refuse_if(found.unmapped, errno.EFAULT, "was unmapped in the meantime")
        self.vm.device.machine.faults.kmalloc(caller="drm_gpusvm_get_pages")
        migrate.to_system(process, found.start, found.end, keep=self.vm.peer.owner if keep else None)
        there = process.vram.within(found.start, found.end)
        if sum(s.size for s in there) != found.size:
            refuse_if(vram_only and not there, errno.EFAULT, "not in VRAM")
            if there:
                migrate.to_system(process, found.start, found.end)
                raise Refused(errno.EOPNOTSUPP, "pages in several places")
            process.mm.populate(found.start, found.end)
        elif any(s.devmem is not there[0].devmem for s in there):
            migrate.to_system(process, found.start, found.end)
            raise Refused(errno.EOPNOTSUPP, "pages in several allocations")
        self._check_cpu_mapping(vma, found)
        found.pagemap = there[0].devmem.pagemap if there else None
        gt = self.vm.device.tiles[0].primary_gt
        gt.stats.add(f"svm_{found.size_name}_get_pages_us", _since(start))

    def _check_cpu_mapping(self, vma: Vma, found: SvmRange) -> None:
        address = found.start
        for area in self.process.mm.vmas(found.start, found.end):
            if area.start > address or not area.readable or not (area.writable or vma.read_only):
                break
            address = min(area.end, found.end)
        if address < found.end and not self.process.mm.vmas(address, address + SZ_4K):
            # A munmap(2) of memory that cannot be watched, such as a file's, is not notified.
            self.changed(address, address + SZ_4K, unmapped=True)
        refuse_if(address < found.end, errno.EFAULT, "partly unmapped, or not accessible")

    def _bind(self, vma: Vma, found: SvmRange, *tiles: Tile) -> None:
        """Write the range into page tables (xe_vm_range_rebind)."""
        entries = mappings(
            self.process,
            self.vm.device.index,
            found.start,
            found.end,
            read_only=vma.read_only,
            atomic=lambda vram: binding.allows_atomic(vma, vram=vram),
        )
        for tile in tiles:
            start = time.monotonic_ns()
            for entry in entries:
                self.vm.page_tables[tile.id].map(entry)
            found.tile_present |= 1 << tile.id
            found.tile_invalidated &= ~(1 << tile.id)
            tile.primary_gt.stats.add(f"svm_{found.size_name}_bind_us", _since(start))

    # Prefetch

    def prefetch(self, vma: Vma, start: int, end: int, region: int) -> Blocking[int]:
        """DRM_XE_VM_BIND_OP_PREFETCH of [start, end) of a mirror VMA to a memory region instance.

        Returns the number of ranges that were mapped. Raises Refused: ENODATA if a range could not be created, which
        is not an error of the bind (prefetch_ranges in xe_vm.c).
        """
        device = self.vm.device
        pagemap = self._prefetch_target(vma, region)
        every = device.tile_mask
        wanted = [
            found
            for found in self._prefetch_ranges(vma, start, end)
            if not (found.valid_on(every) and found.pagemap is pagemap)
        ]
        for found in wanted:
            try:
                if pagemap is None:
                    migrate.to_system(self.process, found.start, found.end)
                elif self._needs_migration(found, pagemap):
                    migrate.to_vram(self.process, pagemap, found.start, found.end)
                self._get_pages(vma, found, vram_only=False, keep=pagemap is not None)
            except Refused as refusal:
                raise Refused(errno.ENODATA, str(refusal)) from refusal
        for found in wanted:
            self._bind(vma, found, *device.tiles)
        return len(wanted)
        yield

    def _prefetch_target(self, vma: Vma, region: int) -> Pagemap | None:
        if region == CONSULT:
            return self.preferred(vma, self.vm.device.tiles[0])
        tile = self.vm.device.tile_of_region(region)
        return tile.pagemap if tile is not None else None

    def _prefetch_ranges(self, vma: Vma, start: int, end: int) -> Iterator[SvmRange]:
        """The ranges of [start, end), created where missing; holes of the process are skipped."""
        address = start
        while address < end:
            try:
                found = self.find_or_insert(vma, address, threshold=0)
            except Refused as refusal:
                if refusal.code != errno.ENOENT:
                    raise
                following = next(iter(self.process.mm.vmas(address, min(end, vma.end))), None)
                if following is None:
                    return
                address = following.start
                continue
            yield found
            address = found.end


def _since(start: int) -> int:
    """Microseconds since ``start``, a value of time.monotonic_ns()."""
    return (time.monotonic_ns() - start) // 1000
