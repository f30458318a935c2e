# SPDX-License-Identifier: MIT
"""CPU faults on memory in VRAM, which migrate it back (drm_pagemap.c: drm_pagemap_migrate_to_ram)."""

from __future__ import annotations

import ctypes
import os

import pytest

from fixtures import acts, behaviour, driver_only, gpu_finds, gpu_sees, landed, needs, returned
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.overlap import together
from fixtures.process import in_child
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.queue import Queue
from gpu import Batch
from gpu.registers import gpr

pytestmark = needs("page-faults", "vram", "svm-vram")


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of one chunk."""
    return memory(SZ_2M, align=SZ_2M)


@behaviour("cpu-fault.returns-data", "cpu-fault.partial-ok")
@acts("cpu-fault", "store")
@pytest.mark.parametrize("offset", [0, PAGE, SZ_2M // 2, SZ_2M - PAGE], ids=hex)
def test_cpu_load_of_vram_page_gets_gpu_data(
    queue: Queue, buffer: Buffer, sentinel: Sentinel, offset: int
) -> None:
    """A CPU load of memory in VRAM returns the GPU's data and moves the page to system memory."""
    value = sentinel()
    queue.store(buffer.address + offset, value)
    returned(buffer, offset, value.to_bytes(4, "little"))
    landed(buffer, offset, value)


