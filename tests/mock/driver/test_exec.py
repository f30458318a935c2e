# SPDX-License-Identifier: MIT
"""Batches run on every kind of VM and concurrently, and fail as with the real driver."""

from __future__ import annotations

import errno

import pytest

from gpu import Batch
from ioctl import drm, xe
from tests.mock.driver.double import fields
from tests.mock.driver.gpu_client import (
    BATCH,
    DATA,
    FAULT,
    LR,
    SCRATCH,
    Gpu,
    in_syncobj,
    out_syncobj,
    user_fence,
)

REQUEST = xe.DRM_IOCTL_XE_EXEC


def ready(gpu: Gpu, flags: int = 0, placement: int = 1) -> tuple[int, int, int]:
    """A VM with a batch object and a data object bound."""
    vm, batch, data = gpu.vm(flags), gpu.bo(placement=placement), gpu.bo(placement=placement)
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA)
    gpu.client.run()
    return vm, batch, data


def spin_until(batch: Batch, address: int, value: int) -> Batch:
    return batch.semaphore_wait(address, value)


def test_store_of_a_batch_lands_in_the_object_and_the_syncobj_signals(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    gpu.batch(batch, Batch().store_dword(DATA + 8, 0xC0FFEE).end())
    done = gpu.syncobj()
    gpu.execute(gpu.queue(vm), syncs=(out_syncobj(done),))
    assert gpu.value(data, 8) == 0
    gpu.wait(done)
    assert gpu.value(data, 8) == 0xC0FFEE


@pytest.mark.parametrize("flags", [LR, FAULT])
def test_user_fence_of_a_long_running_vm_is_stored_by_the_gpu(gpu: Gpu, flags: int) -> None:
    vm, batch, data = ready(gpu, flags)
    gpu.batch(batch, Batch().store_dword(DATA, 7).end())
    gpu.execute(gpu.queue(vm), syncs=(user_fence(DATA + 64, 0x1234_5678_9ABC),))
    gpu.client.run()
    assert gpu.value(data) == 7
    assert gpu.read(data, 64, 8) == (0x1234_5678_9ABC).to_bytes(8, "little")


def test_of_two_user_fences_the_last_is_stored(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu, LR)
    gpu.batch(batch, Batch().end())
    gpu.execute(gpu.queue(vm), syncs=(user_fence(DATA, 1), user_fence(DATA + 8, 2)))
    gpu.client.run()
    assert (gpu.value(data), gpu.value(data, 8)) == (0, 2)


def test_jobs_of_a_queue_run_in_order(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    queue, done = gpu.queue(vm), gpu.syncobj()
    for index in range(20):
        gpu.batch(batch, Batch().store_dword(DATA + 4 * index, index).end(), 0x100 * index)
        gpu.batch(batch, Batch().store_dword(DATA, index).end(), 0x100 * index)
    for index in range(20):
        gpu.execute(queue, BATCH + 0x100 * index, syncs=(out_syncobj(done),))
    gpu.wait(done)
    assert gpu.value(data) == 19


def test_waiting_context_does_not_block_others_on_its_engine(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    gpu.batch(batch, spin_until(Batch(), DATA, 5).store_dword(DATA + 4, 1).end())
    gpu.batch(batch, Batch().store_dword(DATA, 5).end(), 0x1000)
    first, second = gpu.syncobj(), gpu.syncobj()
    gpu.execute(gpu.queue(vm), syncs=(out_syncobj(first),))
    gpu.execute(gpu.queue(vm), BATCH + 0x1000, syncs=(out_syncobj(second),))
    gpu.wait(second)
    gpu.wait(first)
    assert gpu.value(data, 4) == 1


def test_spinning_context_shares_its_engine(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    gpu.batch(batch, Batch().chain(BATCH))
    gpu.batch(batch, Batch().store_dword(DATA, 9).end(), 0x1000)
    done = gpu.syncobj()
    gpu.execute(gpu.queue(vm))
    gpu.execute(gpu.queue(vm), BATCH + 0x1000, syncs=(out_syncobj(done),))
    gpu.wait(done, 1.0)
    assert gpu.value(data) == 9


def test_semaphore_is_satisfied_by_the_cpu(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    gpu.batch(batch, spin_until(Batch(), DATA, 5).end())
    done = gpu.syncobj()
    gpu.execute(gpu.queue(vm), syncs=(out_syncobj(done),))
    loop = gpu.client.services.loop
    assert not loop.run_until(lambda: gpu.client.file.syncobjs.get(done).fence.signaled, 0.1)  # type: ignore[union-attr]
    gpu.write(data, 0, (5).to_bytes(4, "little"))
    gpu.wait(done, 0.1)


def test_nothing_runs_when_nothing_can(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu, LR)
    gpu.batch(batch, spin_until(Batch(), DATA, 5).end())
    gpu.execute(gpu.queue(vm))
    loop = gpu.client.services.loop
    loop.run_until(lambda: False, 0.5)
    steps = 0
    end = loop.time() + 1.0
    while loop.time() < end and loop.step():
        steps += 1
    assert steps < 1000


def test_in_syncobj_holds_a_job_back(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    queue, gate, done = gpu.queue(vm), gpu.syncobj(), gpu.syncobj()
    gpu.batch(batch, spin_until(Batch(), DATA, 1).end())
    gpu.execute(queue, syncs=(out_syncobj(gate),))
    gpu.batch(batch, Batch().store_dword(DATA + 4, 3).end(), 0x1000)
    gpu.execute(gpu.queue(vm), BATCH + 0x1000, syncs=(in_syncobj(gate), out_syncobj(done)))
    gpu.client.services.loop.run_until(lambda: False, 0.1)
    assert gpu.value(data, 4) == 0
    gpu.write(data, 0, (1).to_bytes(4, "little"))
    gpu.wait(done)
    assert gpu.value(data, 4) == 3


def test_parallel_queue_runs_every_batch(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    pair = gpu.client.array(
        *(xe.drm_xe_engine_class_instance(engine_class=2, engine_instance=i, gt_id=1) for i in range(2))
    )
    queue = gpu.queue(vm, width=2, instances=pair)
    done = gpu.syncobj()
    for index in range(2):
        gpu.batch(batch, Batch().store_dword(DATA + 4 * index, 10 + index).end(), 0x1000 * index)
    addresses = gpu.client.put(BATCH.to_bytes(8, "little") + (BATCH + 0x1000).to_bytes(8, "little"))
    gpu.execute(queue, addresses, syncs=(out_syncobj(done),), num_batch_buffer=2)
    gpu.wait(done)
    assert (gpu.value(data), gpu.value(data, 4)) == (10, 11)


def test_no_batch_signals_after_the_last_job(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    queue, done = gpu.queue(vm), gpu.syncobj()
    gpu.batch(batch, spin_until(Batch(), DATA, 1).end())
    gpu.execute(queue)
    gpu.execute(queue, 0, syncs=(out_syncobj(done),), num_batch_buffer=0)
    with pytest.raises(OSError) as caught:
        gpu.wait(done, 0.1)
    assert caught.value.errno == errno.ETIME
    gpu.write(data, 0, (1).to_bytes(4, "little"))
    gpu.wait(done)


def test_no_batch_with_an_in_sync_is_refused_since_7_0(gpu: Gpu, open_client) -> None:  # type: ignore[no-untyped-def]
    for level, expected in (("7.3", errno.EOPNOTSUPP), ("6.18", None)):
        old = Gpu(open_client("bmg", level))
        vm = old.vm()
        sync = old.syncobj(drm.DRM_SYNCOBJ_CREATE_SIGNALED)
        arg = old.exec_arg(old.queue(vm), 0, (in_syncobj(sync),), num_batch_buffer=0)
        assert old.client.refused(REQUEST, arg) == expected


# Failures


def test_job_that_does_not_end_is_timed_out_and_its_queue_banned(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu)
    queue, done, next_done = gpu.queue(vm), gpu.syncobj(), gpu.syncobj()
    gpu.batch(batch, spin_until(Batch(), DATA, 1).end())
    gpu.execute(queue, syncs=(out_syncobj(done),))
    gpu.execute(queue, syncs=(out_syncobj(next_done),))
    gpu.wait(done, 20)
    assert gpu.banned(queue)
    fences = [gpu.client.file.syncobjs.get(handle).fence.error for handle in (done, next_done)]  # type: ignore[union-attr]
    assert fences == [-errno.ETIME, -errno.ECANCELED]
    assert gpu.client.refused(REQUEST, gpu.exec_arg(queue)) == errno.ECANCELED


def test_long_running_job_is_not_timed_out(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu, LR)
    queue = gpu.queue(vm)
    gpu.batch(batch, spin_until(Batch(), DATA, 1).end())
    gpu.execute(queue)
    gpu.client.services.loop.run_until(lambda: False, 20)
    assert not gpu.banned(queue)


@pytest.mark.parametrize("flags", [0, LR])
def test_access_to_what_is_not_bound_bans_only_the_queue(gpu: Gpu, flags: int) -> None:
    vm, batch, data = ready(gpu, flags)
    queue, other = gpu.queue(vm), gpu.queue(vm)
    gpu.batch(batch, Batch().store_dword(0x7000_0000, 1).end())
    gpu.execute(queue)
    gpu.client.run(1)
    assert gpu.banned(queue)
    gpu.batch(batch, Batch().store_dword(DATA, 2).end())
    gpu.execute(other)
    gpu.client.run(1)
    assert not gpu.banned(other)
    assert gpu.value(data) == 2


def test_failed_fault_bans_the_queue_and_is_reported(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu, FAULT)
    queue = gpu.queue(vm)
    gpu.batch(batch, Batch().store_dword(0x7000_0008, 1).end())
    gpu.execute(queue)
    gpu.client.run(1)
    assert gpu.banned(queue)
    arg = xe.drm_xe_vm_get_property(vm_id=vm, property=xe.DRM_XE_VM_GET_PROPERTY_FAULTS)
    gpu.client.call(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, arg)
    assert arg.size == 48
    arg.data = gpu.client.put(bytes(48))
    gpu.client.call(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, arg)
    fault = xe.xe_vm_fault.from_buffer_copy(gpu.client.mm.read(arg.data, 48))
    assert (fault.address, fault.address_precision) == (0x7000_0000, 0x1000)
    assert (fault.access_type, fault.fault_type) == (xe.FAULT_ACCESS_TYPE_WRITE, xe.FAULT_TYPE_NOT_PRESENT)


def test_scratch_page_reads_zero_and_drops_writes(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu, SCRATCH)
    gpu.batch(
        batch, Batch().store_dword(0x7000_0000, 5).copy_mem(DATA, 0x7000_0000).store_dword(DATA + 4, 1).end()
    )
    gpu.write(data, 0, b"\xff" * 4)
    gpu.execute(gpu.queue(vm))
    gpu.client.run(1)
    assert (gpu.value(data), gpu.value(data, 4)) == (0, 1)


def test_illegal_instruction_hangs_until_another_context_needs_the_engine(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu, LR)
    queue, other = gpu.queue(vm), gpu.queue(vm)
    gpu.write(batch, 0, b"\xff" * 64)
    gpu.execute(queue)
    gpu.client.run(10)
    assert not gpu.banned(queue)
    gpu.batch(batch, Batch().store_dword(DATA, 1).end(), 0x1000)
    gpu.execute(other, BATCH + 0x1000)
    gpu.client.run(10)
    assert gpu.banned(queue)
    assert gpu.value(data) == 1


def test_destroyed_queue_completes_its_jobs_with_an_error(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu)
    queue, done = gpu.queue(vm), gpu.syncobj()
    gpu.batch(batch, Batch().chain(BATCH))
    gpu.execute(queue, syncs=(out_syncobj(done),))
    gpu.client.call(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, xe.drm_xe_exec_queue_destroy(exec_queue_id=queue))
    gpu.wait(done, 1)


def test_more_than_1000_jobs_are_refused_since_7_0(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu)
    queue = gpu.queue(vm)
    gpu.batch(batch, spin_until(Batch(), DATA, 1).end())
    for _ in range(1000):
        gpu.execute(queue)
    assert gpu.client.refused(REQUEST, gpu.exec_arg(queue)) == errno.EAGAIN


def test_closing_the_file_stops_everything(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu)
    gpu.batch(batch, Batch().chain(BATCH))
    gpu.execute(gpu.queue(vm))
    gpu.client.driver.release(gpu.client.file)
    gpu.client.run(1)
    assert gpu.client.services.loop.idle


# Argument rules

BAD = {
    "extensions": {"extensions": 1},
    "pad": {"pad": [0, 1, 0]},
    "reserved": {"reserved": [0, 1]},
    "too many syncs": {"num_syncs": xe.DRM_XE_MAX_SYNCS + 1},
    "more batches than width": {"num_batch_buffer": 2},
}


@pytest.mark.parametrize("values", BAD.values(), ids=BAD.keys())
def test_bad_argument_is_einval(gpu: Gpu, values: dict[str, object]) -> None:
    arg = fields(xe.drm_xe_exec, exec_queue_id=gpu.queue(gpu.vm()), **{"num_batch_buffer": 1, **values})
    assert gpu.client.refused(REQUEST, arg) == errno.EINVAL


def test_unknown_queue_is_enoent(gpu: Gpu) -> None:
    assert gpu.client.refused(REQUEST, gpu.exec_arg(7)) == errno.ENOENT


def test_bind_queue_is_einval(gpu: Gpu) -> None:
    assert gpu.client.refused(REQUEST, gpu.exec_arg(gpu.queue(gpu.vm(), (5, 0, 0)))) == errno.EINVAL


@pytest.mark.parametrize(
    ("values", "lr", "expected"),
    [
        ({"flags": 2}, False, errno.EINVAL),
        ({"reserved": [0, 1]}, False, errno.EINVAL),
        ({"type": 3}, False, errno.EINVAL),
        ({"handle": 99}, False, errno.ENOENT),
        ({"handle": 99, "flags": 1}, True, errno.EOPNOTSUPP),
        ({"addr": 1 << 32}, False, errno.EINVAL),
        ({"type": 1, "handle": 1, "timeline_value": 0}, False, errno.EINVAL),
        ({"type": 1, "handle": 1, "timeline_value": 0, "flags": 1}, False, errno.EINVAL),
        ({"type": 1, "handle": 1, "timeline_value": 4}, False, errno.EINVAL),
        ({"type": 1, "handle": 1, "flags": 1, "timeline_value": 4}, True, errno.EOPNOTSUPP),
        ({"type": 0, "handle": 1}, False, errno.EINVAL),
        ({"type": 2, "addr": DATA}, True, errno.EOPNOTSUPP),
        ({"type": 2, "addr": DATA + 4, "flags": 1}, True, errno.EINVAL),
    ],
)
def test_bad_sync_is_refused(gpu: Gpu, values: dict[str, object], lr: bool, expected: int) -> None:
    vm, batch, _ = ready(gpu, LR if lr else 0)
    gpu.batch(batch, Batch().end())
    assert gpu.syncobj() == 1
    sync = fields(xe.drm_xe_sync, **values)
    assert gpu.client.refused(REQUEST, gpu.exec_arg(gpu.queue(vm), syncs=(sync,))) == expected


def test_syncs_and_addresses_out_of_memory_are_efault(gpu: Gpu) -> None:
    vm, _, _ = ready(gpu)
    arg = fields(xe.drm_xe_exec, exec_queue_id=gpu.queue(vm), num_batch_buffer=1, num_syncs=1, syncs=8)
    assert gpu.client.refused(REQUEST, arg) == errno.EFAULT


def test_destroyed_vm_is_ecanceled(gpu: Gpu) -> None:
    vm = gpu.vm()
    queue = gpu.queue(vm)
    gpu.client.call(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=vm))
    assert gpu.client.refused(REQUEST, gpu.exec_arg(queue)) == errno.ECANCELED
