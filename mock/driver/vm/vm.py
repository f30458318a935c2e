# SPDX-License-Identifier: MIT
"""VMs: a GPU address space with its VMAs and the page tables of each tile (xe_vm.c)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ioctl import xe
from mock.driver.lib.interval import IntervalMap
from mock.driver.lib.resv import Resv
from mock.driver.lib.sizes import SZ_4K
from mock.driver.lib.timeline import Timeline
from mock.driver.pagemap.interconnect import Peer
from mock.driver.svm.svm import Svm
from mock.driver.vm.pagetable import Mapping, PageTable
from mock.driver.vm.space import VmSpace
from mock.driver.vm.tables import TableWriters
from mock.driver.vm.userptr import UserptrState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mock.driver.device import Device, Tile
    from mock.driver.lib.ids import CyclicIds
    from mock.driver.ttm.bo import Bo
    from mock.driver.vm.vma import Vma
    from mock.kernel import Mm

MAX_FAULTS_SAVED = 50


@dataclass(frozen=True)
class FaultEntry:
    """One fault that could not be handled, as DRM_XE_VM_GET_PROPERTY_FAULTS reports it."""

    address: int
    access_type: int
    fault_type: int
    fault_level: int
    address_precision: int = SZ_4K


class Engines(Protocol):
    """The scheduler of a GPU, as its VMs use it (exec/scheduler.py)."""

    @property
    def vms(self) -> CyclicIds[Vm]:
        """VMs by address space id."""

    def queues(self, vm: Vm) -> Sequence[object]:
        """The queues of a VM."""

    def preempt(self, vm: Vm) -> None:
        """Stop the queues of a preempt-fence VM until its memory is bound again."""


class Vm:
    """struct xe_vm.

    flags   DRM_XE_VM_CREATE_FLAG_*
    size    bytes of the address space; 0 once closed
    engines the scheduler of its GPU
    mm      the client's address space, of which mirrors and userptrs are
    evicted BOs that moved since their VMAs were bound: the next exec rebinds them
    process the process of that address space
    rebind  VMAs whose page tables must be rewritten before the next job runs
    peer    in fault mode: member of a group of devices that access each other's VRAM
    """

    def __init__(self, device: Device, engines: Engines, flags: int, mm: Mm) -> None:
        self.device = device
        self.engines = engines
        self.flags = flags
        self.mm = mm
        self.process = device.machine.processes.of(mm)
        self.size = 1 << device.profile.va_bits
        self.banned = False
        self.resv = Resv()
        self.vmas: IntervalMap[Vma] = IntervalMap()
        self.page_tables = [PageTable() for _ in device.tiles]
        self.spaces = [
            VmSpace(self.page_tables[tile.id], self.size, partial(self.lost, tile), scratch=self.has_scratch)
            for tile in device.tiles
        ]
        self.peer = Peer(device.index)
        if self.fault_mode:
            device.machine.owners.acquire(self.peer)
            for tile in device.tiles:
                if tile.pagemap is not None:
                    tile.pagemap.get()
        self._bos: dict[Bo, list[Vma]] = {}
        self.evicted: dict[Bo, None] = {}
        self.rebind: dict[Vma, None] = {}
        self.bind_queue = Timeline()
        self.writers = TableWriters(device.profile.page_table_levels)
        self.rebind_deactivated = False
        self.rebind_queued = False
        self.faults: list[FaultEntry] = []
        self.asid = engines.vms.add(self)
        self.userptr = UserptrState(self)
        self.svm = Svm(self)

    # Modes

    @property
    def lr_mode(self) -> bool:
        return bool(self.flags & xe.DRM_XE_VM_CREATE_FLAG_LR_MODE)

    @property
    def fault_mode(self) -> bool:
        return bool(self.flags & xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE)

    @property
    def preempt_fence_mode(self) -> bool:
        return self.lr_mode and not self.fault_mode

    @property
    def has_scratch(self) -> bool:
        return bool(self.flags & xe.DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE)

    @property
    def allows_own_eviction(self) -> bool:
        """Whether a bind may evict the VM's own BOs (xe_vm_allow_vm_eviction)."""
        overcommit = not self.flags & xe.DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT
        return not self.lr_mode or (self.fault_mode and overcommit)

    @property
    def closed(self) -> bool:
        return self.size == 0

    @property
    def closed_or_banned(self) -> bool:
        return self.closed or self.banned

    # Objects

    def external_bos(self) -> list[Bo]:
        """BOs bound here that other VMs can bind too."""
        bos = {vma.bo: None for vma in self.vmas if vma.bo is not None and not vma.bo.private}
        return list(bos)

    def locked_resvs(self) -> list[Resv]:
        """Reservation objects that an exec locks: BOs that have one of them are not evicted on its behalf."""
        return [self.resv, *(bo.resv for bo in self.external_bos())]

    def bump_lru(self) -> None:
        """Move the VM's BOs to the end of the eviction order (xe_vm_bump_lru)."""
        for bo in {vma.bo: None for vma in self.vmas if vma.bo is not None}:
            bo.touch()

    # VMAs

    def find_vma(self, address: int) -> Vma | None:
        """The first VMA in a 4 KiB page, None if the VM is closed or banned (xe_vm_find_vma_by_addr)."""
        if self.closed_or_banned:
            return None
        return self.vmas.first(address, address + SZ_4K)

    def insert_vma(self, vma: Vma) -> None:
        self.vmas.insert(vma)

    def remove_vma(self, vma: Vma) -> None:
        self.vmas.remove(vma)

    def vmas_of(self, bo: Bo) -> list[Vma]:
        """The VMAs of a BO, including those that are not part of the VM yet (struct drm_gpuvm_bo)."""
        return list(self._bos.get(bo, ()))

    def link(self, vma: Vma, bo: Bo) -> None:
        """Link a VMA to its BO, whose moves the VM is then notified of (drm_gpuva_link)."""
        self._bos.setdefault(bo, []).append(vma)
        bo.users[self] = None

    def unlink(self, vma: Vma, bo: Bo) -> None:
        """drm_gpuva_unlink()."""
        self._bos[bo].remove(vma)
        if not self._bos[bo]:
            del self._bos[bo], bo.users[self]

    # Page tables

    def space(self, tile: Tile) -> VmSpace:
        return self.spaces[tile.id]

    def invalidate(self, vma: Vma) -> None:
        """Zap a VMA's entries on every tile, so that the next access faults (xe_vm_invalidate_vma)."""
        for tile in self.device.tiles:
            if self.page_tables[tile.id].zap(vma.start, vma.end):
                self.tlb_invalidated(tile)
        vma.tile_invalidated = self.device.tile_mask

    def tlb_invalidated(self, tile: Tile) -> None:
        """Count a TLB invalidation on every GT of a tile."""
        for gt in tile.gts:
            gt.stats.add("tlb_inval_count")

    def lost(self, tile: Tile, address: int) -> bool:
        """System memory behind a mapping is gone or isolated, and the driver has not been notified yet.

        Returns whether the access may fault now. Without fault mode it may not: the kernel would have made the client
        wait for the job, so the access must have no effect.
        """
        if not self.fault_mode:
            return False
        page = address & ~(SZ_4K - 1)
        self.page_tables[tile.id].zap(page, page + SZ_4K)
        vma = self.find_vma(address)
        if vma is not None and vma.is_mirror:
            self.svm.lost(page)
        elif vma is not None:
            self.invalidate(vma)
            if vma.is_userptr:
                self.userptr.invalidate(vma)
        return True

    def bo_moved(self, bo: Bo) -> None:
        """A BO's pages moved (xe_bo_trigger_rebind, the part for one VM)."""
        if not self.fault_mode:
            self.evicted[bo] = None
            if self.preempt_fence_mode and not self.engines.queues(self):
                self._stay_mapped(bo)
            elif self.preempt_fence_mode:
                self.engines.preempt(self)
            return
        for vma in self.vmas_of(bo):
            self.invalidate(vma)

    def _stay_mapped(self, bo: Bo) -> None:
        """The BO's entries keep pointing to its old location: without a preempt fence nothing triggers a rebind.

        A queue created later does not trigger one either (xe_vm_add_compute_exec_queue, docs/findings.md). The new
        owner of the memory is not modelled: reads give zeros, stores are lost.
        """
        for vma in self.vmas_of(bo):
            for tile in self.device.tiles:
                if vma.tile_present & 1 << tile.id:
                    self.page_tables[tile.id].map(Mapping(vma.start, vma.end, None, 0))

    # Faults

    def add_fault(self, entry: FaultEntry) -> None:
        """Save a failed fault for user space; the list is bounded (xe_vm_add_fault_entry_pf)."""
        if len(self.faults) < MAX_FAULTS_SAVED:
            self.faults.append(entry)

    # Destruction

    def close(self) -> None:
        """Unmap everything (xe_vm_close_and_put). Queues of the VM may outlive it: their next access faults."""
        self.size = 0
        self.svm.close()
        for vma in self.vmas:
            vma.destroyed = True
            self.remove_vma(vma)
            vma.release()
        for table in self.page_tables:
            table.clear(0, 1 << 64)
        for tile in self.device.tiles:
            self.tlb_invalidated(tile)
        self.engines.vms.pop(self.asid)
        self.faults.clear()
