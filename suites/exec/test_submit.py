# SPDX-License-Identifier: MIT
"""Arguments that EXEC accepts and rejects (xe_exec.c: xe_exec_ioctl)."""

from __future__ import annotations

import ctypes
import errno

import pytest

from fixtures import (
    FAULTING,
    LONG_RUNNING,
    PLAIN,
    acts,
    behaviour,
    gpu_fault,
    gpu_sees,
    landed,
    needs,
    refused,
    untested,
    wait_until,
)
from fixtures.checks import HarnessError
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeSyncobj, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.seeds import fence_value
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue, QueueError
from fixtures.xe.sync import user_fence, wait_user_fence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""
JOBS = 1000
"""Jobs of a queue that are not finished, at most (XE_MAX_JOB_COUNT_PER_EXEC_QUEUE)."""


@pytest.fixture
def bind_queue(plain_vm: Vm) -> Queue:
    """A queue for binds."""
    engine = xe.drm_xe_engine_class_instance(engine_class=xe.DRM_XE_ENGINE_CLASS_VM_BIND)
    return plain_vm.queue(engine)


@behaviour("exec.bind-queue")
@acts("refusal")
@pytest.mark.parametrize("batches", [0, 1])
def test_exec_on_a_bind_queue_is_refused(bind_queue: Queue, batches: int) -> None:
    """EXEC on a queue of class VM_BIND gives EINVAL, with and without a batch."""
    with refused(errno.EINVAL):
        bind_queue.submit(0, batches=batches)


