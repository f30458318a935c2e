# SPDX-License-Identifier: MIT
"""After a system call that changes memory returns, the GPU never accesses the old pages again.

A running batch is the witness: it has used the memory, waits at a gate until the call has returned, and then uses the
memory again. Pages that are mapped twice show whether its access reached the old pages.

(xe_svm.c: xe_svm_invalidate)
"""

from __future__ import annotations

import mmap
import os
import random
import threading
from dataclasses import dataclass

import pytest

from fixtures import UserFence, acts, behaviour, gpu_fault, landed, needs, wait_until
from fixtures.gate import Gate
from fixtures.given import MakeBo, MakeSyncobj, Memory, Sentinel
from fixtures.memory import PROT_NONE, PROT_READ, Buffer
from fixtures.process import asleep
from fixtures.seeds import page_of
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.timeouts import scale_timeout
from fixtures.xe.flags import IMMEDIATE
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch

pytestmark = needs("page-faults")


@dataclass(frozen=True)
class Twice:
    """Two chunks of shared memory, mapped at two addresses: one is lost, its neighbour in the page tables stays."""

    used: Buffer
    """The mapping that the GPU uses."""
    other: Buffer
    gone: int
    """Offset of the chunk that is lost."""
    at: int
    """Offset of a page in it, which is not its first."""
    near: int
    """Offset of a page in the neighbour."""

    @property
    def address(self) -> int:
        """Where the GPU uses the memory."""
        return self.used.address + self.at

    def stored(self, near: int, value: int) -> Batch:
        """A batch that stores a value to each chunk."""
        return Batch().store_dword(self.used.address + self.near, near).store_dword(self.address, value)


@pytest.fixture
def twice(memory: Memory, rng: random.Random) -> Twice:
    """The memory, with random places in it."""
    fd = os.memfd_create("twice")
    try:
        os.ftruncate(fd, 2 * SZ_2M)
        used, other = (memory(2 * SZ_2M, align=SZ_2M, shared=True, fd=fd) for _ in range(2))
    finally:
        os.close(fd)
    gone = rng.choice((0, SZ_2M))
    return Twice(used, other, gone, gone + page_of(SZ_2M), SZ_2M - gone + page_of(SZ_2M))


WAYS = {
    "munmap": lambda memory: memory.used.munmap(memory.gone, SZ_2M),
    "read-only": lambda memory: memory.used.mprotect(PROT_READ, memory.gone, SZ_2M),
    "inaccessible": lambda memory: memory.used.mprotect(PROT_NONE, memory.gone, SZ_2M),
}


@behaviour(
    "notifier.sync-with-syscall", "invalidate.munmap-no-stale-write", "invalidate.munmap-no-stale-read"
)
@acts("store", "refusal")
@pytest.mark.parametrize("way", WAYS)
def test_running_batch_cannot_store_to_lost_pages(
    queue: Queue, twice: Twice, gate: Gate, sentinel: Sentinel, way: str
) -> None:
    """A running batch that stores after the memory was unmapped fails and changes no page."""
    near, value = sentinel(), sentinel()
    job = queue.start(gate.hold(twice.stored(near, value)).store_dword(twice.address, sentinel()))
    gate.reached()
    WAYS[way](twice)
    gate.open()
    with gpu_fault(job.queue):
        job.wait()
    landed(twice.other, twice.at, value)
    landed(twice.other, twice.near, near)


