# SPDX-License-Identifier: MIT
"""Engine groups, priorities, arbitration, preemption: the order of jobs."""

from __future__ import annotations

import pytest

from gpu import Batch
from ioctl import xe
from mock.driver.exec import scheduler
from mock.driver.lib.fence import Fence
from tests.mock.driver.gpu_client import BATCH, DATA, FAULT, LR, Gpu, in_syncobj, out_syncobj, user_fence
from tests.mock.driver.test_objects import extension

IMMEDIATE = xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE


def ready(gpu: Gpu, flags: int = 0) -> tuple[int, int, int]:
    vm, batch, data = gpu.vm(flags), gpu.bo(), gpu.bo()
    gpu.map(vm, batch, BATCH, flags=IMMEDIATE if flags == FAULT else 0)
    gpu.map(vm, data, DATA, flags=IMMEDIATE if flags == FAULT else 0)
    gpu.client.run(1)
    return vm, batch, data


def stat(gpu: Gpu, name: str) -> int:
    return gpu.client.file.device.gts[0].stats[name]


def test_dma_fence_job_suspends_faulting_queues_until_it_is_done(gpu: Gpu) -> None:
    """xe_hw_engine_group: their faults could wait for memory that the job's fence protects."""
    vm, batch, data = ready(gpu, FAULT)
    gpu.batch(batch, Batch().semaphore_wait(DATA, 1).store_dword(DATA + 4, 5).end())
    faulting = gpu.queue(vm)
    gpu.execute(faulting, syncs=(user_fence(DATA + 64, 1),))
    loop = gpu.client.services.loop
    loop.run_until(lambda: False, 0.01)
    plain, other_batch, other = ready(gpu)
    gpu.batch(other_batch, Batch().semaphore_wait(DATA, 1).end())
    done = gpu.syncobj()
    gpu.execute(gpu.queue(plain), syncs=(out_syncobj(done),))
    gpu.write(data, 0, b"\1\0\0\0")
    loop.run_until(lambda: False, 0.05)
    assert gpu.value(data, 4) == 0
    gpu.write(other, 0, b"\1\0\0\0")
    gpu.wait(done)
    gpu.client.run(1)
    assert gpu.value(data, 4) == 5
    assert gpu.value(data, 64) == 1
    assert stat(gpu, "hw_engine_group_suspend_lr_queue_count") == 1
    assert stat(gpu, "hw_engine_group_wait_dma_queue_count") == 1


def test_other_engine_groups_are_not_suspended(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu, FAULT)
    gpu.batch(batch, Batch().semaphore_wait(DATA, 1).store_dword(DATA + 4, 5).end())
    gpu.execute(gpu.queue(vm))
    plain, other_batch, _ = ready(gpu)
    gpu.batch(other_batch, Batch().semaphore_wait(DATA, 1).end())
    gpu.execute(gpu.queue(plain, (4, 0, 0)))
    gpu.write(data, 0, b"\1\0\0\0")
    gpu.client.services.loop.run_until(lambda: False, 0.05)
    assert gpu.value(data, 4) == 5


def test_exec_with_unmet_in_syncs_waits_before_it_suspends_faulting_queues(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu, FAULT)
    gpu.batch(batch, Batch().semaphore_wait(DATA, 1).store_dword(DATA + 4, 5).end())
    gpu.execute(gpu.queue(vm))
    plain, other_batch, _ = ready(gpu)
    gpu.batch(other_batch, Batch().end())
    gate = gpu.syncobj()
    fence = Fence()
    gpu.client.file.syncobjs.get(gate).replace(fence)  # type: ignore[union-attr]
    arg = gpu.exec_arg(gpu.queue(plain), syncs=(in_syncobj(gate),))
    deferred, _ = gpu.client.start(xe.DRM_IOCTL_XE_EXEC, arg)
    assert not isinstance(deferred, int)
    gpu.write(data, 0, b"\1\0\0\0")
    gpu.client.services.loop.run_until(lambda: False, 0.05)
    assert gpu.value(data, 4) == 5
    assert not deferred.settled
    fence.signal()
    assert gpu.client.settle(deferred, 1) == 0


def test_queue_created_while_dma_fence_jobs_run_starts_suspended(gpu: Gpu) -> None:
    plain, batch, data = ready(gpu)
    gpu.batch(batch, Batch().semaphore_wait(DATA, 1).end())
    gpu.execute(gpu.queue(plain))
    vm, other_batch, other = ready(gpu, FAULT)
    gpu.batch(other_batch, Batch().store_dword(DATA, 7).end())
    gpu.execute(gpu.queue(vm))
    gpu.client.services.loop.run_until(lambda: False, 0.05)
    assert gpu.value(other) == 0
    gpu.write(data, 0, b"\1\0\0\0")
    gpu.client.run(1)
    assert gpu.value(other) == 7


