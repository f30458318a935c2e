# SPDX-License-Identifier: MIT
"""The GPU uses memory while the process changes what is mapped there, or uses it too.

Nothing orders the two but the driver's and the kernel's own locks. The promise is small: each access goes to what was
mapped before or to what is mapped after, each byte is what one of both sides stored there last, no byte of other memory
is touched, and everything ends (drm_gpusvm.c: DOC Locking).

Where the order can be arranged a batch waits at a gate; the other tests repeat, a bounded number of times.
"""

from __future__ import annotations

import contextlib
import random
import threading

import pytest

from fixtures import (
    QueueError,
    acts,
    behaviour,
    gpu_fault,
    gpu_finds,
    gpu_sees,
    in_child,
    known,
    landed,
    needs,
    wait_until,
)
from fixtures.counting import count
from fixtures.gate import Gate
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import MREMAP_FIXED, MREMAP_MAYMOVE, PAGE, Buffer, mremap
from fixtures.overlap import in_flight, meanwhile
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.timeouts import scale_timeout
from fixtures.userfault import Userfault
from fixtures.xe.device import Device
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch

ROUNDS = 6

pytestmark = needs("page-faults")


# Against mapping and unmapping


@behaviour("race.fault-vs-munmap")
@acts("store", "exec", "overlap")
@pytest.mark.parametrize("size", [SZ_64K, SZ_2M], ids=["64K", "2M"])
def test_mmap_fixed_races_with_gpu_stores(
    queue: Queue, memory: Memory, sentinel: Sentinel, rng: random.Random, size: int
) -> None:
    """Pages are remapped while batches store to all of them: each page has what the GPU stored, or zeros."""
    buffer, untouched = memory(size, align=size), memory(size, align=size, fill=b"\xc3")
    places = range(0, size, size // 16)
    values: dict[int, set[int]] = {offset: {0} for offset in places}

    def replace(_: int) -> None:
        buffer.remap_fresh(rng.choice(places), PAGE)

    with meanwhile(replace):
        for _ in range(ROUNDS):
            batch = Batch()
            for offset in places:
                value = sentinel()
                values[offset].add(value)
                batch.store_dword(buffer.address + offset, value)
            queue.run(batch)
    for offset in places:
        assert buffer.u32(offset) in values[offset]
        assert not any(buffer.bytes(offset + 4, 60))
    assert untouched.bytes() == b"\xc3" * size
    queue.store_all({buffer.address + offset: sentinel() for offset in places})
    replace(0)  # once more, with all of it in use and nothing else running
    last = {buffer.address + offset: sentinel() for offset in places}
    queue.store_all(last)
    for address, value in last.items():
        landed(buffer, address - buffer.address, value)


@behaviour("race.fault-vs-munmap")
@acts("store", "overlap")
def test_munmap_races_with_gpu_stores(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """Memory is unmapped under a running batch: the batch ends, completed or not, and other memory is untouched."""
    word = memory(PAGE, shared=True)
    for round_ in range(ROUNDS):
        buffer, gate = memory(SZ_2M, align=SZ_2M), Gate(word)
        batch = gate.hold(Batch())
        for offset in range(0, SZ_2M, PAGE * 4):
            batch.store_dword(buffer.address + offset, sentinel())
        queue = mirror_vm.queue()
        queue.store(buffer.address, 1)
        job = queue.start(batch)
        gate.reached()
        gate.open()
        in_flight(job)
        for offset in range(0, SZ_2M, SZ_2M // 8) if round_ % 2 else (0,):
            buffer.munmap(offset, SZ_2M // 8 if round_ % 2 else SZ_2M)
        after = [memory(SZ_2M, align=SZ_2M, fill=b"\x3c") for _ in range(2)]
        with contextlib.suppress(QueueError):
            job.wait()
        for other in after:
            assert other.bytes() == b"\x3c" * SZ_2M
        queue.close()
    value = sentinel()
    mirror_vm.queue().store(after[0].address, value)
    landed(after[0], 0, value)


@behaviour("race.mremap-vs-fault")
@acts("store", "load", "refusal")
def test_mremap_away_from_running_batch(
    queue: Queue, mirror_vm: Vm, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """mremap(2) while a batch runs: its next access to the old address fails, and all data is at the new one."""
    buffer, there, value = memory(SZ_2M, align=SZ_2M), memory(SZ_2M, align=SZ_2M), sentinel()
    job = queue.start(
        gate.hold(Batch().store_dword(buffer.address, value)).store_dword(buffer.address, sentinel())
    )
    gate.reached()
    mremap(buffer.address, SZ_2M, SZ_2M, MREMAP_MAYMOVE | MREMAP_FIXED, there.address)
    gate.open()
    with gpu_fault(job.queue):
        job.wait()
    gpu_sees(mirror_vm.queue(), there.address, value)
    landed(there, 0, value)


@behaviour("race.mremap-vs-fault")
@acts("store", "load")
def test_mremap_to_where_batch_runs(queue: Queue, memory: Memory, gate: Gate, sentinel: Sentinel) -> None:
    """mremap(2) over memory that a running batch uses: the batch continues with the memory that is there now."""
    buffer, there = memory(SZ_2M, align=SZ_2M), memory(SZ_2M, align=SZ_2M)
    moved, value = sentinel(), sentinel()
    queue.store(buffer.address, moved)
    job = queue.start(
        gate.hold(Batch().store_dword(there.address, sentinel())).store_dword(there.address + 8, value)
    )
    gate.reached()
    mremap(buffer.address, SZ_2M, SZ_2M, MREMAP_MAYMOVE | MREMAP_FIXED, there.address)
    gate.open()
    job.wait()
    gpu_finds(queue, {there.address: moved, there.address + 8: value})
    landed(there, 0, moved)
    landed(there, 8, value)


# Against the CPU's use


@behaviour("race.fault-vs-cpu-fault", "race.unsynchronised-user-access")
@acts("store", "overlap")
@pytest.mark.timeout(60)
def test_cpu_and_gpu_stores_to_page_are_not_lost(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """CPU and GPU store to different words of one page concurrently: each word has what was stored last."""
    buffer = memory(SZ_64K, align=SZ_64K)
    mine = list(range(0, 512, 16))
    stored: dict[int, int] = {}

    def touch(number: int) -> None:
        offset = mine[number % len(mine)]
        buffer.set_u32(offset, number)
        stored[offset] = number

    values = {}
    with meanwhile(touch):
        for _ in range(ROUNDS):
            values = {buffer.address + offset + 8: sentinel() for offset in mine}
            queue.store_all(values)
    for address, value in values.items():
        landed(buffer, address - buffer.address, value)
    assert {offset: buffer.u32(offset) for offset in stored} == stored
    assert not any(buffer.bytes(512, PAGE - 512))


@behaviour("race.fault-vs-cpu-fault")
@acts("store", "overlap")
def test_cpu_threads_read_pages_gpu_stores_to(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """Four threads read pages that the GPU stores to: each sees an old value or the new one, and all finish."""
    buffer = memory(SZ_2M, align=SZ_2M)
    places = range(0, SZ_2M, SZ_2M // 16)
    seen: dict[int, set[int]] = {offset: set() for offset in places}

    def read(number: int) -> None:
        offset = places[number % len(places)]
        seen[offset].add(buffer.u32(offset))

    stored: dict[int, set[int]] = {offset: {0} for offset in places}
    values: dict[int, int] = {}
    with meanwhile(*[read] * 4):
        for _ in range(ROUNDS):
            values = {buffer.address + offset: sentinel() for offset in places}
            for address, value in values.items():
                stored[address - buffer.address].add(value)
            queue.store_all(values)
    for address, value in values.items():
        landed(buffer, address - buffer.address, value)
    assert all(seen[offset] <= stored[offset] for offset in places)


@behaviour("race.unsynchronised-user-access")
@acts("exec", "store", "overlap")
def test_cpu_and_gpu_store_to_same_word(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """CPU and GPU store to the same words: each word has a value that one of them stored; no other byte changes."""
    buffer = memory(PAGE, align=SZ_64K)
    offsets = range(0, 1024, 64)
    allowed: dict[int, set[int]] = {offset: {0} for offset in offsets}

    def store(number: int) -> None:
        offset = offsets[number % len(offsets)]
        value = number & 0xFFFF
        allowed[offset].add(value)
        buffer.set_u32(offset, value)

    with meanwhile(store):
        for _ in range(ROUNDS):
            values = {buffer.address + offset: sentinel() | 1 << 31 for offset in offsets}
            for address, value in values.items():
                allowed[address - buffer.address].add(value)
            queue.store_all(values)
    for offset in offsets:
        assert buffer.u32(offset) in allowed[offset]
        assert not any(buffer.bytes(offset + 4, 60))
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


def fork_while_a_batch_stores(queue: Queue, buffer: Buffer, gate: Gate, sentinel: Sentinel) -> None:
    """fork(2) between two stores of a batch to each of eight places: the child sees the first ones."""
    places = range(0, SZ_2M, SZ_2M // 8)
    before = {offset: sentinel() for offset in places}
    after = {offset: sentinel() for offset in places}
    queue.store_all({buffer.address + offset: value for offset, value in before.items()})
    batch = gate.hold(Batch())
    for offset, value in after.items():
        batch.store_dword(buffer.address + offset, value)
    job = queue.start(batch)
    gate.reached()

    def child() -> dict[int, int]:
        gate.open()
        wait_until(lambda: job.done, what="the end of the batch")
        return {offset: buffer.u32(offset) for offset in places}

    ended = in_child(child)
    assert ended.result is not None, ended
    assert ended.result == before
    job.wait()
    for offset, value in after.items():
        landed(buffer, offset, value)


@behaviour("race.fork-vs-fault", "life.fork-parent-continues", "life.fork-child-memory")
@acts("store")
@needs("fork-events")
def test_fork_child_has_snapshot_of_sysmem(
    mirror_vm: Vm, queue: Queue, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """fork(2) while a batch stores to system memory: the child sees the stores before the fork, the parent all."""
    buffer = memory(SZ_2M, align=SZ_2M)
    if mirror_vm.device.vram:
        system = DEFAULT_SYSTEM
        mirror_vm.madvise(buffer.address, SZ_2M, PREFERRED_LOC, devmem_fd=system)
    fork_while_a_batch_stores(queue, buffer, gate, sentinel)


@behaviour("race.fork-vs-fault", "life.fork-parent-continues", "life.fork-child-memory")
@acts("store")
@needs("vram", "shared-vram")
@known(
    "After fork the GPU of the parent stores into memory of the child",
    first="6.18",
    signature="assert ended.result == before",
    acts=("exec",),
)
def test_fork_child_has_snapshot_of_vram(
    queue: Queue, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """fork(2) while a batch stores to memory in VRAM: the child sees the stores before the fork, the parent all."""
    fork_while_a_batch_stores(queue, memory(SZ_2M, align=SZ_2M), gate, sentinel)


@behaviour("race.fork-vs-fault")
@acts("store", "overlap")
@needs("fork-events")
def test_fork_children_see_whole_stores(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """Forks while batches store: each child sees a value in each page that was there at some time."""
    buffer = memory(SZ_64K, align=SZ_64K)
    places = range(0, SZ_64K, PAGE)
    stored: dict[int, set[int]] = {offset: {0} for offset in places}
    seen: list[dict[int, int]] = []
    value = 0

    def store(_: int) -> None:
        nonlocal value
        value = sentinel()
        for offset in places:
            stored[offset].add(value)
        queue.store_all({buffer.address + offset: value for offset in places})

    with meanwhile(store):
        for _ in range(3):
            seen.append(in_child(lambda: {offset: buffer.u32(offset) for offset in places}).result)
    assert all(one[offset] in stored[offset] for one in seen for offset in places)
    for offset in places:
        landed(buffer, offset, value)


@behaviour(
    "race.mmap-lock-read-only", "fault.userfaultfd"
)  # a kernel on which no fault waits for a program is too old
@acts("store", "load")
@needs("user-faults")
def test_cpu_faults_while_gpu_fault_waits(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """While a GPU fault waits for a page from userfaultfd, the CPU can fault in other pages."""
    slow, others = memory(PAGE, populate=False), memory(SZ_2M, align=SZ_2M, populate=False)
    value = sentinel()
    with Userfault(slow) as held:
        job = mirror_vm.queue().start(Batch().store_dword(slow.address, value))
        assert held.waits() == 0
        done = threading.Thread(target=others.fill, args=(b"\x11",))
        done.start()
        done.join(scale_timeout(5))
        assert not done.is_alive(), "the CPU waits for the GPU's fault"
        assert others.bytes() == b"\x11" * SZ_2M
        assert not job.done
    job.wait()
    landed(slow, 0, value)
    gpu_sees(mirror_vm.queue(), others.address, 0x1111_1111)


# Two devices


@behaviour("md.contention", "race.fault-vs-cpu-fault")
@acts("store", "overlap")
@needs("two-devices")
def test_two_gpus_and_cpu_store_to_one_page(
    devices: list[Device], make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """Two GPUs and the CPU store to different words of one page concurrently, and no store is lost."""
    buffer: Buffer = memory(SZ_64K, align=SZ_64K)
    queues = []
    for device in devices[:2]:
        vm = make_vm(FAULTING, device)
        vm.mirror()
        queues.append(vm.queue())
    last: dict[int, int] = {}
    offsets = range(0, 256, 64)

    def by_gpu(index: int, number: int) -> None:
        values = {offset + 8 * (index + 1): sentinel() for offset in offsets}
        queues[index].store_all({buffer.address + offset: value for offset, value in values.items()})
        last.update(values)

    def by_cpu(number: int) -> None:
        offset = offsets[number % len(offsets)]
        buffer.set_u32(offset, number)
        last[offset] = number

    with meanwhile(lambda number: by_gpu(1, number), by_cpu):
        for number in range(ROUNDS):
            by_gpu(0, number)
    for offset, value in last.items():
        landed(buffer, offset, value)


@behaviour("md.contention")
@acts("store", "load")
@needs("two-devices")
def test_two_gpus_alternate_on_one_range(
    devices: list[Device], make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """Two batches on two GPUs alternate in one page, each waiting for the other's last store: none is lost."""
    buffer, turn = memory(SZ_2M, align=SZ_2M), memory(PAGE, shared=True)
    queues = []
    for device in devices[:2]:
        vm = make_vm(FAULTING, device)
        vm.mirror()
        queues.append(vm.queue())
    batches, values = [Batch(), Batch()], {}
    for number in range(2 * ROUNDS):
        batch, offset, value = batches[number % 2], 64 * number, sentinel()
        values[buffer.address + offset] = value
        batch.semaphore_wait(turn.address, number)
        batch.store_dword(buffer.address + offset, value)
        batch.store_dword(turn.address, number + 1)
    jobs = [queue.start(batch) for queue, batch in zip(queues, batches, strict=True)]
    for job in jobs:
        job.wait()
    for queue in queues:
        gpu_finds(queue, values)
    for address, value in values.items():
        landed(buffer, address - buffer.address, value)
    count("store")
