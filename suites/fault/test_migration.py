# SPDX-License-Identifier: MIT
"""GPU page faults and the placement of memory (xe_svm.c: __xe_svm_handle_pagefault)."""

from __future__ import annotations

import mmap

import pytest

from fixtures import acts, behaviour, driver_only, each_home, gpu_fault, gpu_sees, kinds, landed, needs
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer, numbered
from fixtures.sizes import SZ_1M, SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe

pytestmark = needs("page-faults", "debugfs")


def cannot_move(queue: Queue, buffer: Buffer, value: int) -> None:
    """Make a range of 2 MiB that cannot go to VRAM: a border of CPU mappings has come into it since it was made."""
    queue.load(buffer.address)
    buffer.madvise(mmap.MADV_DONTFORK, SZ_1M, SZ_1M)
    buffer.fill(value.to_bytes(4, "little"))  # in system memory, wherever it was
    assert buffer.present()


@behaviour("fault.default-location", "fault.igpu-no-migration", "obs.size-class-counters")
@acts("fault", "load")
@each_home
def test_first_fault_migrates_to_vram_if_possible(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, home: str
) -> None:
    """The first fault migrates memory to VRAM if that is supported, and leaves it in system memory otherwise."""
    buffer, value, before = memory(SZ_2M, align=SZ_2M), sentinel(), counters.snapshot()
    buffer.set_u32(SZ_1M, value)
    gpu_sees(queue, buffer.address + SZ_1M, value)
    with driver_only("obs.size-class-counters"):
        assert counters.by_size("pagefault_count", since=before) == {"2M": 1}
        assert counters.by_size("migrate_count", since=before) == ({"2M": 1} if home == "vram" else {})
    assert {buffer.present(offset) for offset in range(0, SZ_2M, PAGE)} == {home == "system"}


@behaviour(
    "fault.igpu-no-migration",
    "fault.hugetlb",
    "fault.shared-anon",
    "fault.file-shared",
    "fault.file-private",
    "obs.size-class-counters",
)
@acts("store", "load")
@kinds.kinds([kind for kind in kinds.KINDS if not kind.migratable])
def test_nonmigratable_memory_is_used_in_place(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, kind: kinds.Kind
) -> None:
    """Memory that is not private anonymous, or is hugetlb, is mapped from system memory."""
    buffer, before = memory(2 * SZ_2M, align=SZ_2M, kind=kind), counters.snapshot()
    values = {offset: sentinel() for offset in (0, PAGE, SZ_2M - 4, SZ_2M, 2 * SZ_2M - 4)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
        gpu_sees(queue, buffer.address + offset, value)
    for offset in values:
        value = sentinel()
        queue.store(buffer.address + offset, value)
        landed(buffer, offset, value)
    with driver_only("obs.size-class-counters"):
        assert counters.by_size("migrate_count", since=before) == {}


@behaviour(
    "fault.migration-failure-fallback",
    "fault.one-migration-try",
    "obs.size-class-counters",
    "obs.svm-pagefault-count",
)
@acts("fault", "migrate", "load", "store")
@needs("vram", "svm-vram")
def test_failed_migration_falls_back_to_sysmem(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """If a range cannot be migrated the fault tries once, then maps it where it is, with the right data."""
    buffer, kept, stored = memory(SZ_2M, align=SZ_2M), sentinel(), sentinel()
    cannot_move(queue, buffer, kept)
    before = counters.snapshot()
    gpu_sees(queue, buffer.address + PAGE, kept)
    with driver_only("obs.size-class-counters"):
        assert counters.by_size("migrate_count", since=before) == {"2M": 1}
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before, by=1)
    assert buffer.present(PAGE)
    queue.store(buffer.address + SZ_2M - 4, stored)
    landed(buffer, SZ_2M - 4, stored)


@behaviour("fault.atomic-three-tries")
@acts("fault", "migrate", "refusal", "load")
@needs("vram", "atomic")
def test_atomic_on_stuck_range_faults_after_3_tries(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """An atomic that needs VRAM tries to migrate the range three times, then fails; other queues keep working."""
    buffer, kept = memory(SZ_2M, align=SZ_2M), sentinel()
    mirror_vm.madvise(buffer.address, SZ_2M, ATOMIC, val=xe.DRM_XE_ATOMIC_GLOBAL)
    other = mirror_vm.queue()
    cannot_move(other, buffer, kept)
    before = counters.snapshot()
    with gpu_fault(mirror_vm.queue()) as queue:
        queue.run(Batch().atomic(buffer.address, "add", 1))
    assert counters.by_size("migrate_count", since=before) == {"2M": 3}
    counters.rose("svm_pagefault_count", since=before, by=1)
    assert buffer.u32() == kept
    gpu_sees(other, buffer.address, kept)


@behaviour("fault.memory-pressure")
@acts("fault", "store", "load")
@needs("vram")
def test_fault_with_vram_full_is_served(
    device: Device, queue: Queue, memory: Memory, bo: MakeBo, sentinel: Sentinel, counters: Counters
) -> None:
    """If BOs fill all VRAM a fault evicts some, for memory and page tables, and no data is lost."""
    region = device.region(device.vram[0])
    part = (region.total_size - region.used) // 8 // SZ_2M * SZ_2M
    objects = [bo(part, placement=1 << region.instance).map() for _ in range(8)]
    words = [sentinel() for _ in objects]
    for content, word in zip(objects, words, strict=True):
        content.set_u32(part - 4, word)
    before, stored = counters.snapshot(), {}
    buffers = [memory(SZ_2M, align=SZ_2M) for _ in range(3)]
    for buffer in buffers:
        kept = sentinel()
        buffer.set_u32(SZ_1M, kept)
        gpu_sees(queue, buffer.address + SZ_1M, kept)
        stored[buffer] = sentinel()
        queue.store(buffer.address, stored[buffer])
    counters.rose("svm_pagefault_count", since=before)
    for buffer, value in stored.items():
        landed(buffer, 0, value)
    assert [content.u32(part - 4) for content in objects] == words


@behaviour("range.no-mixed-svm", "fault.default-location")
@acts("store", "load")
@needs("svm-vram")
@pytest.mark.parametrize("pieces", [2, 16])
def test_fault_on_pieces_in_vram_is_served(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, pieces: int
) -> None:
    """A fault on a range whose pages came to VRAM in several pieces is served, with the data of each piece."""
    buffer, other, vm = memory(SZ_64K, align=SZ_64K), make_vm(FAULTING), make_vm(FAULTING)
    values = numbered(buffer, sentinel, range(0, SZ_64K, PAGE))
    size = SZ_64K // pieces
    for piece in range(0, SZ_64K, size):
        other.mirror(buffer.address + piece, size)
        for offset in range(piece, piece + size, PAGE):
            gpu_sees(other.queue(), buffer.address + offset, values[offset])
    assert not any(buffer.present(offset) for offset in values)
    vm.mirror(buffer.address, SZ_64K)
    queue = vm.queue()
    for offset in (0, SZ_64K // 2, SZ_64K - PAGE):
        gpu_sees(queue, buffer.address + offset, values[offset])
        values[offset] = sentinel()
        queue.store(buffer.address + offset, values[offset])
    landed(buffer, SZ_64K - PAGE, values[SZ_64K - PAGE])
    assert {offset: buffer.u32(offset) for offset in values} == values