def test_higher_priority_runs_first(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    gpu.batch(batch, Batch().store_dword(DATA, 1).copy_mem(DATA + 4, DATA + 8).end())
    gpu.batch(batch, Batch().store_dword(DATA + 8, 2).end(), 0x1000)
    low = gpu.queue(vm)
    high = gpu.queue(vm, extensions=extension(gpu.client, property=0, value=2))
    gpu.execute(low)
    gpu.execute(high, BATCH + 0x1000)
    gpu.client.run(1)
    assert gpu.value(data, 4) == 2


def test_user_batch_cannot_switch_arbitration_off(gpu: Gpu) -> None:
    """MI_ARB_ON_OFF is privileged: the batch keeps sharing its engine."""
    vm, batch, data = ready(gpu, LR)
    off = 0x08 << 23
    gpu.batch(batch, Batch().raw(off).semaphore_wait(DATA, 1).end())
    gpu.batch(batch, Batch().store_dword(DATA + 4, 3).end(), 0x1000)
    gpu.execute(gpu.queue(vm))
    gpu.execute(gpu.queue(vm), BATCH + 0x1000)
    gpu.client.services.loop.run_until(lambda: False, 0.1)
    assert gpu.value(data, 4) == 3


def test_engines_run_side_by_side(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    engines = ((0, 0, 0), (1, 0, 0), (4, 0, 0), (2, 0, 1), (3, 1, 1))
    for index, engine in enumerate(engines):
        program = (
            Batch()
            .atomic(DATA, "inc")
            .semaphore_wait(DATA, len(engines))
            .store_dword(DATA + 8 + 4 * index, 1)
        )
        gpu.batch(batch, program.end(), 0x1000 * index)
        gpu.execute(gpu.queue(vm, engine), BATCH + 0x1000 * index)
    gpu.client.run(1)
    assert [gpu.value(data, 8 + 4 * index) for index in range(len(engines))] == [1] * len(engines)


def test_faults_of_several_queues_on_one_page_are_all_served(gpu: Gpu) -> None:
    vm, batch, data = gpu.vm(FAULT), gpu.bo(), gpu.bo()
    gpu.map(vm, batch, BATCH, flags=IMMEDIATE)
    gpu.map(vm, data, DATA)
    for index in range(4):
        gpu.batch(batch, Batch().store_dword(DATA + 4 * index, index + 1).end(), 0x1000 * index)
        gpu.execute(gpu.queue(vm, ((1, 0, 0), (4, 0, 0))[index % 2]), BATCH + 0x1000 * index)
    gpu.client.run(1)
    assert [gpu.value(data, 4 * index) for index in range(4)] == [1, 2, 3, 4]
    assert stat(gpu, "vma_pagefault_count") >= 2


def test_batch_of_a_destroyed_fault_vm_fails(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu, FAULT)
    gpu.batch(batch, Batch().semaphore_wait(DATA, 1).store_dword(DATA + 4, 5).end())
    queue = gpu.queue(vm)
    gpu.execute(queue)
    gpu.client.services.loop.run_until(lambda: False, 0.01)
    gpu.client.call(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=vm))
    gpu.write(data, 0, b"\1\0\0\0")
    gpu.client.run(1)
    assert gpu.value(data, 4) == 0
    assert gpu.banned(queue)


def test_fault_list_keeps_the_first_50(gpu: Gpu) -> None:
    vm, batch, _ = ready(gpu, FAULT)
    for index in range(60):
        gpu.batch(batch, Batch().store_dword(0x7000_0000 + 0x1000 * index, 1).end())
        gpu.execute(gpu.queue(vm))
        gpu.client.run(1)
    arg = xe.drm_xe_vm_get_property(vm_id=vm)
    gpu.client.call(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, arg)
    assert arg.size == 50 * 48
    arg.size = 2 * 48
    arg.data = gpu.client.put(bytes(96))
    gpu.client.call(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, arg)
    assert [gpu.client.u64(arg.data + 48 * index) for index in range(2)] == [0x7000_0000, 0x7000_1000]


def test_user_interrupt_wakes_a_wait_before_the_batch_ends(gpu: Gpu) -> None:
    """WAIT_USER_FENCE looks again at every interrupt of an engine, even if the CPU stored the value."""
    vm, batch, _ = ready(gpu, LR)
    memory = gpu.client.mm.map(0x1000)
    gpu.bind(vm, gpu.op(xe.DRM_XE_VM_BIND_OP_MAP_USERPTR, userptr=memory, addr=0x40_0000, range=0x1000))
    arg = xe.drm_xe_wait_user_fence(addr=memory, value=7, mask=0xFF, timeout=-1)
    deferred, _ = gpu.client.start(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, arg)
    assert not isinstance(deferred, int)
    gpu.batch(batch, Batch().store_qword(0x40_0000, 7).user_interrupt().semaphore_wait(DATA, 1).end())
    gpu.execute(gpu.queue(vm))
    assert gpu.client.settle(deferred, 1) == 0


def test_user_fence_takes_a_canonical_address(gpu: Gpu) -> None:
    vm, batch, data = gpu.vm(LR), gpu.bo(), gpu.bo()
    high = 0x8000_0000_0000
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, high)
    gpu.batch(batch, Batch().end())
    gpu.execute(gpu.queue(vm), syncs=(user_fence(high | 0xFFFF_0000_0000_0000, 6),))
    gpu.client.run(1)
    assert gpu.value(data) == 6


def test_a_blit_longer_than_a_turn_is_gone_on_with(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instruction of which a turn of the engine completes a part is progress, although it has not ended."""
    monkeypatch.setattr(scheduler, "TURN_S", 0.0)
    size = 0x100_0000
    vm, batch = gpu.vm(LR), gpu.bo()
    source, target = gpu.bo(size), gpu.bo(size)
    there = DATA + 2 * size
    gpu.map(vm, batch, BATCH)
    gpu.bind(vm, gpu.op(obj=source, addr=DATA + size, range=size))
    gpu.bind(vm, gpu.op(obj=target, addr=there, range=size))
    done = gpu.bo()
    gpu.map(vm, done, DATA)
    gpu.client.run(3)
    gpu.write(source, size - 4, b"\1\2\3\4")
    gpu.batch(batch, Batch().copy(there, DATA + size, size).end())
    gpu.execute(gpu.queue(vm), syncs=(user_fence(DATA + 64, 1),))
    gpu.client.services.loop.run_until(lambda: gpu.value(done, 64) == 1, 20)
    assert gpu.value(done, 64) == 1
    assert gpu.value(target, size - 4) == 0x0403_0201
