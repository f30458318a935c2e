# SPDX-License-Identifier: MIT
"""VM_BIND (xe_vm.c: xe_vm_bind_ioctl)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.exec import sync
from mock.driver.lib.blocking import when_settled
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.fence import Fence, FenceArray, stub
from mock.driver.uapi import bind_check as check
from mock.driver.vm import gpuva
from mock.driver.vm.gpuva import Piece
from mock.driver.vm.remap import mirror_range
from mock.driver.vm.steps import MapRequest
from mock.driver.vm.vma import Vma, VmaKind
from mock.driver.vm.vma_ops import VmaOps
from mock.kernel import Stalled

if TYPE_CHECKING:
    from mock.driver.exec.sync import SyncEntry
    from mock.driver.lib.blocking import Blocking
    from mock.driver.lib.timeline import Timeline
    from mock.driver.ttm.bo import Bo
    from mock.driver.uapi.dispatch import Call
    from mock.driver.vm.vm import Vm


class _NoData(Exception):  # noqa: N818 - the kernel's -ENODATA: not an error, nothing to do in the page tables
    pass


def bind(call: Call, args: Any) -> Blocking[None]:
    """xe_vm_bind_ioctl()."""
    vm = call.file.vms.get(args.vm_id)
    if vm is None:
        raise Refused(errno.EINVAL, "no such VM")
    check.check_header(args)
    binds = check.read_ops(call, args)
    for one in binds:
        check.check_op(vm, one)
    queue = _bind_queue(call, vm, args.exec_queue_id)
    yield from vm.svm.flush()
    if vm.preempt_fence_mode:
        vm.userptr.look()
    refuse_if(vm.closed_or_banned, errno.ENOENT, "VM is closed or banned")
    for one in binds:
        check.check_range(vm, one)
    for _ in ("bos", "ops") if binds else ():
        call.device.machine.faults.kmalloc(call.task.tid)
    bos = [_find_bo(call, one) for one in binds]
    syncs = _parse_syncs(call, vm, queue, args)
    try:
        if not binds:
            raise _NoData
        yield from when_settled(lambda: _apply(call.task.tid, vm, queue, binds, bos, syncs))
    except _NoData:
        # Nothing to write: the out-syncs signal with the queue's last bind (vm_bind_ioctl_signal_fences).
        sync.follow_last(call.device, queue, syncs)


def _bind_queue(call: Call, vm: Vm, number: int) -> Timeline:
    if not number:
        return vm.bind_queue
    queue = call.file.queues.get(number)
    if queue is None:
        raise Refused(errno.ENOENT, "no such exec queue")
    refuse_if(not queue.is_bind, errno.EINVAL, "not a bind queue")
    refuse_if(queue.vm is not vm, errno.EINVAL, "bind queue of another VM")
    return queue


def _find_bo(call: Call, one: Any) -> Bo | None:
    if not one.obj:
        return None
    bo = call.file.bos.get(one.obj)
    if bo is None:
        raise Refused(errno.ENOENT, "no such object")
    check.check_bo(call.device, bo, one)
    return bo


def _parse_syncs(call: Call, vm: Vm, queue: Timeline, args: Any) -> list[SyncEntry]:
    syncs = []
    if args.num_syncs:
        call.device.machine.faults.kmalloc(call.task.tid)
    for index in range(args.num_syncs):
        queue.ufence_value += 1
        call.device.machine.faults.enter("xe_sync_entry_parse", call.task.tid)
        entry = sync.parse(
            call.device,
            call.file.syncobjs,
            call.task.mm,
            args.syncs + index * sync.SIZE,
            executing=False,
            lr_mode=vm.lr_mode,
            no_user_fence=not args.num_binds,
        )
        entry.ufence_timeline = queue.ufence_timeline
        entry.ufence_point = queue.ufence_value
        syncs.append(entry)
    refuse_if(sum(one.ufence is not None for one in syncs) > 1, errno.EINVAL, "more than one user fence")
    return syncs


def _apply(
    tid: int, vm: Vm, queue: Timeline, binds: list[Any], bos: list[Bo | None], syncs: list[SyncEntry]
) -> Blocking[None]:
    refuse_if(vm.closed_or_banned, errno.ENOENT, "VM was closed or banned in the meantime")
    ops = VmaOps(vm, array=len(binds) > 1)
    faults = vm.device.machine.faults
    try:
        for one, bo in zip(binds, bos, strict=True):
            faults.enter("vm_bind_ioctl_ops_create", tid)
            faults.kmalloc(tid)
            _parse(ops, one, bo)
        if not ops.steps:
            raise _NoData
        ops.alloc(tid)
        try:
            yield from ops.prefetch_ranges()
        except Refused as refusal:
            if refusal.code == errno.ENODATA:
                raise _NoData from refusal
            raise
        faults.enter("vm_bind_ioctl_ops_execute", tid)
        ops.prepare()
        if ops.page_table_ops:
            faults.update_page_tables(len(vm.device.tiles), tid)
    except (OSError, Stalled):
        ops.unwind()
        raise
    ufence = next((one.ufence for one in syncs if one.ufence is not None), None)
    if ufence is not None:
        ops.add_ufence(ufence)
    if not ops.page_table_ops:
        _retire(ops.removed(), None)
        raise _NoData
    done = _run(vm, queue, ops, syncs)
    _retire(ops.removed(), done)
    for one in syncs:
        one.signal_with(done)


def _parse(ops: VmaOps, one: Any, bo: Bo | None) -> None:
    """Translate one bind operation into steps and commit them (vm_bind_ioctl_ops_create and _parse)."""
    vm, start, end = ops.vm, one.addr, one.addr + one.range
    if one.op in (check.OP_MAP, check.OP_MAP_USERPTR):
        mirror = one.op == check.OP_MAP and one.flags & check.MIRROR
        if mirror:
            start, end = mirror_range(vm, start, end)
            ops.allow_svm_unmap = vm.device.has("mirror-merge")
        request = _map_request(vm, one, bo)
        ops.add_map(gpuva.map_ops(vm.vmas, Piece(start, end, bo, one.obj_offset)), request)
    elif one.op == check.OP_UNMAP:
        ops.add(gpuva.unmap_ops(vm.vmas, start, end))
    elif one.op == check.OP_UNMAP_ALL:
        assert bo is not None, "UNMAP_ALL without an object passed the check"
        ops.add(gpuva.bo_unmap_ops(vm.vmas, bo))
    else:
        ops.add_prefetch(start, end, one.prefetch_mem_region_instance)


def _map_request(vm: Vm, one: Any, bo: Bo | None) -> MapRequest:
    flags = one.flags
    if bo is not None:
        kind = VmaKind.BO
    elif flags & check.MIRROR:
        kind = VmaKind.CPU_ADDR_MIRROR
    elif flags & check.NULL:
        kind = VmaKind.NULL
    else:
        kind = VmaKind.USERPTR
    immediate = bool(flags & xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    return MapRequest(
        kind,
        pat_index=one.pat_index,
        read_only=bool(flags & xe.DRM_XE_VM_BIND_FLAG_READONLY),
        dumpable=bool(flags & xe.DRM_XE_VM_BIND_FLAG_DUMPABLE),
        autoreset=bool(flags & check.AUTORESET),
        immediate=immediate,
        # The range must not map the scratch page, so that the first access faults.
        invalidate_on_bind=vm.fault_mode and vm.has_scratch and not immediate,
    )


def _run(vm: Vm, queue: Timeline, ops: VmaOps, syncs: list[SyncEntry]) -> Fence:
    """Write the page tables when everything they depend on is done (xe_pt_update_ops_run)."""
    updates = ops.updates()
    if not updates:
        # Nothing is mapped where the steps unmap, or a mirror in a VM with a scratch page: in-syncs are ignored.
        return stub()
    waits = [queue.last_fence, *(one.fence for one in syncs if one.fence is not None)]
    if ops.waits_for_jobs:
        waits += vm.resv.all()
    elif ops.waits_for_moves:
        waits += vm.resv.kernel()
    external = [bo.resv for bo in ops.objects() if not bo.private]
    for resv in external:
        waits += resv.kernel()
    done = queue.next_fence()
    queue.last_fence = done
    waits += vm.writers.claim(*ops.span(), done)
    ready = FenceArray(waits)
    if not ready.signaled:
        for resv in (vm.resv, *external):
            # Jobs wait for page tables that are rewritten, not for first mappings.
            (resv.add_kernel if ops.waits_for_jobs else resv.add_bookkeep)(done)
    ready.then(_writer(updates, done))
    return done


def _writer(updates: list[Callable[[], None]], done: Fence) -> Callable[[], None]:
    def write() -> None:
        for update in updates:
            update()
        done.signal()

    return write


def _retire(vmas: list[Vma], done: Fence | None) -> None:
    """Destroy VMAs; their BOs are released once the unbind is done (xe_vma_destroy)."""
    for vma in vmas:
        vma.unlink()
        if done is None:
            vma.release()
        else:
            done.then(vma.release)
