# SPDX-License-Identifier: MIT
"""The GT statistics of the driver: what they count (xe_gt_stats.c). Other suites rely on them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs
from fixtures.counting import count
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import DEBUGFS, SIZES, Counters
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
BYTES = {"4K": PAGE, "64K": SZ_64K, "2M": SZ_2M}

pytestmark = needs("debugfs", "svm-counters", "page-faults", "cpu-addr-mirror")


def stats(device: Device) -> list[Path]:
    """The file of each GT."""
    return [DEBUGFS / str(device.minor) / f"gt{gt.gt_id}" / "stats" for gt in device.known_gts]


@pytest.fixture
def ready(queue: Queue) -> Queue:
    """A queue that has run: what it needs for itself is there."""
    queue.run(Batch().noop())
    return queue


def used_by_gpu(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """The GPU stores to the first page of a buffer."""
    value = sentinel()
    queue.store(buffer.address, value)


@behaviour("obs.stats-file")
@acts("query")
def test_stats_file_has_one_counter_a_line(device: Device) -> None:
    """Each GT's file has a line ``name: value`` for each counter, each name once, the same names for each GT."""
    names = []
    for path in stats(device):
        lines = path.read_text().splitlines()
        found = [re.fullmatch(r"(\w+): +(\d+)", line) for line in lines]
        assert all(found), lines
        names.append([match[1] for match in found if match])
        assert len(set(names[-1])) == len(names[-1])
        count("query")
    assert all(other == names[0] for other in names)
    assert {"svm_pagefault_count", "tlb_inval_count", "vma_pagefault_count"} <= set(names[0])


@behaviour("obs.svm-pagefault-count")
@acts("fault", "store")
@pytest.mark.parametrize("ranges", [1, 5])
def test_each_mirror_fault_counts_once(
    ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, ranges: int
) -> None:
    """svm_pagefault_count grows by one for the first access to each range, and not for later ones."""
    buffer = memory(ranges * SZ_2M, align=SZ_2M)
    for offset in range(0, buffer.size, SZ_2M):
        before = counters.snapshot()
        ready.store(buffer.address + offset, sentinel())
        counters.rose("svm_pagefault_count", since=before, by=1)
        counters.still("vma_pagefault_count", since=before)
        before, value = counters.snapshot(), sentinel()
        ready.store(buffer.address + offset + PAGE, value)
        counters.still("svm_pagefault_count", since=before)
        landed(buffer, offset + PAGE, value)


@behaviour("obs.size-class-counters")
@acts("fault")
@pytest.mark.parametrize("size", SIZES)
def test_faults_count_in_the_class_of_their_range(
    ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, size: str
) -> None:
    """A fault counts in the svm_<size>_pagefault_count of its range's size only."""
    buffer, before = memory(BYTES[size], align=BYTES[size]), counters.snapshot()
    used_by_gpu(ready, buffer, sentinel)
    rose = counters.by_size("pagefault_count", since=before)
    assert set(rose) == {size}
    assert rose[size] >= 1
    counters.rose("svm_pagefault_count", since=before, by=1)


@behaviour("obs.size-class-counters")
@acts("migrate")
@needs("vram", "svm-vram")
@pytest.mark.parametrize("size", ["64K", "2M"])
def test_moves_count_in_the_class_of_their_range(
    ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, size: str
) -> None:
    """A migration to VRAM counts in the svm_<size>_migrate_count of its range's size only."""
    buffer, value = memory(BYTES[size], align=BYTES[size]), sentinel()
    buffer.set_u32(BYTES[size] - 4, value)
    before = counters.snapshot()
    used_by_gpu(ready, buffer, sentinel)
    gpu_sees(ready, buffer.end - 4, value)
    assert not buffer.present(0)
    assert set(counters.by_size("migrate_count", since=before)) == {size}


@behaviour("obs.vma-fault-counters")
@acts("fault", "store")
@pytest.mark.parametrize("kind", ["bo", pytest.param("userptr", marks=needs("userptr"))])
def test_vma_faults_count_apart(
    mirror_vm: Vm, ready: Queue, bo: MakeBo, memory: Memory, sentinel: Sentinel, counters: Counters, kind: str
) -> None:
    """A fault on a BO or userptr counts in vma_pagefault_count and its size in vma_pagefault_kb, not as SVM."""
    value = sentinel()
    if kind == "bo":
        made = bo(SZ_2M)
        buffer = made.map()
        mirror_vm.map(made, AT)
    else:
        buffer = memory(SZ_2M, align=SZ_2M)
        mirror_vm.map_userptr(AT, buffer.address, SZ_2M)
    before = counters.snapshot()
    ready.store(AT + PAGE, value)
    counters.rose("vma_pagefault_count", since=before, by=1)
    counters.rose("vma_pagefault_kb", since=before, by=SZ_2M // 1024)
    counters.still("svm_pagefault_count", since=before)
    landed(buffer, PAGE, value)
    before = counters.snapshot()
    ready.store(AT + SZ_2M - 4, sentinel())
    counters.still("vma_pagefault_count", since=before)


@behaviour("obs.time-counters")
@acts("fault")
def test_times_grow_with_their_events(
    ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """No counter of microseconds ever decreases; that of faults on 2 MiB ranges grows with each fault."""
    first = before = counters.snapshot()
    names = [name for name in before if name.endswith("_us")]
    for _ in range(4):
        buffer = memory(SZ_2M, align=SZ_2M)
        used_by_gpu(ready, buffer, sentinel)
        buffer.u32(0)
        buffer.munmap()
        now = counters.snapshot()
        assert [name for name in names if now[name] < before[name]] == []
        before = now
    counters.rose("svm_2M_pagefault_us", since=first)
    counters.rose("svm_pagefault_count", since=first)


@behaviour("obs.tlb-counters")
@acts("fault", "invalidate")
@pytest.mark.parametrize("ranges", [1, 4])
def test_each_range_that_is_taken_away_counts(
    device: Device, ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, ranges: int
) -> None:
    """svm_tlb_inval_count grows when memory that the GPU has mapped is invalidated, once for each range and GT."""
    buffer, start = memory(ranges * SZ_2M, align=SZ_2M), counters.snapshot()
    for offset in range(0, buffer.size, SZ_2M):
        ready.store(buffer.address + offset, sentinel())
    counters.rose("svm_pagefault_count", since=start)
    before = counters.snapshot()
    for offset in range(0, buffer.size, SZ_2M):
        buffer.munmap(offset, SZ_2M)
        count("invalidate")
    risen = counters.rose("svm_tlb_inval_count", since=before)
    assert risen % ranges == 0
    gts = [gt for gt in device.known_gts if gt.type == xe.DRM_XE_QUERY_GT_TYPE_MAIN]
    assert risen <= ranges * len(device.known_gts)
    assert risen >= ranges * min(1, len(gts))
    before = counters.snapshot()
    memory(SZ_2M, align=SZ_2M).munmap()
    counters.still("svm_tlb_inval_count", since=before)
