# SPDX-License-Identifier: MIT
"""EXEC: submit batches to an exec queue (xe_exec.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.exec import sync
from mock.driver.exec.queue import MAX_JOBS, ExecQueue, Job
from mock.driver.lib import user
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.vm import rebind

if TYPE_CHECKING:
    from mock.driver.exec.scheduler import Scheduler
    from mock.driver.exec.sync import SyncEntry
    from mock.driver.lib.blocking import Blocking
    from mock.driver.uapi.dispatch import Call


def execute(call: Call, args: Any) -> Blocking[None]:
    """xe_exec_ioctl()."""
    refuse_if(args.extensions, errno.EINVAL, "extensions")
    refuse_if(any(args.pad) or any(args.reserved), errno.EINVAL, "pad or reserved")
    refuse_if(args.num_syncs > xe.DRM_XE_MAX_SYNCS, errno.EINVAL, "num_syncs")
    queue = call.file.queues.get(args.exec_queue_id)
    if queue is None:
        raise Refused(errno.ENOENT, "no such exec queue")
    refuse_if(queue.is_bind, errno.EINVAL, "a bind queue")
    refuse_if(
        args.num_batch_buffer and queue.width != args.num_batch_buffer, errno.EINVAL, "num_batch_buffer"
    )
    refuse_if(queue.dead, errno.ECANCELED, "queue is banned or reset")
    full = len(queue.jobs) >= MAX_JOBS and call.device.has("job-limit")
    refuse_if(full, errno.EAGAIN, "too many jobs in flight")
    vm, mm = queue.vm, call.task.mm
    # User fences of an exec are not counted: any number is accepted, the last one is stored (xe_sync_is_ufence).
    syncs = [
        sync.parse(
            call.device,
            call.file.syncobjs,
            mm,
            args.syncs + index * sync.SIZE,
            executing=True,
            lr_mode=vm.lr_mode,
        )
        for index in range(args.num_syncs)
    ]
    addresses = [args.address]
    if args.num_batch_buffer and queue.parallel:
        addresses = user.get_ints(mm, args.address, 8, queue.width)
    group = call.scheduler.group(queue)
    if not vm.fault_mode:
        waits = syncs if any(one.needs_wait for one in syncs) else []
        yield from group.enter_dma_fence_mode(waits)
    if not vm.fault_mode:
        vm.userptr.look()
    if not vm.lr_mode and vm.userptr.needs_repin():
        vm.userptr.pin_all()
    if not args.num_batch_buffer:
        _signal_only(queue, syncs)
        return
    if not vm.lr_mode:
        rebind.validate_and_rebind(vm)
    refuse_if(vm.closed_or_banned, errno.ECANCELED, "VM is closed or banned")
    _submit(call.scheduler, queue, addresses, syncs)


def _signal_only(queue: ExecQueue, syncs: list[SyncEntry]) -> None:
    """Without a batch, the out-syncs signal with the queue's last job (dma-fence mode only)."""
    if queue.vm.lr_mode:
        return
    sync.follow_last(queue.vm.device, queue, syncs)


def _submit(scheduler: Scheduler, queue: ExecQueue, addresses: list[int], syncs: list[SyncEntry]) -> None:
    vm = queue.vm
    job = Job(queue, addresses, done=queue.next_fence())
    if not vm.lr_mode:
        job.dependencies += vm.resv.kernel()
        for bo in vm.external_bos():
            job.dependencies += bo.resv.kernel()
    for one in syncs:
        if one.needs_wait and one.fence is not None:
            job.dependencies.append(one.fence)
        if one.address is not None:
            job.user_fence = one.address, one.timeline_value
    if not vm.lr_mode:
        vm.resv.add_bookkeep(job.done)
        for bo in vm.external_bos():
            bo.resv.add_bookkeep(job.done)
        queue.last_fence = job.done
    for one in syncs:
        one.signal_with(job.done)
    scheduler.submit(job)
    if vm.preempt_fence_mode:
        scheduler.reactivate_rebind(vm)
    if not vm.lr_mode:
        vm.bump_lru()
    if vm.fault_mode:
        scheduler.group(queue).resume_faulting()
