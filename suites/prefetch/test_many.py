# SPDX-License-Identifier: MIT
"""PREFETCH of many ranges, by one call or by several threads (xe_vm.c: prefetch_ranges)."""

from __future__ import annotations

import errno
import threading

import pytest

from fixtures import acts, behaviour, gpu_finds, landed, needs
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, Buffer, in_each_chunk, numbered
from fixtures.overlap import meanwhile, missed
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch

RANGES = 12

pytestmark = needs("page-faults", "svm-vram")


def by_address(buffer: Buffer, sentinel: Sentinel) -> dict[int, int]:
    """``numbered`` at each place of ``in_each_chunk``: by address."""
    return {buffer.address + at: v for at, v in numbered(buffer, sentinel, in_each_chunk(buffer)).items()}


def prepared(memory: Memory, queue: Queue, sentinel: Sentinel) -> tuple[Buffer, dict[int, int]]:
    """Memory of many ranges, each in one of four states: new, used by the GPU, with a hole, in small pieces."""
    buffer = memory(RANGES * SZ_2M, align=SZ_2M)
    values = by_address(buffer, sentinel)
    for index in range(RANGES):
        start = index * SZ_2M
        if index % 4 == 1:
            queue.store(buffer.address + start + PAGE, sentinel())
        if index % 4 == 2:
            buffer.munmap(start + SZ_64K, SZ_64K)
        if index % 4 == 3:
            buffer.remap_fresh(start + SZ_64K, PAGE)
    return buffer, values


def there(buffer: Buffer) -> list[bool]:
    """Whether pages are in system memory, at the start and the end of each range."""
    return [
        buffer.present(start + offset)
        for start in range(0, buffer.size, SZ_2M)
        for offset in (0, SZ_2M - PAGE)
    ]


@behaviour("prefetch.threaded-equal")
@acts("load", "ioctl")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("to", ["vram", "system"])
def test_one_prefetch_equals_one_for_each_range(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel, to: str
) -> None:
    """PREFETCH of many ranges in one call leaves the same places and data as one call for each of them."""
    region = mirror_vm.device.vram[0] if to == "vram" else 0
    one, one_values = prepared(memory, queue, sentinel)
    each, each_values = prepared(memory, queue, sentinel)
    mirror_vm.prefetch(one.address, one.size, region)
    for start in range(0, each.size, SZ_2M):
        mirror_vm.prefetch(each.address + start, SZ_2M, region)
    assert there(one) == there(each)
    assert set(there(one)) == {to == "system"}
    gpu_finds(queue, one_values)
    gpu_finds(queue, each_values)


@behaviour("prefetch.threaded-equal")
@acts("ioctl", "load")
@pytest.mark.parametrize("bad", [0, RANGES // 2, RANGES - 1], ids=["first", "middle", "last"])
def test_one_prefetch_fails_as_one_for_each(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel, bad: int
) -> None:
    """PREFETCH of many ranges of which one may not be written gives what a call for that one gives."""
    buffer = memory(RANGES * SZ_2M, align=SZ_2M)
    values = by_address(buffer, sentinel)
    buffer.mprotect(PROT_READ, bad * SZ_2M, SZ_2M)
    alone = code(mirror_vm, buffer.address + bad * SZ_2M, SZ_2M)
    assert code(mirror_vm, buffer.address, buffer.size) == alone
    chose(f"PREFETCH of memory that may not be written: {errno.errorcode.get(alone, 'success')}")
    good = {at: value for at, value in values.items() if (at - buffer.address) // SZ_2M != bad}
    gpu_finds(queue, good)


def code(vm: Vm, address: int, size: int) -> int:
    """The errno of a PREFETCH to VRAM, 0 if it succeeds."""
    try:
        vm.prefetch(address, size, vm.device.vram[0])
    except OSError as error:
        return error.errno or 0
    return 0


@behaviour("prefetch.parallel")
@acts("store", "load", "ioctl", "overlap")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [2, 4])
def test_prefetches_race_with_faults(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel, threads: int
) -> None:
    """PREFETCHes of one area by several threads, there and back, next to GPU stores: all end, and the data is right."""
    buffer, regions = memory(4 * SZ_2M, align=SZ_2M), (mirror_vm.device.vram[0], 0)
    values = by_address(buffer, sentinel)
    queue.run(Batch().noop())
    storing, met = threading.Event(), [0] * threads

    def prefetch(thread: int, number: int) -> None:
        during = storing.is_set()
        try:
            mirror_vm.prefetch(buffer.address, buffer.size, regions[(thread + number) % 2])
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR, errno.EBUSY):
                raise
        met[thread] += during and storing.is_set()

    with meanwhile(*[lambda number, thread=thread: prefetch(thread, number) for thread in range(threads)]):
        for turn in range(6):
            stored = {at + 8 * (turn + 1): sentinel() for at in values if at % SZ_2M != SZ_2M - 4}
            storing.set()
            queue.store_all(stored)
            storing.clear()
            for address, value in stored.items():
                landed(buffer, address - buffer.address, value)
    gpu_finds(queue, values)
    mirror_vm.prefetch(buffer.address, buffer.size, regions[0])
    gpu_finds(queue, values)
    for address, value in values.items():
        assert buffer.u32(address - buffer.address) == value
    if not all(met):
        missed(f"PREFETCHes during GPU stores, by thread: {met}")
    count("ioctl")


@behaviour("prefetch.lru-bump")
@acts("load", "query")
@pytest.mark.timeout(120)
def test_memory_prefetched_last_may_stay(
    device: Device, mirror_vm: Vm, queue: Queue, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """If one object displaces one of two halves of the VRAM, the half that was prefetched last stays, or the other."""
    total = device.region(device.vram[0]).total_size
    size = total * 3 // 8 // SZ_2M * SZ_2M
    first, second = memory(size, align=SZ_2M), memory(size, align=SZ_2M)
    values = {}
    for buffer in (first, second):
        for offset in (0, size // 2 // PAGE * PAGE, size - PAGE):
            values[buffer.address + offset] = sentinel()
            buffer.set_u32(offset, values[buffer.address + offset])
        mirror_vm.prefetch(buffer.address, size, device.vram[0])
    mirror_vm.prefetch(first.address, size, device.vram[0])  # which is there
    bo(total // 2 // SZ_2M * SZ_2M, placement=1 << device.vram[0])
    gone = [
        sum(buffer.present(offset) for offset in range(0, size, SZ_2M)) * SZ_2M for buffer in (first, second)
    ]
    gpu_finds(queue, values)
    chose(f"evicted of what was prefetched again {gone[0] >> 20} MiB, of the other {gone[1] >> 20} MiB")
