# SPDX-License-Identifier: MIT
"""MMU notifiers: what the process does to its memory reaches the GPU before the system call returns.

The driver has a notifier for each window of the address space in which there are ranges. An event of the CPU's page
tables takes from the GPU every range that it touches, as a whole; then the call continues. What comes after depends:

* memory was unmapped: the range is collected (suites/gc);
* anything else, the pages move or are dropped or protected: the range stays, and the next GPU access faults it in.

Ranges that the GPU does not have cost nothing: no TLB is invalidated for them.

(xe_svm.c: xe_svm_invalidate; drm_gpusvm.c: drm_gpusvm_notifier_invalidate)
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator

import pytest

from fixtures import acts, behaviour, driver_only, each_size, gpu_finds, gpu_sees, in_child, landed, needs
from fixtures.counting import count
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PAGE, READ_WRITE, Buffer, reserve
from fixtures.memory import mmap as map_memory
from fixtures.sizes import SZ_1M, SZ_2M
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm

WINDOW = 512 * SZ_1M
"""Bytes of address space that one notifier is for, unless svm_notifier_size says otherwise."""

MADV_COLLAPSE = 25
"""include/uapi/asm-generic/mman-common.h; Python has no name for it."""

FAULTS = "svm_pagefault_count"
INVALIDATIONS = "svm_tlb_inval_count"


pytestmark = needs("page-faults")


# Other events: the range stays


def dropped(buffer: Buffer) -> int:
    """MADV_DONTNEED: the pages go. The value that is there then."""
    buffer.madvise(mmap.MADV_DONTNEED)
    return 0


def freed(buffer: Buffer) -> int:
    """MADV_FREE, and a store, which takes the page back."""
    buffer.madvise(mmap.MADV_FREE)
    buffer.set_u32(0, 0x600D_600D)
    return 0x600D_600D


def forked(buffer: Buffer) -> int:
    """fork(2): the pages become copy-on-write, and the child changes its own."""
    before = buffer.u32(0)
    assert in_child(lambda: buffer.set_u32(0, ~before & 0xFFFF_FFFF)).error == ""
    return before


@behaviour("notifier.other-events", "obs.svm-pagefault-count")
@acts("fault", "load", "store")
@needs("debugfs")
@each_size
@pytest.mark.parametrize("event", [dropped, freed, forked], ids=lambda event: event.__name__)
def test_event_makes_gpu_refault_once(
    queue: Queue,
    memory: Memory,
    sentinel: Sentinel,
    counters: Counters,
    event: Callable[[Buffer], int],
    size: int,
) -> None:
    """After an event other than an unmap, the next GPU access faults the range in again, once."""
    buffer, value = memory(size, align=size), sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    value = event(buffer)
    before = counters.snapshot()
    gpu_sees(queue, buffer.address, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.rose(FAULTS, since=before)
    before = counters.snapshot()
    gpu_sees(queue, buffer.address, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.still(FAULTS, since=before)
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("notifier.other-events")
@acts("load", "store")
@needs("thp")
def test_madv_collapse_keeps_data(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """MADV_COLLAPSE of memory in use, small pages into a huge one, loses no data for GPU and CPU."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values = {buffer.address + offset: sentinel() for offset in range(0, SZ_2M, SZ_2M // 8)}
    queue.store_all(values)
    for address, value in values.items():
        landed(buffer, address - buffer.address, value)
    with contextlib.suppress(OSError):  # no huge page is available: then nothing has changed
        buffer.madvise(MADV_COLLAPSE)
    gpu_finds(queue, values)
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


def mirroring(make_vm: MakeVm, buffer: Buffer, sentinel: Sentinel) -> list[Queue]:
    """Queues of three VMs that mirror the memory and have stored to it."""
    queues = []
    for index in range(3):
        vm: Vm = make_vm(FAULTING)
        vm.mirror()
        queues.append(vm.queue())
        queues[index].store(buffer.address + 4 * index, sentinel())
    return queues


