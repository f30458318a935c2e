# SPDX-License-Identifier: MIT
"""Changes to a VM's VMAs: parsed and committed one by one, unwound together, then executed in the page tables.

(xe_vm.c: vm_bind_ioctl_ops_create, _parse, _unwind, _execute; drm_gpuvm.c makes the steps, see gpuva.py.)
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioctl import xe
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_1G
from mock.driver.ttm.bo import PL_TT, Purgeable, is_vram
from mock.driver.vm import binding, gpuva
from mock.driver.vm.steps import Map, MapRequest, Prefetch, Remap, Step, Unmap
from mock.driver.vm.vma import MemAttr, Vma, VmaKind

if TYPE_CHECKING:
    from mock.driver.lib.blocking import Blocking
    from mock.driver.lib.ufence import UserFence
    from mock.driver.ttm.bo import Bo
    from mock.driver.vm.vm import Vm

CONSULT = xe.DRM_XE_CONSULT_MEM_ADVISE_PREF_LOC & 0xFFFFFFFF


@dataclass
class VmaOps:
    """struct xe_vma_ops: the steps of one VM_BIND or madvise.

    array              several bind operations: their BOs must not evict each other
    allow_svm_unmap    mirror VMAs with ranges may be replaced (a mirror MAP over them)
    madvise            remaps drop the ranges of the part that changes
    page_table_ops     whether any step changes page tables; if none does, there is nothing to wait for (-ENODATA)
    """

    vm: Vm
    array: bool = False
    allow_svm_unmap: bool = False
    madvise: bool = False
    page_table_ops: int = 0
    steps: list[Step] = field(default_factory=list)

    # Parse and commit

    def add_map(self, ops: Iterable[gpuva.Op], request: MapRequest) -> None:
        for op in ops:
            if isinstance(op, gpuva.MapOp):
                self._map(op.piece, request)
            else:
                self._add(op)

    def add(self, ops: Iterable[gpuva.Op]) -> None:
        """Unmaps and remaps."""
        for op in ops:
            self._add(op)

    def _add(self, op: gpuva.Op) -> None:
        if isinstance(op, gpuva.RemapOp):
            self._remap(op)
        elif isinstance(op, gpuva.UnmapOp):
            self._unmap(op.vma)

    def _map(self, piece: gpuva.Piece, request: MapRequest) -> None:
        step = Map(piece, request)
        self.steps.append(step)
        attr = MemAttr(request.pat_index, request.pat_index)
        step.vma = self._new_vma(piece, request.kind, attr, request)
        self.vm.insert_vma(step.vma)
        now = request.immediate or not self.vm.fault_mode
        if (now and request.kind is not VmaKind.CPU_ADDR_MIRROR) or request.invalidate_on_bind:
            self.page_table_ops += 1

    def _new_vma(self, piece: gpuva.Piece, kind: VmaKind, attr: MemAttr, like: MapRequest | Vma) -> Vma:
        vma = Vma.create(
            self.vm,
            piece,
            kind,
            attr,
            read_only=like.read_only,
            dumpable=like.dumpable,
            autoreset=like.autoreset,
        )
        if vma.is_userptr:
            try:
                self.vm.userptr.pin(vma)
            except OSError as error:
                self._destroy(vma)
                # EBUSY would mean a busy user fence here, so lack of memory is not reported with it.
                if error.errno == errno.EBUSY:
                    raise Refused(errno.ENOMEM) from error
                raise
        return vma

    @staticmethod
    def _destroy(vma: Vma) -> None:
        vma.destroyed = True
        vma.unlink()
        vma.release()

    def _remap(self, op: gpuva.RemapOp) -> None:
        old = op.vma
        step = Remap(old, op.before, op.after)
        self.steps.append(step)
        start, end = step.hole
        if old.is_mirror and self.vm.svm.has_mapping(start, end):
            refuse_if(not self.madvise, errno.EBUSY, "part of a CPU address mirror that the GPU maps")
            self.vm.svm.unmap_address_range(start, end)
        # A new VMA over pages that stay mapped keeps the entries if it ends on a boundary of the largest one.
        size = old.max_pte_size or SZ_1G
        if op.before is not None:
            step.before = self._new_vma(op.before, old.kind, old.attr, old)
            step.skip_before = old.is_mirror or (not old.is_userptr and op.before.end % size == 0)
            self.page_table_ops += not step.skip_before
        if op.after is not None:
            step.after = self._new_vma(op.after, old.kind, old.attr, old)
            step.skip_after = old.is_mirror or (not old.is_userptr and op.after.start % size == 0)
            self.page_table_ops += not step.skip_after
        self.page_table_ops += not old.is_mirror
        old.destroyed = True
        self.vm.remove_vma(old)
        step.committed = True
        for vma, skipped in ((step.before, step.skip_before), (step.after, step.skip_after)):
            if vma is not None:
                self.vm.insert_vma(vma)
                if skipped:
                    vma.tile_present = old.tile_present
                    vma.max_pte_size = old.max_pte_size

    def _unmap(self, vma: Vma) -> None:
        step = Unmap(vma)
        self.steps.append(step)
        busy = vma.is_mirror and not self.allow_svm_unmap and self.vm.svm.has_mapping(vma.start, vma.end)
        refuse_if(busy, errno.EBUSY, "CPU address mirror that the GPU maps")
        self.page_table_ops += not vma.is_mirror
        vma.destroyed = True
        self.vm.remove_vma(vma)
        step.committed = True

    def add_prefetch(self, start: int, end: int, region: int) -> None:
        """Prefetch the VMAs of a range to a memory region instance, or CONSULT."""
        prefetches = [
            Prefetch(op.vma, max(start, op.vma.start), min(end, op.vma.end))
            for op in gpuva.prefetch_ops(self.vm.vmas, start, end)
            if isinstance(op, gpuva.PrefetchOp)
        ]
        for step in prefetches:
            step.region, step.chosen = region, True
            if not step.vma.is_mirror:
                # The kernel's loop ends at the first VMA that is not a mirror: later ones keep region 0, and later
                # mirrors are not prefetched at all.
                break
        for step in prefetches:
            self.steps.append(step)
            if step.vma.is_userptr:
                self.vm.userptr.pin(step.vma)
            if not step.vma.is_mirror:
                self.page_table_ops += 1

    # Unwind

    def unwind(self) -> None:
        """Undo all steps, newest first (vm_bind_ioctl_ops_unwind)."""
        for step in reversed(self.steps):
            if isinstance(step, Map):
                self._undo_new(step.vma)
            elif isinstance(step, Remap):
                self._undo_remap(step)
            elif isinstance(step, Unmap):
                self._undo_old(step.vma, committed=step.committed)

    def _undo_remap(self, step: Remap) -> None:
        whole = self.vm.device.has("unwind-whole")
        for vma, skipped in ((step.before, step.skip_before), (step.after, step.skip_after)):
            if whole or not skipped:
                self._undo_new(vma)
            elif vma is not None:
                # Linux 6.18 does not record that it inserted this part, and removes only the rest (xe_vma_op_commit).
                step.old.start, step.old.end = (
                    (max(step.old.start, vma.end), step.old.end)
                    if vma is step.before
                    else (step.old.start, min(step.old.end, vma.start))
                )
        self._undo_old(step.old, committed=step.committed)

    def _undo_new(self, vma: Vma | None) -> None:
        if vma is None:
            return
        if self.vm.vmas.at(vma.start) is vma:
            self.vm.remove_vma(vma)
        self._destroy(vma)

    def _undo_old(self, vma: Vma, *, committed: bool) -> None:
        vma.destroyed = False
        if committed:
            self.vm.insert_vma(vma)

    # Execute

    def alloc(self, tid: int) -> None:
        """Allocate page table updates (xe_vma_ops_alloc). Raises Refused(ENOBUFS, ENOMEM) by fault injection."""
        faults = self.vm.device.machine.faults
        faults.enter("xe_vma_ops_alloc", tid)
        for _ in self.vm.device.tiles if self.page_table_ops else ():
            faults.kmalloc(tid, errno.ENOBUFS if self.array else errno.ENOMEM)

    def prepare(self) -> None:
        """Checks and validation just before the page tables are written (op_lock_and_prep).

        Raises Refused: EBUSY for a user fence of an earlier bind that has not signalled or a BO marked DONTNEED,
        ENOMEM if there is no room for a BO.
        """
        for step in self.steps:
            if isinstance(step, Map):
                assert step.vma is not None
                if not step.request.invalidate_on_bind and (not self.vm.fault_mode or step.request.immediate):
                    self._validate(step.vma)
            elif isinstance(step, Remap):
                self._check_ufence(step.old)
                for vma in (step.before, step.after):
                    if vma is not None:
                        self._validate(vma)
            elif isinstance(step, Unmap):
                self._check_ufence(step.vma)
            else:
                self._prepare_prefetch(step)

    def _check_ufence(self, vma: Vma) -> None:
        if vma.ufence is not None:
            refuse_if(not vma.ufence.signaled, errno.EBUSY, "user fence of the bind has not signalled")
            vma.ufence = None

    def _validate(self, vma: Vma) -> None:
        bo = vma.bo
        if bo is None or vma.attr.purgeable is not Purgeable.WILLNEED:
            return
        locked = {other.resv for other in self.objects() if not other.private}
        if self.array or not self.vm.allows_own_eviction:
            locked.add(self.vm.resv)
        bo.validate(keep=locked)

    def _prepare_prefetch(self, step: Prefetch) -> None:
        bo = step.vma.bo
        if bo is None:
            return
        refuse_if(bo.purgeable is Purgeable.DONTNEED, errno.EBUSY, "object is marked as not needed")
        refuse_if(bo.purgeable is Purgeable.PURGED, errno.EINVAL, "object is purged")
        bo.migrate(_prefetch_target(bo, step.region))

    def prefetch_ranges(self) -> Blocking[None]:
        """Migrate and map the ranges of mirrors (vm_bind_ioctl_ops_prefetch_ranges)."""
        for step in self.steps:
            if isinstance(step, Prefetch) and step.vma.is_mirror and step.chosen:
                self.page_table_ops += yield from self.vm.svm.prefetch(
                    step.vma, step.start, step.end, step.region
                )

    @property
    def waits_for_jobs(self) -> bool:
        """Whether page tables in use are rewritten, which has to wait for jobs (wait_vm_bookkeep)."""
        return any(
            isinstance(step, Remap)
            and not step.old.is_mirror
            and (
                (step.before is not None and not step.skip_before)
                or (step.after is not None and not step.skip_after)
            )
            for step in self.steps
        )

    @property
    def waits_for_moves(self) -> bool:
        """Whether something new is mapped, which has to wait for moves of it (wait_vm_kernel)."""
        return any(
            (isinstance(step, Map) and self._binds_now(step))
            or (isinstance(step, Prefetch) and not step.vma.is_mirror)
            for step in self.steps
        )

    def _binds_now(self, step: Map) -> bool:
        request = step.request
        now = request.immediate or not self.vm.fault_mode or request.invalidate_on_bind
        return now and request.kind is not VmaKind.CPU_ADDR_MIRROR

    def updates(self) -> list[Callable[[], None]]:
        """Page table updates of the bind job, in order; marks VMAs as present now (op_commit)."""
        updates: list[Callable[[], None]] = []
        for step in self.steps:
            if isinstance(step, Map):
                if self._binds_now(step) and step.vma is not None:
                    updates.append(self._bind(step.vma, invalid=step.request.invalidate_on_bind))
            elif isinstance(step, Remap):
                if step.old.is_mirror:
                    continue
                if step.old.tile_present:
                    updates.append(self._unbind(step.old, *step.hole))
                for vma, skipped in ((step.before, step.skip_before), (step.after, step.skip_after)):
                    if vma is not None and not skipped:
                        updates.append(self._bind(vma))
            elif isinstance(step, Unmap):
                if not step.vma.is_mirror and step.vma.tile_present:
                    updates.append(self._unbind(step.vma, step.vma.start, step.vma.end))
            elif not step.vma.is_mirror:
                updates.append(self._bind(step.vma))
        return updates

    def _bind(self, vma: Vma, *, invalid: bool = False) -> Callable[[], None]:
        write = binding.write_invalid if invalid else binding.write_entries
        for tile in self.vm.device.tiles:
            binding.mark_present(vma, tile)

        def update() -> None:
            if vma.destroyed:
                return
            for tile in self.vm.device.tiles:
                write(vma, tile)
                if self.vm.has_scratch and self.vm.lr_mode:
                    self.vm.tlb_invalidated(tile)

        return update

    def _unbind(self, vma: Vma, start: int, end: int) -> Callable[[], None]:
        present = vma.tile_present
        vma.tile_present = 0

        def update() -> None:
            for tile in self.vm.device.tiles:
                if present & 1 << tile.id:
                    self.vm.page_tables[tile.id].clear(start, end)
                    self.vm.tlb_invalidated(tile)

        return update

    def _vmas(self) -> Iterator[Vma]:
        for step in self.steps:
            if isinstance(step, Remap):
                candidates = (step.old, step.before, step.after)
                yield from (vma for vma in candidates if vma is not None)
            elif step.vma is not None:
                yield step.vma

    def objects(self) -> list[Bo]:
        """The BOs of all VMAs that the steps change."""
        return list({vma.bo: None for vma in self._vmas() if vma.bo is not None})

    def span(self) -> tuple[int, int]:
        """[start, end) of all VMAs that the steps change."""
        return min(vma.start for vma in self._vmas()), max(vma.end for vma in self._vmas())

    def add_ufence(self, ufence: UserFence) -> None:
        """Refuse to unmap the VMAs of this bind until its user fence signals (op_add_ufence)."""
        for step in self.steps:
            vmas: tuple[Vma | None, ...] = ()
            if isinstance(step, Map) and step.vma is not None and not step.vma.is_mirror:
                vmas = (step.vma,)
            elif isinstance(step, Remap):
                vmas = (step.before, step.after)
            elif isinstance(step, Prefetch):
                vmas = (step.vma,)
            for vma in vmas:
                if vma is not None:
                    vma.ufence = ufence

    def removed(self) -> list[Vma]:
        """VMAs that are gone once the steps are executed."""
        gone = [step.vma for step in self.steps if isinstance(step, Unmap)]
        return gone + [step.old for step in self.steps if isinstance(step, Remap)]


def _prefetch_target(bo: Bo, region: int) -> int:
    """The memory type to prefetch a BO to: region instances and memory types have the same order from PL_TT on."""
    if region != CONSULT:
        return PL_TT + region
    return next((place.mem_type for place in bo.placements if is_vram(place.mem_type)), PL_TT)
