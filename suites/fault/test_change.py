# SPDX-License-Identifier: MIT
"""GPU page faults after and during changes of the memory or the VM (xe_svm.c, xe_pagefault.c)."""

from __future__ import annotations

import mmap

import pytest

from fixtures import (
    acts,
    behaviour,
    driver_only,
    each_size,
    gpu_fault,
    gpu_sees,
    in_child,
    landed,
    needs,
    wait_until,
)
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.overlap import in_flight, meanwhile
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import DONTNEED, IMMEDIATE, PURGEABLE, SCRATCH, WILLNEED
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe

pytestmark = needs("page-faults")


@behaviour("fault.gc-before-lookup")
@acts("store", "load")
@each_size
def test_fault_after_munmap_finds_new_memory(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """A range whose memory was unmapped is never used for memory mapped there afterwards, at once or later."""
    buffer = memory(size, align=size)
    for _ in range(4):
        value = sentinel()
        queue.store(buffer.address + size - 4, value)
        landed(buffer, size - 4, value)
        queue.store(buffer.address + size - 4, sentinel())  # what the CPU read has left the GPU
        buffer.munmap()
        buffer = memory(size, address=buffer.address)
        gpu_sees(queue, buffer.address + size - 4, 0)


@behaviour("fault.gc-before-lookup", "obs.size-class-counters")
@acts("fault")
@needs("svm-counters")
def test_fault_after_munmap_makes_new_range(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """If 2 MiB were mapped and 64 KiB are now, the next fault makes a range of 64 KiB."""
    buffer = memory(SZ_2M, align=SZ_2M)
    queue.store(buffer.address, sentinel())
    buffer.munmap()
    memory(SZ_64K, address=buffer.address)
    before = counters.snapshot()
    queue.store(buffer.address, sentinel())
    with driver_only("obs.size-class-counters"):
        assert counters.by_size("pagefault_count", since=before) == {"64K": 1}


@behaviour("fault.bind-race-retry", "fault.collect-error-retry")
@acts("exec", "store", "overlap")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [PAGE, SZ_2M], ids=["4K", "2M"])
def test_gpu_faults_race_with_cpu_faults(queue: Queue, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """GPU and CPU store to different words of the same pages concurrently, and no store is lost."""
    buffer = memory(size, align=size)
    from_gpu, from_cpu = [sentinel() for _ in range(32)], dict.fromkeys(range(32), 0)

    def cpu(number: int) -> None:
        from_cpu[number % 32] = number + 1
        buffer.set_u32(8 * (number % 32) + 4, number + 1)

    with meanwhile(cpu):
        for index, value in enumerate(from_gpu):
            queue.store(buffer.address + 8 * index, value)
    for index, value in enumerate(from_gpu):
        landed(buffer, 8 * index, value)
    assert {index: buffer.u32(8 * index + 4) for index in range(32)} == from_cpu


@behaviour("fault.bind-race-retry", "fault.collect-error-retry")
@acts("exec", "store", "overlap")
@needs("two-devices")
@pytest.mark.parametrize("size", [PAGE, SZ_2M], ids=["4K", "2M"])
def test_two_gpus_fault_on_one_range_concurrently(
    devices: list[Device], make_vm: MakeVm, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """Stores of two GPUs to different words of one range all land, wherever its pages are in between."""
    buffer, word, queues = memory(size, align=size), memory(PAGE, shared=True), []
    for device in devices[:2]:
        vm = make_vm(FAULTING, device)
        vm.mirror()
        queues.append(vm.queue())
    stored = {}
    for index in range(6):
        jobs = []
        for number, queue in enumerate(queues):
            offset, value = 64 * index + 4 * number, sentinel()
            stored[offset] = value
            batch = Batch().semaphore_wait(word.address, index + 1)
            jobs.append(queue.start(batch.store_dword(buffer.address + offset, value)))
        in_flight(*jobs)
        word.set_u32(0, index + 1)
        for job in jobs:
            job.wait()
    for offset, value in stored.items():
        landed(buffer, offset, value)


@behaviour("fault.vma-cache-coherent", "fault.collect-error-retry")
@acts("exec", "store", "ioctl", "overlap")
def test_faults_race_with_binds_of_neighbour(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """Faults in a mirror all succeed while a thread repeatedly binds and unbinds a BO next to them."""
    buffer, target = memory(64 * PAGE, align=SZ_2M), bo(SZ_64K)
    bound, queue = memory(SZ_64K, align=SZ_64K), mirror_vm.queue()

    def bind(_: int) -> None:
        mirror_vm.map(target, bound.address)
        mirror_vm.unmap(bound.address, SZ_64K)

    with meanwhile(bind):
        values = {2 * PAGE * index: sentinel() for index in range(32)}
        for offset, value in values.items():
            buffer.madvise(mmap.MADV_DONTNEED, offset, PAGE)
            queue.store(buffer.address + offset, value)
    for offset, value in values.items():
        landed(buffer, offset, value)


@behaviour("fault.closed-vm", "vm.destroy.gpu-access-after")
@acts("refusal", "store")
def test_batch_stores_nothing_after_vm_destroy(
    mirror_vm: Vm, make_vm: MakeVm, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """A batch that runs when its VM is destroyed is stopped: its later stores never land."""
    buffer, kept, gate = memory(PAGE), sentinel(), bo(SZ_64K)
    buffer.set_u32(0, kept)
    word = gate.map_at_own_address()
    mirror_vm.map(gate, word.address, flags=IMMEDIATE)
    queue = mirror_vm.queue()
    job = queue.start(Batch().semaphore_wait(word.address, 1).store_dword(buffer.address, sentinel()))
    mirror_vm.device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=mirror_vm.id))
    mirror_vm.id = 0
    word.set_u32(0, 1)
    wait_until(lambda: queue.banned, what="the ban of the queue")
    with gpu_fault(job.queue):
        job.wait()
    assert buffer.u32(0) == kept
    other, value = make_vm(FAULTING), sentinel()
    other.mirror()
    other.queue().store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("fault.mm-gone")
@acts("refusal", "store")
@needs("fd-passing", "fork-events")
def test_mirror_of_dead_process_faults(
    device: Device, mirror_vm: Vm, memory: Memory, sentinel: Sentinel
) -> None:
    """A VM mirrors the process that created it: after that exits, GPU accesses fail and touch no other memory."""
    buffer, kept, value = memory(PAGE), sentinel(), sentinel()
    buffer.set_u32(0, kept)

    def make() -> int:
        vm = Vm(device, FAULTING)
        vm.mirror()
        return vm.id

    ended = in_child(make)
    assert not ended.error, ended.error
    orphan = Vm.existing(device, ended.result, FAULTING)
    with gpu_fault(orphan.queue()) as queue:
        queue.store(buffer.address, sentinel())
    assert buffer.u32(0) == kept
    orphan.close()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("fault.bo-purged")
@acts("refusal", "ioctl")
@needs("purging")
def test_load_of_dontneed_bo_faults(fault_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel) -> None:
    """A GPU load that faults on a BO marked DONTNEED fails, until it is marked WILLNEED again."""
    place, target, value = memory(SZ_64K, align=SZ_64K), bo(SZ_64K), sentinel()
    target.map().set_u32(0, value)
    fault_vm.map(target, place.address)
    state = {"type": PURGEABLE}
    fault_vm.madvise(place.address, SZ_64K, **state, val=DONTNEED)
    with gpu_fault(fault_vm.queue()) as queue:
        queue.load(place.address)
    fault_vm.madvise(place.address, SZ_64K, **state, val=WILLNEED)
    assert fault_vm.queue().load(place.address) in (value, 0), "neither what was stored nor a purged page"


@behaviour("fault.bo-purged")
@acts("load")
@needs("purging", "xe2")  # before Xe2 no VM has both faults and scratch pages
def test_dontneed_bo_is_harmless_with_scratch(
    make_vm: MakeVm, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """With scratch pages a load that faults on a BO marked DONTNEED returns its data, or zeros once purged."""
    vm = make_vm(FAULTING | SCRATCH)
    place, target, value = memory(SZ_64K, align=SZ_64K), bo(SZ_64K), sentinel()
    target.map().set_u32(0, value)
    vm.map(target, place.address)
    vm.madvise(
        place.address,
        SZ_64K,
        PURGEABLE,
        val=DONTNEED,
    )
    queue = vm.queue()
    assert queue.load(place.address) in (value, 0)
    count("load")
    assert not queue.banned
