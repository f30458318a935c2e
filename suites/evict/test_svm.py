# SPDX-License-Identifier: MIT
"""Memory of processes and BOs push each other out of VRAM (xe_svm.c: xe_svm_bo_evict, xe_bo.c)."""

from __future__ import annotations

import itertools
import mmap
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from fixtures import acts, behaviour, disturbs, driver_only, gpu_sees, landed, needs, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, Memory, OpenDevice, Sentinel
from fixtures.memory import PAGE, Buffer, numbered
from fixtures.overlap import meanwhile
from fixtures.process import Child
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.bo import SYSTEM, Bo
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC, DEFER
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe

pytestmark = [
    needs("page-faults", "vram", "svm-vram"),
    disturbs("it fills the VRAM"),
    pytest.mark.usefixtures("vram_given_back"),
    pytest.mark.timeout(60),
]

Make = Callable[..., Bo]


def in_vram(vm: Vm, buffer: Buffer) -> None:
    """Memory of the process goes to VRAM, all of it."""
    vm.prefetch(buffer.address, buffer.size, vm.device.vram[0])
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))


def fill(device: Device, bo: Make, **options: Any) -> list[Bo]:
    """BOs as large as all VRAM but the last of 16 parts, which takes what is used otherwise."""
    size = device.region(device.vram[0]).total_size // 16
    return [bo(size, placement=1 << device.vram[0], **options) for _ in range(15)]


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of four chunks."""
    return memory(4 * SZ_2M, align=SZ_2M)


@behaviour(
    "evict.bo-pressure",
    "evict.to-system-only",
    "evict.refault-returns",
    "obs.svm-pagefault-count",
)
@acts("load", "store", "fault")
@needs("debugfs")
def test_bos_evict_svm_memory_and_it_comes_back(
    mirror_vm: Vm, device: Device, bo: MakeBo, buffer: Buffer, sentinel: Sentinel, counters: Counters
) -> None:
    """Objects of the size of VRAM take the place of memory, which is in system memory then; the GPU finds it there."""
    queue = mirror_vm.queue()
    values = numbered(buffer, sentinel)
    in_vram(mirror_vm, buffer)
    for offset in values:
        values[offset] = sentinel()
        queue.store(buffer.address + offset, values[offset])
    objects = fill(device, bo)
    while not all(buffer.present(offset) for offset in range(0, buffer.size, PAGE)):
        assert len(objects) < 64, "all of the VRAM is taken, and the memory is still there"
        objects.append(bo(SZ_2M, placement=1 << device.vram[0]))
    count("migrate")
    assert buffer.u32(SZ_64K) == values[SZ_64K]
    for made in objects:
        made.close()
    wait_until(lambda: device.vram_used() < SZ_2M * 16, what="the release of the objects")
    before = counters.snapshot()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before)
    back = sum(not buffer.present(offset) for offset in range(0, buffer.size, SZ_2M))
    chose(f"evicted memory that the GPU uses again: {'in VRAM' if back else 'in system memory'}")
    for offset, value in values.items():
        landed(buffer, offset, value)


@behaviour("evict.waits-detached")
@acts("load", "store")
def test_vram_given_to_bo_has_no_page_of_memory(
    mirror_vm: Vm, device: Device, bo: MakeBo, buffer: Buffer, sentinel: Sentinel
) -> None:
    """VRAM of evicted memory belongs to the next object alone, from the moment that it is made: no byte is shared."""
    values = numbered(buffer, sentinel, range(64, buffer.size, PAGE))
    in_vram(mirror_vm, buffer)
    fill(device, bo)
    written: list[tuple[Buffer, int]] = []
    while not all(buffer.present(offset) for offset in range(0, buffer.size, PAGE)):
        assert len(written) < 64, "all of the VRAM is taken, and the memory is still there"
        mapped, value = bo(SZ_2M, placement=1 << device.vram[0]).map(), sentinel()
        mapped.write(0, value.to_bytes(4, "little") * (SZ_2M // 4))
        written.append((mapped, value))
    count("migrate")
    assert written, "the memory left VRAM before an object was made"
    wrong = [offset for offset, value in values.items() if buffer.u32(offset) != value]
    assert not wrong, f"{len(wrong)} pages of the memory are lost, the first at {wrong[0]:#x}"
    for mapped, value in written:
        for offset in range(64, SZ_2M, PAGE):
            landed(mapped, offset, value)
    gpu_sees(mirror_vm.queue(), buffer.address + 64, values[64])


@behaviour("evict.svm-pressure")
@acts("load", "store")
def test_svm_memory_evicts_idle_bos(
    mirror_vm: Vm, device: Device, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """Migrating memory to a full VRAM evicts idle BOs to system memory; the data of both is intact."""
    objects = fill(device, lambda size, placement: bo(size, placement=placement | SYSTEM))
    marks = {
        (number, offset): sentinel() for number in range(len(objects)) for offset in (0, objects[0].size - 4)
    }
    mapped = [made.map() for made in objects]
    for (number, offset), value in marks.items():
        mapped[number].set_u32(offset, value)
    buffer = memory(objects[0].size * 3 // SZ_2M * SZ_2M, align=SZ_2M)
    values = numbered(buffer, sentinel)
    in_vram(mirror_vm, buffer)
    queue = mirror_vm.queue()
    for offset in range(0, buffer.size, SZ_2M):
        gpu_sees(queue, buffer.address + offset, values[offset])
    for (number, offset), value in marks.items():
        landed(mapped[number], offset, value)
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("evict.no-va-needed")
@acts("load", "store")
@needs("fork-events")
def test_moved_or_forked_svm_memory_is_evicted(
    mirror_vm: Vm, device: Device, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """Memory in VRAM that was mremapped, partly unmapped or shared by fork is evicted with its data."""
    buffer, target = memory(2 * SZ_2M, align=SZ_2M), memory(2 * SZ_2M, align=SZ_2M)
    values = numbered(buffer, sentinel)
    in_vram(mirror_vm, buffer)
    moved = buffer.mremap(to=target.address)
    moved.munmap(SZ_2M, SZ_64K)
    gone = [SZ_2M]
    child = Child(lambda: [moved.u32(offset) for offset in values if offset not in gone])
    objects = fill(device, bo)
    ended = child.end(20)
    assert ended.result == [value for offset, value in values.items() if offset not in gone], ended
    for made in objects:
        made.close()
    queue = mirror_vm.queue()
    for offset, value in values.items():
        if offset not in gone:
            gpu_sees(queue, moved.address + offset, value)
            landed(moved, offset, value)


@behaviour("evict.idle-before-copy")
@acts("store", "exec", "overlap")
def test_busy_svm_memory_is_evicted_for_bos(
    mirror_vm: Vm, device: Device, bo: MakeBo, buffer: Buffer, sentinel: Sentinel
) -> None:
    """BOs can still get VRAM while CPU and GPU use memory in it, and no GPU store is lost."""
    queue = mirror_vm.queue()
    stored: dict[int, int] = {}
    places = itertools.cycle(range(8, buffer.size, SZ_64K))
    values = itertools.cycle([sentinel() for _ in range(64)])

    def work(_: int) -> None:
        offset, value = next(places), next(values)
        queue.store(buffer.address + offset, value)
        stored[offset] = value
        if offset % (4 * SZ_64K) == 8:
            assert buffer.u32(offset) == value

    in_vram(mirror_vm, buffer)
    with meanwhile(work):
        for _ in range(3):
            for made in fill(device, bo):
                made.close()
    assert stored
    for offset, value in stored.items():
        landed(buffer, offset, value)


@behaviour("evict.mm-exited", "evict.release-async")
@acts("exec", "ioctl")
@needs("fork-events")
@pytest.mark.parametrize("how", ["exit", "kill"])
def test_vram_of_dead_process_can_be_reused(
    open_device: OpenDevice, device: Device, bo: MakeBo, queue: Queue, memory: Memory, how: str
) -> None:
    """VRAM of a process that exited or was killed can be used for BOs."""
    free, reader, writer = device.vram_used(), *os.pipe()

    def child() -> None:
        with open_device() as own:
            vm = Vm(own, FAULTING)
            vm.mirror()
            inside = memory(8 * SZ_2M, align=SZ_2M, fill=b"\x31")
            vm.prefetch(inside.address, inside.size, own.vram[0])
            assert vm.queue().load(inside.address) == 0x31313131
            os.write(writer, b"1")
            if how == "kill":
                signal.pause()
            os._exit(0)

    process = Child(child)
    try:
        os.close(writer)
        assert os.read(reader, 1) == b"1"
        if how == "kill":
            assert device.vram_used() > free + 7 * SZ_2M
            process.kill()
        else:
            process.end(20)
    finally:
        process.kill()
        os.close(reader)
    fill(device, bo)
    target = memory(SZ_2M, align=SZ_2M)
    queue.store(target.address, 0x1234)
    assert target.u32() == 0x1234


@behaviour("evict.release-async")
@acts("load", "query")
@pytest.mark.parametrize("how", ["munmap", "discard", "remap"])
def test_vram_is_freed_with_last_page(
    mirror_vm: Vm, device: Device, buffer: Buffer, sentinel: Sentinel, how: str
) -> None:
    """munmap, MADV_DONTNEED and mmap over memory in VRAM free the VRAM, possibly a little later."""
    values, free = numbered(buffer, sentinel), device.vram_used()
    in_vram(mirror_vm, buffer)
    gpu_sees(mirror_vm.queue(), buffer.address, values[0])
    assert device.vram_used() > free + buffer.size // 2
    {
        "munmap": buffer.munmap,
        "discard": lambda: buffer.madvise(mmap.MADV_DONTNEED),
        "remap": buffer.remap_fresh,
    }[how]()
    wait_until(lambda: device.vram_used() < free + SZ_2M, what="the release of VRAM")


@behaviour("evict.partial-free-keeps")
@acts("load", "query")
@pytest.mark.parametrize("left", [0, SZ_2M // 2, SZ_2M - PAGE], ids=["first", "middle", "last"])
def test_one_page_keeps_whole_vram_allocation(
    mirror_vm: Vm, device: Device, memory: Memory, sentinel: Sentinel, left: int
) -> None:
    """A VRAM allocation of which one page is left keeps all its VRAM until that page is freed."""
    buffer, value, free = memory(SZ_2M, align=SZ_2M), sentinel(), device.vram_used()
    buffer.set_u32(left, value)
    in_vram(mirror_vm, buffer)
    if left:
        buffer.munmap(0, left)
    if left + PAGE < SZ_2M:
        buffer.munmap(left + PAGE)
    assert device.vram_used() > free + SZ_2M // 2
    assert not buffer.present(left)
    gpu_sees(mirror_vm.queue(), buffer.address + left, value)
    buffer.munmap(left, PAGE)
    wait_until(lambda: device.vram_used() < free + SZ_2M, what="the release of VRAM")


@behaviour("evict.no-resource-bo")
@acts("load", "ioctl")
def test_eviction_skips_bos_without_backing(
    mirror_vm: Vm, device: Device, bo: MakeBo, buffer: Buffer, sentinel: Sentinel
) -> None:
    """Eviction skips BOs with DEFER_BACKING that never had backing store."""
    values = numbered(buffer, sentinel)
    for _ in range(8):
        bo(SZ_2M, placement=1 << device.vram[0], flags=DEFER)
    for _ in range(2):
        in_vram(mirror_vm, buffer)
        for made in fill(device, bo):
            made.close()
    queue = mirror_vm.queue()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)


@behaviour("evict.bo-atomic-cpu")
@acts("store", "query")
@pytest.mark.parametrize("mode", ["CPU", "GLOBAL"])
def test_bo_for_cpu_atomics_moves_on_cpu_fault(
    mirror_vm: Vm, device: Device, bo: MakeBo, sentinel: Sentinel, mode: str
) -> None:
    """A BO in VRAM with atomic mode CPU moves to system memory when the CPU accesses it."""
    region, at, value = device.vram[0], 0x20_0000_0000, sentinel()
    free = device.vram_used()
    made = bo(SZ_2M, placement=SYSTEM | 1 << region)
    mapped, queue = made.map(), mirror_vm.queue()
    mirror_vm.map(made, at)
    mirror_vm.prefetch(at, SZ_2M, region)
    queue.store(at, value)
    landed(mapped, 0, value)
    before = device.vram_used()
    assert before >= free + SZ_2M
    mirror_vm.madvise(at, SZ_2M, ATOMIC, val=getattr(xe, f"DRM_XE_ATOMIC_{mode}"))
    landed(mapped, 0, value)
    wait_until(lambda: device.vram_used() <= before - SZ_2M, what="the bo to leave VRAM")
    value = sentinel()
    queue.store(at + PAGE, value)
    landed(mapped, PAGE, value)


@behaviour("evict.svm-by-svm")
@acts("load", "store")
@needs("fork-events")
def test_two_processes_overcommitting_vram_keep_data(
    mirror_vm: Vm, device: Device, open_device: OpenDevice, memory: Memory, sentinel: Sentinel
) -> None:
    """Two processes that each use two thirds of VRAM both run, and both have correct data."""
    size = device.region(device.vram[0]).total_size * 2 // 3 // SZ_2M * SZ_2M
    mark = sentinel()

    def work(vm: Vm, seed: int) -> bool:
        own = memory(size, align=SZ_2M, populate=False)
        queue = vm.queue()
        for offset in range(0, size, SZ_2M):
            own.set_u32(offset, seed + offset)
        for offset in range(0, size, SZ_2M):
            batch = Batch().store_dword(own.address + offset + 4, seed ^ offset)
            queue.run(batch.copy_mem(own.address + offset + 8, own.address + offset))
        for offset in range(0, size, SZ_2M):
            expected = [(seed + offset) & 0xFFFF_FFFF, seed ^ offset] * 2
            assert [own.u32(offset + at) for at in (0, 4, 8)] == expected[:2] + expected[:1]
        return True

    def child() -> bool:
        with open_device() as own:
            vm = Vm(own, FAULTING)
            vm.mirror()
            return work(vm, mark >> 1)

    other = Child(child)
    try:
        assert work(mirror_vm, mark >> 2)
        ended = other.end(40)
    finally:
        other.kill()
    assert ended.result is True, ended.error
    count("load")
    count("store")