@behaviour("notifier.migrate-event", "obs.svm-pagefault-count")
@acts("fault", "load")
@needs("debugfs", "vram", "cpu-addr-mirror", "svm-vram")
def test_migration_to_ram_invalidates_every_vm(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """When memory in VRAM migrates back, all VMs that mirror it are invalidated, and each faults again."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    queues = mirroring(make_vm, buffer, sentinel)
    buffer.set_u32(64, value)  # the CPU's store brings it back
    for queue in queues:
        before = counters.snapshot()
        gpu_sees(queue, buffer.address + 64, value)
        with driver_only("obs.svm-pagefault-count"):
            counters.rose(FAULTS, since=before)


@behaviour("notifier.migrate-event")
@acts("load", "store")
@needs("cpu-addr-mirror")
def test_replaced_memory_is_invalidated_in_every_vm(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """When memory is replaced, all VMs that mirror it see the new memory."""
    buffer = memory(SZ_2M, align=SZ_2M)
    queues = mirroring(make_vm, buffer, sentinel)
    buffer.remap_fresh()
    for index, queue in enumerate(queues):
        gpu_sees(queue, buffer.address + 4 * index, 0)
    for index, queue in enumerate(queues):
        value = sentinel()
        queue.store(buffer.address + 64 * index, value)
        landed(buffer, 64 * index, value)


# Scope of an invalidation


@behaviour("notifier.extends-to-range", "notifier.unmap-event", "obs.tlb-counters", "obs.svm-pagefault-count")
@acts("fault", "load", "invalidate")
@needs("debugfs", "svm-counters")
@pytest.mark.parametrize("gone", [0, SZ_2M // 2, SZ_2M - PAGE], ids=["first", "middle", "last"])
def test_munmap_of_one_page_invalidates_whole_range(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, gone: int
) -> None:
    """munmap(2) of one page invalidates the whole range: the GPU faults on a page that is still mapped."""
    buffer, stays = memory(SZ_2M, align=SZ_2M), SZ_2M // 4
    values = {buffer.address + offset: sentinel() for offset in (stays, gone)}
    queue.store_all(values)
    before = counters.snapshot()
    buffer.munmap(gone, PAGE)
    with driver_only("obs.tlb-counters"):
        counters.rose(INVALIDATIONS, since=before)
    count("invalidate")
    gpu_sees(queue, buffer.address + stays, values[buffer.address + stays])
    with driver_only("obs.svm-pagefault-count"):
        counters.rose(FAULTS, since=before)


@behaviour("notifier.skip-unbound")
@acts("fault", "invalidate")
@needs("debugfs", "svm-counters")
@each_size
def test_invalid_range_is_not_invalidated_again(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, size: int
) -> None:
    """The first event invalidates a range; further ones, and its munmap, invalidate nothing until the GPU faults."""
    buffer = memory(size, align=size, shared=True)
    before = counters.snapshot()
    queue.store(buffer.address, sentinel())
    counters.rose(FAULTS, since=before)
    before = counters.snapshot()
    buffer.madvise(mmap.MADV_DONTNEED)
    counters.rose(INVALIDATIONS, since=before)
    count("invalidate")
    before = counters.snapshot()
    buffer.madvise(mmap.MADV_DONTNEED)
    buffer.munmap()
    counters.still(INVALIDATIONS, since=before)


@behaviour("notifier.no-range-no-work")
@acts("load")
@needs("debugfs", "svm-counters")
def test_events_outside_ranges_invalidate_nothing(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """Events next to a range, in the same notifier, invalidate nothing, and the range stays mapped."""
    buffer, value = memory(3 * SZ_2M, align=SZ_2M), sentinel()
    buffer.set_u32(SZ_2M, value)
    gpu_sees(queue, buffer.address + SZ_2M, value)
    before = counters.snapshot()
    for offset in (0, 2 * SZ_2M):
        buffer.madvise(mmap.MADV_DONTNEED, offset, SZ_2M)
        buffer.munmap(offset, SZ_2M)
    counters.still(INVALIDATIONS, since=before)
    gpu_sees(queue, buffer.address + SZ_2M, value)
    counters.still(FAULTS, since=before)


@pytest.fixture
def across_windows() -> Iterator[Buffer]:
    """Memory of 8 MiB with the border of two notifier windows in its middle."""
    size = 4 * SZ_2M
    start = reserve(WINDOW + size, WINDOW) + WINDOW - size // 2
    reserved = Buffer(start - WINDOW + size // 2, WINDOW + size)
    map_memory(start, size, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    yield Buffer(start, size)
    reserved.close()


@behaviour("notifier.multi-range")
@acts("load", "store")
def test_event_over_two_notifiers_invalidates_all(
    queue: Queue, across_windows: Buffer, sentinel: Sentinel
) -> None:
    """Ranges on both sides of a notifier boundary are replaced by one mmap: the GPU sees the new memory."""
    buffer = across_windows
    values = {buffer.address + offset: sentinel() for offset in range(0, buffer.size, SZ_2M)}
    queue.store_all(values)
    gpu_finds(queue, values)
    buffer.remap_fresh()
    gpu_finds(queue, dict.fromkeys(values, 0))
    values = {address: sentinel() for address in values}
    queue.store_all(values)
    for address, value in values.items():
        landed(buffer, address - buffer.address, value)


@behaviour("notifier.multi-range", "obs.tlb-counters")
@acts("load", "invalidate")
@needs("debugfs", "svm-counters")
def test_event_over_four_ranges_counts_four(
    queue: Queue, device: Device, across_windows: Buffer, sentinel: Sentinel, counters: Counters
) -> None:
    """One event over four ranges in two notifiers counts four invalidations on each GT that has them."""
    buffer = across_windows
    values = {buffer.address + offset: sentinel() for offset in range(0, buffer.size, SZ_2M)}
    queue.store_all(values)
    gpu_finds(queue, values)
    gts = [gt.gt_id for gt in device.known_gts if gt.tile_id == 0]
    before = {gt: counters.snapshot(gt) for gt in gts}
    buffer.madvise(mmap.MADV_DONTNEED)
    for gt in gts:
        with driver_only("obs.tlb-counters"):
            counters.rose(INVALIDATIONS, since=before[gt], by=len(values), gt=gt)
        count("invalidate")
    gpu_finds(queue, dict.fromkeys(values, 0))