@behaviour("cpu-fault.write")
@acts("load")
def test_cpu_store_to_vram_page_is_seen_by_gpu(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """A CPU store to memory in VRAM succeeds, and the GPU sees it."""
    queue.store(buffer.address, sentinel())
    assert not buffer.present(PAGE)
    value = sentinel()
    buffer.set_u32(PAGE, value)
    gpu_sees(queue, buffer.address + PAGE, value)


@behaviour("cpu-fault.whole-allocation", "cpu-fault.stats", "cpu-fault.no-double-migration")
@acts("cpu-fault")
@needs("svm-counters")
def test_cpu_touch_migrates_whole_allocation_back(
    queue: Queue, buffer: Buffer, sentinel: Sentinel, counters: Counters
) -> None:
    """A CPU load of one byte moves the whole 2 MiB back, once, and the driver counts it."""
    value = sentinel()
    queue.store(buffer.address, value)
    before = counters.snapshot()
    returned(buffer, 0, value.to_bytes(4, "little"))
    with driver_only("cpu-fault.whole-allocation"):
        assert all(buffer.present(offset) for offset in range(0, SZ_2M, PAGE))
    with driver_only("cpu-fault.stats"):
        counters.rose("svm_cpu_copy_kb", since=before, by=SZ_2M >> 10)
    again = counters.snapshot()
    buffer.bytes()
    with driver_only("cpu-fault.stats"):
        counters.still("svm_cpu_copy_kb", since=again)


@behaviour("cpu-fault.neighbour-untouched")
@acts("cpu-fault", "store")
def test_cpu_touch_leaves_neighbour_in_vram(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """A CPU access to one chunk leaves the next one in VRAM, with its data."""
    buffer = memory(2 * SZ_2M, align=SZ_2M)
    values = sentinel(), sentinel()
    for index, value in enumerate(values):
        queue.store(buffer.address + index * SZ_2M, value)
    returned(buffer, 0, values[0].to_bytes(4, "little"))
    assert not any(buffer.present(offset) for offset in range(SZ_2M, 2 * SZ_2M, PAGE))
    landed(buffer, SZ_2M, values[1])


@behaviour("cpu-fault.neighbour-untouched")
@acts("cpu-fault", "store")
def test_cpu_touch_leaves_other_allocation_of_window(
    queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """If mremap has put two allocations into one window of 2 MiB, a CPU access migrates back its own one."""
    window, values = memory(SZ_2M, align=SZ_2M, populate=False), (sentinel(), sentinel())
    for index, value in enumerate(values):
        made = memory(SZ_64K, align=SZ_64K)
        queue.store(made.address, value)
        assert not made.present()
        made.mremap(to=window.address + index * SZ_64K)
    returned(window, 0, values[0].to_bytes(4, "little"))
    assert not any(window.present(offset) for offset in range(SZ_64K, 2 * SZ_64K, PAGE))
    landed(window, SZ_64K, values[1])


@behaviour("cpu-fault.gpu-mapping-gone")
@acts("fault", "load")
@needs("debugfs")
def test_gpu_refaults_after_cpu_touch(
    queue: Queue, buffer: Buffer, sentinel: Sentinel, counters: Counters
) -> None:
    """After memory moved back to system memory, the GPU faults on it and sees what the CPU stored."""
    queue.store(buffer.address, sentinel())
    value = sentinel()
    buffer.set_u32(0, value)
    before = counters.snapshot()
    gpu_sees(queue, buffer.address, value)
    counters.rose("svm_pagefault_count", since=before)


@behaviour("cpu-fault.swap-out-after")
@acts("cpu-fault", "store", "load")
@needs("swap")
def test_memory_back_from_vram_can_be_swapped_out(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """Memory that came back from VRAM can be swapped out; CPU and GPU then still see what the GPU stored."""
    for finder in "cpu", "gpu":
        values = {offset: sentinel() for offset in (0, SZ_2M // 2 + PAGE, SZ_2M - 4)}
        queue.store_all({buffer.address + offset: value for offset, value in values.items()})
        returned(buffer, 0, values[0].to_bytes(4, "little"))
        buffer.bytes()  # /proc/self/pagemap tells a page in VRAM from one on the disk by nothing
        buffer.swap_out()
        if finder == "cpu":
            for offset, value in values.items():
                landed(buffer, offset, value)
        else:
            gpu_finds(queue, {buffer.address + offset: value for offset, value in values.items()})


def increment(address: int) -> Batch:
    """A batch that adds one to the 32 bits at ``address``, not atomically: load, add, store."""
    return (
        Batch()
        .load_gpr(0, 0)
        .load_gpr(1, 1)
        .load_register_mem(gpr(0), address)
        .math(("load", "srca", "r0"), ("load", "srcb", "r1"), ("add",), ("store", "r2", "accu"))
        .store_register(address, gpr(2))
        .end()
    )


@behaviour("cpu-fault.ping-pong")
@acts("store")
def test_cpu_and_gpu_increments_are_not_lost(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """CPU and GPU increment the same counter in turn, and no increment is lost."""
    buffer, start = memory(SZ_64K, align=SZ_64K), sentinel() & 0xFFFF
    buffer.set_u32(0, start)
    for turn in range(50):
        queue.run(increment(buffer.address))
        landed(buffer, 0, start + 2 * turn + 1)
        buffer.set_u32(0, buffer.u32(0) + 1)
    assert buffer.u32(0) == start + 100


@behaviour("cpu-fault.many-threads")
@acts("store", "overlap")
def test_threads_touching_one_vram_page_see_gpu_data(
    queue: Queue, buffer: Buffer, sentinel: Sentinel
) -> None:
    """Threads that access the same page in VRAM concurrently all see the GPU's data."""
    value = sentinel()
    queue.store(buffer.address, value)
    seen: list[int] = []

    def touch() -> None:
        word = ctypes.c_uint32()
        # Not buffer.u32(0), which keeps all other threads of Python from running until the fault is served.
        ctypes.CDLL(None).memcpy(ctypes.byref(word), ctypes.c_void_p(buffer.address), 4)
        seen.append(word.value)

    together(*[touch] * 8)
    assert seen == [value] * 8
    landed(buffer, 0, value)


@behaviour("cpu-fault.syscall-buffer")
@acts("store", "load")
@needs("kernel-faults")
def test_write_and_read_of_buffer_in_vram(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """write(2) from memory in VRAM sends the GPU's data, and the GPU sees what read(2) puts there."""
    stored, received = sentinel(), sentinel()
    queue.store(buffer.address + PAGE, stored)
    reader, writer = os.pipe()
    try:
        ctypes.CDLL(None).write(writer, ctypes.c_void_p(buffer.address + PAGE), 4)
        assert os.read(reader, 4) == stored.to_bytes(4, "little")
        landed(buffer, PAGE, stored)
        queue.store(buffer.address, sentinel())
        os.write(writer, received.to_bytes(4, "little"))
        assert ctypes.CDLL(None).read(reader, ctypes.c_void_p(buffer.address + 2 * PAGE), 4) == 4
    finally:
        os.close(reader)
        os.close(writer)
    gpu_sees(queue, buffer.address + 2 * PAGE, received)


@behaviour("cpu-fault.fork-child")
@acts("store")
@needs("fork-events")
def test_fork_child_reads_memory_in_vram(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """After fork the child reads the GPU's data, and what it stores is private to it."""
    value, childs = sentinel(), sentinel()
    queue.store(buffer.address, value)

    def child() -> tuple[int, int]:
        seen = buffer.u32(0)
        buffer.set_u32(0, childs)
        return seen, buffer.u32(0)

    ended = in_child(child)
    assert ended.result == (value, childs), ended
    landed(buffer, 0, value)


@behaviour("cpu-fault.vma-clamped", "invalidate.partial-munmap-keeps-rest", "gc.partial-evict")
@acts("store")
def test_rest_of_partly_unmapped_vram_comes_back(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """After munmap of half of a buffer in VRAM, the CPU gets the other half back with its data."""
    values = {offset: sentinel() for offset in (0, SZ_2M // 2 - 4)}
    for offset, value in values.items():
        queue.store(buffer.address + offset, value)
    buffer.munmap(SZ_2M // 2, SZ_2M // 2)
    for offset, value in values.items():
        landed(buffer, offset, value)
