# SPDX-License-Identifier: MIT
"""Unmapped memory: the GPU loses it at once, and its ranges are collected (xe_svm.c)."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from fixtures import acts, behaviour, each_size, gpu_fault, gpu_sees, landed, needs
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.seeds import page_of
from fixtures.sizes import SZ_2M
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch

pytestmark = needs("page-faults")


def in_use(vm: Vm, buffer: Buffer, sentinel: Sentinel, at: int) -> tuple[Queue, int]:
    """The GPU has mapped the memory at an offset. Returns the queue that used it, and its address."""
    queue, address, value = vm.queue(), buffer.address + at, sentinel()
    queue.store(address, value)
    landed(buffer, at, value)
    queue.store(address + 4, sentinel())
    return queue, address


@behaviour("invalidate.munmap-no-stale-read", "gc.on-fault")
@acts("refusal", "store")
@each_size
def test_gpu_load_after_munmap_faults(mirror_vm: Vm, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """After munmap a GPU load of the memory fails, although its range was valid before."""
    buffer = memory(size, align=size)
    queue, address = in_use(mirror_vm, buffer, sentinel, page_of(size))
    buffer.munmap()
    with gpu_fault(queue):
        queue.load(address)


@behaviour("invalidate.munmap-no-stale-write")
@acts("refusal", "store")
@each_size
def test_gpu_store_after_munmap_changes_nothing(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """A GPU store to unmapped memory fails, and does not change memory mapped since, which may reuse the pages."""
    buffer = memory(size, align=size)
    queue, address = in_use(mirror_vm, buffer, sentinel, page_of(size))
    after = [memory(size, align=size, populate=False) for _ in range(4)]
    buffer.munmap()
    for other in after:  # the kernel hands freed pages out again at once
        other.fill(b"\x3c")
    with gpu_fault(queue):
        queue.store(address, sentinel())
    for other in after:
        assert other.bytes() == b"\x3c" * size


@behaviour("invalidate.remap-fixed", "gc.replaces-range-with-mirror")
@acts("load", "store")
@each_size
def test_gpu_uses_memory_mapped_over_old(queue: Queue, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """Memory mapped over memory in use replaces it: the GPU reads its zeros and stores to it, without a bind."""
    buffer, at, value = memory(size, align=size), page_of(size), sentinel()
    address = buffer.address + at
    queue.store(address, sentinel())
    buffer.remap_fresh()
    gpu_sees(queue, address, 0)
    queue.store(address, value)
    landed(buffer, at, value)


@behaviour("invalidate.partial-munmap-keeps-rest")
@acts("store", "load", "refusal")
@pytest.mark.parametrize("gone", [0, SZ_2M // 2], ids=["first-half", "second-half"])
def test_munmap_of_half_range_keeps_other_half(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, gone: int
) -> None:
    """After munmap of half of a 2 MiB range, the other half keeps its data and the unmapped half fails."""
    buffer, kept, value = memory(SZ_2M, align=SZ_2M), SZ_2M // 2 - gone, sentinel()
    queue = mirror_vm.queue()
    queue.store(buffer.address + kept + 8, value)
    queue.store(buffer.address + gone + 8, sentinel())
    address = buffer.address + gone
    buffer.munmap(gone, SZ_2M // 2)
    # First of all: a CPU touch of the other half would take the whole range from the GPU.
    with gpu_fault(mirror_vm.queue()) as other:
        other.load(address + 8)
    gpu_sees(queue, buffer.address + kept + 8, value)
    landed(buffer, kept + 8, value)


@behaviour("invalidate.partial-munmap-page")
@acts("store", "load")
def test_munmap_of_every_second_page_keeps_others(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """After munmap of every second page of a buffer the others are intact for CPU and GPU."""
    pages = 32
    buffer = memory(pages * PAGE, align=SZ_2M)
    values = [sentinel() for _ in range(pages)]
    batch = Batch()
    for page, value in enumerate(values):
        batch.store_dword(buffer.address + page * PAGE, value)
    queue.run(batch.end())
    for page in range(1, pages, 2):
        buffer.munmap(page * PAGE, PAGE)
    for page in range(0, pages, 2):
        gpu_sees(queue, buffer.address + page * PAGE, values[page])
        landed(buffer, page * PAGE, values[page])


@behaviour("invalidate.brk-shrink")
@acts("store", "refusal")
def test_sbrk_shrink_takes_memory_from_gpu(mirror_vm: Vm, sentinel: Sentinel) -> None:
    """Memory at the end of the heap is usable by the GPU until sbrk(2) frees it, and not after that."""
    libc = ctypes.CDLL(None)
    libc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_void_p, (ctypes.c_ssize_t,)
    size = 64 * PAGE
    start = libc.sbrk(size)
    try:
        place, value = start + size - 2 * PAGE, sentinel()
        queue = mirror_vm.queue()
        queue.store(place, value)
        seen = ctypes.c_uint32.from_address(place).value
        queue.store(place, sentinel())
    finally:
        if libc.sbrk(0) == start + size:
            libc.sbrk(-size)
    assert seen == value
    if libc.sbrk(0) != start:
        pytest.fail("another thread moved the end of the heap: the test could not be carried out")
    count("store")
    with gpu_fault(queue):
        queue.load(place)


@behaviour("fault.madvise-dontneed")
@acts("load")
@each_size
def test_cpu_store_after_dontneed_is_seen_by_gpu(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """The GPU reads what the CPU stores after MADV_DONTNEED."""
    buffer, value = memory(size, align=size), sentinel()
    at = page_of(size)
    queue.store(buffer.address + at, sentinel())
    buffer.madvise(mmap.MADV_DONTNEED)
    buffer.set_u32(at, value)
    gpu_sees(queue, buffer.address + at, value)