@behaviour("notifier.sync-with-syscall", "invalidate.munmap-no-stale-read")
@acts("store")
def test_running_batch_cannot_load_lost_pages(
    queue: Queue, twice: Twice, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """A running batch that loads after other memory was mapped over what it used sees the new data."""
    result, old, new = memory(SZ_2M, shared=True), sentinel(), sentinel()
    twice.used.set_u32(twice.at, old)
    job = queue.start(
        gate.hold(Batch().copy_mem(result.address, twice.address)).copy_mem(result.address + 4, twice.address)
    )
    gate.reached()
    twice.used.remap_fresh(twice.gone, SZ_2M)
    twice.used.set_u32(twice.at, new)
    gate.open()
    job.wait()
    landed(result, 0, old)
    landed(result, 4, new)
    assert twice.other.u32(twice.at) == old


@behaviour("notifier.sync-with-syscall")
@acts("store")
def test_running_batch_stores_to_replaced_pages(
    queue: Queue, twice: Twice, gate: Gate, sentinel: Sentinel
) -> None:
    """A running batch that stores after other memory was mapped over what it used stores to the new memory."""
    near, old, new = sentinel(), sentinel(), sentinel()
    job = queue.start(gate.hold(twice.stored(near, old)).store_dword(twice.address, new))
    gate.reached()
    twice.used.remap_fresh(twice.gone, SZ_2M)
    gate.open()
    job.wait()
    landed(twice.used, twice.at, new)
    landed(twice.other, twice.at, old)
    landed(twice.other, twice.near, near)


@behaviour("notifier.sync-with-syscall", "notifier.other-events")
@acts("store")
def test_running_batch_stores_after_dontneed_are_kept(
    queue: Queue, memory: Memory, gate: Gate, sentinel: Sentinel, rng: random.Random
) -> None:
    """MADV_DONTNEED while a batch runs discards its earlier stores, and none of its later ones."""
    buffer, near, after = memory(2 * SZ_2M, align=SZ_2M), sentinel(), sentinel()
    gone = rng.choice((0, SZ_2M))
    at, kept = gone + page_of(SZ_2M), SZ_2M - gone + page_of(SZ_2M)
    before = Batch().store_dword(buffer.address + kept, near).store_dword(buffer.address + at, sentinel())
    job = queue.start(gate.hold(before).store_dword(buffer.address + at + 4, after))
    gate.reached()
    buffer.madvise(mmap.MADV_DONTNEED, gone, SZ_2M)
    gate.open()
    job.wait()
    landed(buffer, at + 4, after)
    landed(buffer, at, 0)
    landed(buffer, kept, near)


@behaviour("notifier.sync-with-syscall", "invalidate.munmap-no-stale-read", "invalidate.tlb-all-gts")
@acts("store")
@needs("media-gt")
def test_running_batches_of_all_gts_use_replaced_pages(
    mirror_vm: Vm, twice: Twice, memory: Memory, sentinel: Sentinel
) -> None:
    """Batches that run on each GT of a tile load from and store to memory that was mapped over what they used."""
    results, old, new = memory(SZ_2M, shared=True), sentinel(), sentinel()
    twice.used.set_u32(twice.at, old)
    gts = [gt.gt_id for gt in mirror_vm.device.known_gts if gt.tile_id == 0]
    stored, gates, jobs = [sentinel() for _ in gts], [Gate(memory(SZ_64K, shared=True)) for _ in gts], []
    for number, (gt, gate) in enumerate(zip(gts, gates, strict=True)):
        engine = next(engine for engine in mirror_vm.device.known_engines if engine.gt_id == gt)
        result = results.address + 8 * number
        batch = gate.hold(Batch().copy_mem(result, twice.address)).copy_mem(result + 4, twice.address)
        batch.store_dword(twice.address + 4 + 4 * number, stored[number])
        jobs.append(mirror_vm.queue(engine).start(batch))
    for gate in gates:
        gate.reached()
    twice.used.remap_fresh(twice.gone, SZ_2M)
    twice.used.set_u32(twice.at, new)
    for gate, job in zip(gates, jobs, strict=True):
        gate.open()
        job.wait()
    for number, value in enumerate(stored):
        landed(results, 8 * number, old)
        landed(results, 8 * number + 4, new)
        landed(twice.used, twice.at + 4 + 4 * number, value)
        assert not twice.other.u32(twice.at + 4 + 4 * number)
    assert twice.other.u32(twice.at) == old


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
    unmapping.join(scale_timeout(5))
    assert not unmapping.is_alive(), "munmap did not return"
    done.wait()
    queue = mirror_vm.queue()
    queue.store(address, value)
    landed(made.map(), 0, value)
    with gpu_fault(queue):
        queue.load(buffer.address)