@behaviour("exec.banned-queue")
@acts("refusal", "store")
@needs("page-faults")
def test_exec_on_a_banned_queue_is_refused(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """EXEC on a queue banned by a failed access gives ECANCELED, each time; another queue still works."""
    banned, other, buffer, value = mirror_vm.queue(), mirror_vm.queue(), memory(PAGE), sentinel()
    with gpu_fault(banned):
        banned.store(AT, sentinel())
    assert not other.banned
    for batches in (1, 0, 1):
        with refused(errno.ECANCELED):
            banned.submit(AT, batches=batches)
    other.store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("exec.zero-batch")
@acts("store", "ioctl")
def test_empty_exec_signals_after_earlier_work(
    plain_vm: Vm, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel
) -> None:
    """EXEC with num_batch_buffer 0 signals its syncobj when the queue's earlier work completes, and not before."""
    made, queue, done, value = bo(PAGE), plain_vm.queue(), syncobj(), sentinel()
    mapped = made.map()
    plain_vm.map(made, AT)
    job = queue.start(Batch().semaphore_wait(AT, 1).store_dword(AT + 64, value))
    queue.submit(0, [done.sync()], batches=0)
    assert not done.signalled
    assert not job.done
    mapped.set_u32(0, 1)
    done.wait()
    landed(mapped, 64, value)
    job.wait()


@behaviour("exec.zero-batch")
@acts("ioctl")
def test_empty_exec_on_idle_queue_signals(plain_vm: Vm, syncobj: MakeSyncobj) -> None:
    """EXEC with num_batch_buffer 0 on an idle queue signals each of its syncobjs and timeline points."""
    queue, binary, timeline = plain_vm.queue(), syncobj(), syncobj()
    queue.submit(0, [binary.sync(), timeline.sync(7)], batches=0)
    binary.wait()
    timeline.wait(7)
    count("ioctl")


@behaviour("exec.zero-batch-lr")
@acts("store")
@pytest.mark.parametrize(
    "flags", [LONG_RUNNING, pytest.param(FAULTING, marks=needs("page-faults"))], ids=["lr", "fault"]
)
def test_empty_exec_in_lr_mode_does_nothing(
    make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, flags: int
) -> None:
    """EXEC with num_batch_buffer 0 in a long-running VM returns 0 and writes no fence; the queue still works."""
    vm = make_vm(flags)
    made, queue, value = bo(PAGE), vm.queue(), sentinel()
    mapped, never = made.map(), fence_value()
    vm.map(made, AT, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    queue.submit(0, batches=0)
    queue.submit(0, [user_fence(AT, never)], batches=0)
    queue.store(AT + 64, value)
    landed(mapped, 64, value)
    assert mapped.u64(0) != never


@behaviour("exec.zero-batch-in-syncobj")
@acts("refusal")
def test_empty_exec_with_in_syncobj_is_eopnotsupp(plain_vm: Vm, syncobj: MakeSyncobj) -> None:
    """EXEC with num_batch_buffer 0 and an in-sync gives EOPNOTSUPP, wherever it is in the array."""
    queue, ready, done = plain_vm.queue(), syncobj(signalled=True), syncobj()
    for syncs in ([ready.waiting()], [done.sync(), ready.waiting()], [ready.waiting(), done.sync()]):
        with refused(errno.EOPNOTSUPP):
            queue.submit(0, syncs, batches=0)
    assert not done.signalled


@behaviour("exec.ufence-gpu-address")
@acts("store")
@pytest.mark.parametrize(
    "flags",
    [
        LONG_RUNNING,
        PLAIN,
        pytest.param(FAULTING, marks=needs("page-faults")),
    ],
    ids=["lr", "plain", "fault"],
)
def test_user_fence_is_at_a_gpu_address(make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, flags: int) -> None:
    """The user fence of EXEC is written to a GPU address when the batch completes, and nowhere else."""
    vm = make_vm(flags)
    made, queue = bo(2 * PAGE), vm.queue()
    mapped = made.map()
    vm.map(made, AT, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    batch = Batch().semaphore_wait(AT, 1).store_dword(AT + 64, value := sentinel()).end()
    mapped.write(1024, batch.encode(AT + 1024))
    fence, place = fence_value(), PAGE + 8 * 17
    queue.submit(AT + 1024, [user_fence(AT + place, fence)])
    assert mapped.u64(place) == 0
    mapped.set_u32(0, 1)
    wait_user_fence(vm.device, mapped.address + place, fence, queue=queue.id)
    landed(mapped, place, fence, size=8)
    landed(mapped, 64, value)
    assert (mapped.u64(place - 8), mapped.u64(place + 8)) == (0, 0)


@behaviour("exec.ufence-gpu-address", "exec.batch-in-mirror")
@acts("store")
@needs("page-faults", "cpu-addr-mirror")
@pytest.mark.parametrize("place", [0, PAGE - 8], ids=["first", "last"])
def test_batch_and_fence_in_process_memory(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, place: int
) -> None:
    """A batch in process memory runs through a mirror, and its user fence is written to process memory."""
    code, fenced, target = memory(PAGE), memory(PAGE), memory(PAGE)
    queue, value, fence = mirror_vm.queue(), sentinel(), fence_value()
    code.write(0, Batch().store_dword(target.address + place, value).end().encode(code.address))
    queue.submit(code.address, [user_fence(fenced.address + place, fence)])
    wait_user_fence(mirror_vm.device, fenced.address + place, fence, queue=queue.id)
    landed(fenced, place, fence, size=8)
    landed(target, place, value)


@behaviour("exec.batch-in-mirror")
@acts("store")
@needs("page-faults", "cpu-addr-mirror")
def test_batch_in_malloc_memory_runs(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A batch in memory from malloc(3) runs, the first time and after it was modified."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    address, target = libc.malloc(4 * PAGE), memory(PAGE)
    try:
        code, queue = Buffer(-(-address // PAGE) * PAGE, 2 * PAGE), mirror_vm.queue()
        for _ in range(3):
            value = sentinel()
            code.write(0, Batch().store_dword(target.address, value).end().encode(code.address))
            queue.run(Batch().chain(code.address))
            landed(target, 0, value)
    finally:
        libc.free(address)


@behaviour("exec.no-bind-at-exec")
@acts("refusal", "store")
@pytest.mark.parametrize(
    "flags",
    [PLAIN, LONG_RUNNING, pytest.param(FAULTING, marks=needs("page-faults"))],
    ids=["plain", "lr", "fault"],
)
def test_exec_binds_nothing(make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, flags: int) -> None:
    """Access to an unbound address fails, although the BO exists; after VM_BIND it works."""
    vm, made, value = make_vm(flags), bo(PAGE), sentinel()
    mapped = made.map()
    with gpu_fault(vm.queue()) as queue:
        queue.store(AT, sentinel())
    assert mapped.u32(0) == 0
    vm.map(made, AT)
    vm.queue().store(AT, value)
    landed(mapped, 0, value)


@behaviour("exec.ufence-single")
@acts("ioctl")
def test_exec_with_two_user_fences(plain_vm: Vm, bo: MakeBo) -> None:
    """EXEC with two user fences gives EINVAL, or runs and writes the last of them."""
    made, queue = bo(PAGE), plain_vm.queue()
    mapped = made.map()
    plain_vm.map(made, AT)
    mapped.write(256, Batch().end().encode(AT + 256))
    first, last = fence_value(), fence_value()
    try:
        queue.submit(AT + 256, [user_fence(AT, first), user_fence(AT + 8, last)])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        chose("two user fences: EINVAL")
    else:
        wait_until(lambda: mapped.u64(8) == last, what="the last user fence")
        chose(f"two user fences: {'both' if mapped.u64(0) == first else 'the last'} written")
    count("ioctl")


@behaviour("exec.job-limit")
@acts("refusal", "store")
@pytest.mark.timeout(120)
def test_queue_takes_so_many_jobs(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """EXEC on a queue with 1000 unfinished jobs gives EAGAIN, and succeeds when they are done."""
    made, queue, value = bo(PAGE), plain_vm.queue(), sentinel()
    mapped = made.map()
    plain_vm.map(made, AT)
    mapped.write(256, Batch().semaphore_wait(AT, 1).end().encode(AT + 256))
    for number in range(JOBS):
        try:
            queue.submit(AT + 256)
        except OSError as error:
            raise HarnessError(f"EXEC of job {number}: {error}") from error
    with refused(errno.EAGAIN):
        queue.submit(AT + 256)
    mapped.set_u32(0, 1)

    def stored() -> bool:
        try:
            queue.store(AT + 64, value)
        except QueueError as error:
            if error.errno != errno.EAGAIN:
                raise
            return False
        return True

    wait_until(stored, 60, what="the end of a job")
    landed(mapped, 64, value)


@behaviour("execq.create.fault-vm")
@acts("store", "load")
@needs("page-faults", "cpu-addr-mirror")
def test_queues_of_all_classes_share_the_mirror(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """Queues of each engine class use the same mirror: each finds what the one before it stored."""
    buffer = memory(PAGE)
    classes = sorted({engine.engine_class for engine in mirror_vm.device.engines})
    kinds = (
        xe.DRM_XE_ENGINE_CLASS_RENDER,
        xe.DRM_XE_ENGINE_CLASS_COPY,
        xe.DRM_XE_ENGINE_CLASS_COMPUTE,
    )
    queues = [mirror_vm.queue(kind) for kind in kinds if kind in classes]
    assert len(queues) >= 2
    value = sentinel()
    buffer.set_u32(0, value)
    for queue in queues:
        gpu_sees(queue, buffer.address, value)
        value = sentinel()
        queue.store(buffer.address, value)
        landed(buffer, 0, value)


@behaviour("execq.create.parallel-unsupported")
@acts("refusal")
def test_parallel_queue_of_other_classes_is_refused(plain_vm: Vm) -> None:
    """EXEC_QUEUE_CREATE of width 2 on a class without parallel submission gives EOPNOTSUPP; of width 1 it succeeds."""
    pair = _neighbours(plain_vm.device)
    plain_vm.queue(pair[0])
    with refused(errno.EOPNOTSUPP):
        Queue(plain_vm, pair, width=2)


def _neighbours(device: Device) -> list[xe.drm_xe_engine_class_instance]:
    """Two engines of a class that cannot work in parallel, one after the other."""
    alone = (xe.DRM_XE_ENGINE_CLASS_COPY, xe.DRM_XE_ENGINE_CLASS_RENDER, xe.DRM_XE_ENGINE_CLASS_COMPUTE)
    found = [[engine for engine in device.engines if engine.engine_class == kind] for kind in alone]
    pair = next((engines[:2] for engines in found if len(engines) >= 2), None)
    return pair or untested("DEVICE:engines", "no class without parallel submission has two engines")
