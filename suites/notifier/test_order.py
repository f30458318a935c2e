# SPDX-License-Identifier: MIT
"""After a system call that changes memory returns, the GPU never accesses the old pages again.

A batch that runs meanwhile is the witness: it has used the memory, waits at a gate until the call has returned, and
then uses the memory again. Pages that are mapped twice tell whether it still got there.

(xe_svm.c: xe_svm_invalidate)
"""

import mmap
import os
import threading

import pytest

from fixtures import UserFence, acts, behaviour, gpu_fault, landed, needs, wait_until
from fixtures.gate import Gate
from fixtures.given import MakeBo, MakeSyncobj, Memory, Sentinel
from fixtures.memory import PROT_NONE, PROT_READ, Buffer
from fixtures.patience import patient
from fixtures.process import asleep
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.flags import IMMEDIATE
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch

pytestmark = needs("page-faults")


@pytest.fixture
def twice(memory: Memory) -> tuple[Buffer, Buffer]:
    """One shared memory of a chunk, mapped at two addresses."""
    fd = os.memfd_create("twice")
    try:
        os.ftruncate(fd, SZ_2M)
        first, second = (memory(SZ_2M, align=SZ_2M, shared=True, fd=fd) for _ in range(2))
        return first, second
    finally:
        os.close(fd)


WAYS = {
    "munmap": lambda buffer: buffer.munmap(),
    "read-only": lambda buffer: buffer.mprotect(PROT_READ),
    "inaccessible": lambda buffer: buffer.mprotect(PROT_NONE),
}


@behaviour(
    "notifier.sync-with-syscall", "invalidate.munmap-no-stale-write", "invalidate.munmap-no-stale-read"
)
@acts("store", "refusal")
@pytest.mark.parametrize("way", WAYS)
def test_running_batch_cannot_store_to_lost_pages(
    queue: Queue, twice: tuple[Buffer, Buffer], gate: Gate, sentinel: Sentinel, way: str
) -> None:
    """A running batch that stores after the memory was unmapped fails and changes no page."""
    used, other = twice
    value = sentinel()
    job = queue.start(
        gate.hold(Batch().store_dword(used.address, value)).store_dword(used.address, sentinel())
    )
    gate.reached()
    WAYS[way](used)
    gate.open()
    with gpu_fault(job.queue):
        job.wait()
    landed(other, 0, value)


@behaviour("notifier.sync-with-syscall", "invalidate.munmap-no-stale-read")
@acts("store")
def test_running_batch_cannot_load_lost_pages(
    queue: Queue, twice: tuple[Buffer, Buffer], memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """A running batch that loads after other memory was mapped over what it used sees the new data."""
    used, other = twice
    result, old, new = memory(SZ_2M, shared=True), sentinel(), sentinel()
    used.set_u32(0, old)
    job = queue.start(
        gate.hold(Batch().copy_mem(result.address, used.address)).copy_mem(result.address + 4, used.address)
    )
    gate.reached()
    used.remap_fresh()
    used.set_u32(0, new)
    gate.open()
    job.wait()
    landed(result, 0, old)
    landed(result, 4, new)
    assert other.u32(0) == old


@behaviour("notifier.sync-with-syscall")
@acts("store")
def test_running_batch_stores_to_replaced_pages(
    queue: Queue, twice: tuple[Buffer, Buffer], gate: Gate, sentinel: Sentinel
) -> None:
    """A running batch that stores after other memory was mapped over what it used stores to the new memory."""
    used, other = twice
    old, new = sentinel(), sentinel()
    job = queue.start(gate.hold(Batch().store_dword(used.address, old)).store_dword(used.address, new))
    gate.reached()
    used.remap_fresh()
    gate.open()
    job.wait()
    landed(used, 0, new)
    landed(other, 0, old)


@behaviour("notifier.sync-with-syscall", "notifier.other-events")
@acts("store")
def test_running_batch_stores_after_dontneed_are_kept(
    queue: Queue, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """MADV_DONTNEED while a batch runs discards its earlier stores, and none of its later ones."""
    buffer, after = memory(SZ_2M, align=SZ_2M), sentinel()
    job = queue.start(
        gate.hold(Batch().store_dword(buffer.address, sentinel())).store_dword(buffer.address + 4, after)
    )
    gate.reached()
    buffer.madvise(mmap.MADV_DONTNEED)
    gate.open()
    job.wait()
    landed(buffer, 4, after)
    landed(buffer, 0, 0)


@behaviour("notifier.waits-binds")
@acts("store", "ioctl", "refusal")
def test_munmap_and_waiting_bind_both_complete(
    mirror_vm: Vm, plain_vm: Vm, memory: Memory, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel
) -> None:
    """munmap(2) while a bind waits for another VM's batch completes with the bind, and both take effect."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    mirror_vm.queue().store(buffer.address, sentinel())
    place = bo(SZ_64K)
    mapped = place.map_at_own_address()
    plain_vm.map(place, mapped.address)
    gate = Gate(mapped)
    holds, done, made = syncobj(), UserFence(mirror_vm.device), bo(SZ_2M)
    job = plain_vm.queue().start(gate.hold(Batch()), syncs=[holds.sync()])
    try:
        gate.reached()
        address = mirror_vm.size // 2
        mirror_vm.bind(
            addr=address,
            range=SZ_2M,
            obj=made.handle,
            flags=IMMEDIATE,
            syncs=[holds.waiting(), done.sync()],
        )
        unmapping = threading.Thread(target=buffer.munmap)
        unmapping.start()
        assert unmapping.native_id is not None
        thread = unmapping.native_id
        wait_until(lambda: asleep(thread) or not unmapping.is_alive(), what="munmap to begin")
    finally:
        gate.open()
    job.wait()
    unmapping.join(patient(5))
    assert not unmapping.is_alive(), "munmap did not return"
    done.wait()
    queue = mirror_vm.queue()
    queue.store(address, value)
    landed(made.map(), 0, value)
    with gpu_fault(queue):
        queue.load(buffer.address)
