# SPDX-License-Identifier: MIT
"""Migration of process memory to VRAM, on a GPU fault or by prefetch (drm_pagemap.c, xe_svm.c)."""

from __future__ import annotations

import os
import random

import pytest

from fixtures import acts, behaviour, disturbs, driver_only, gpu_sees, landed, needs, returned, untested
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_1G, SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch

SIZES = pytest.mark.parametrize("size", [SZ_64K, SZ_2M, 3 * SZ_2M], ids=["64K", "2M", "6M"])

pytestmark = needs("page-faults", "vram", "svm-vram")


def in_vram(queue: Queue, buffer: Buffer, counters: Counters) -> None:
    """A fault of the GPU moves all of the buffer to VRAM: its pages leave system memory."""
    before = counters.snapshot()
    for offset in range(0, buffer.size, SZ_2M):
        queue.load(buffer.address + offset)
    counters.rose("svm_device_copy_kb", since=before)
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))


@behaviour("fault.default-location", "obs.svm-pagefault-count", "obs.size-class-counters")
@acts("migrate", "fault")
@needs("svm-counters")
@SIZES
def test_gpu_fault_migrates_memory_to_vram(
    queue: Queue, memory: Memory, counters: Counters, size: int
) -> None:
    """By default the first GPU fault moves anonymous memory to the VRAM of the GPU that faulted."""
    buffer = memory(size, align=SZ_2M, fill=b"\x5a")
    before = counters.snapshot()
    for offset in range(0, size, SZ_2M):
        gpu_sees(queue, buffer.address + offset, 0x5A5A5A5A)
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before)
    with driver_only("obs.size-class-counters"):
        counters.rose("svm_2M_migrate_count" if size >= SZ_2M else "svm_64K_migrate_count", since=before)
    assert not any(buffer.present(offset) for offset in range(0, size, PAGE))


@behaviour("migrate.data-preserved", "cpu-fault.returns-data", "migrate.no-compression")
@acts("cpu-fault")
@needs("svm-counters")
@SIZES
def test_migration_to_vram_and_back_keeps_data(
    queue: Queue, memory: Memory, counters: Counters, rng: random.Random, size: int
) -> None:
    """Every byte of a buffer is the same after migration to VRAM and back."""
    buffer, data = memory(size, align=SZ_2M), rng.randbytes(size)
    buffer.write(0, data)
    in_vram(queue, buffer, counters)
    returned(buffer, 0, data)


@behaviour("migrate.data-preserved", "migrate.pfn-kinds")
@acts("load")
@SIZES
def test_gpu_reads_pages_of_migrated_memory(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """The GPU reads what the CPU stored from the first, middle and last page of memory in VRAM."""
    buffer = memory(size, align=SZ_2M)
    values = {offset: sentinel() for offset in (0, PAGE, size // 2, size - PAGE, size - 4)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)


@behaviour("migrate.zero-fill")
@acts("store")
def test_untouched_memory_in_vram_reads_zero(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """Untouched memory that the GPU accesses first reads as zeros, although VRAM held other data just before."""
    dirty = memory(SZ_2M, align=SZ_2M, fill=b"\xa5")
    queue.store(dirty.address, sentinel())
    dirty.munmap()
    fresh, value = memory(SZ_2M, align=SZ_2M, populate=False), sentinel()
    queue.store(fresh.address + SZ_2M // 2, value)
    landed(fresh, SZ_2M // 2, value)
    expected = bytearray(SZ_2M)
    expected[SZ_2M // 2 : SZ_2M // 2 + 4] = value.to_bytes(4, "little")
    assert fresh.bytes() == bytes(expected)


@behaviour("migrate.partly-populated")
@acts("load")
@needs("debugfs")
def test_sparsely_populated_chunk_migrates_whole(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """If only some pages of a chunk are populated, those keep their data and the others read as zeros."""
    buffer = memory(SZ_2M, align=SZ_2M, populate=False)
    values = {offset: sentinel() for offset in (PAGE, 7 * PAGE, SZ_2M - PAGE)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
        gpu_sees(queue, buffer.address + offset - PAGE, values.get(offset - PAGE, 0))
    expected = bytearray(SZ_2M)
    for offset, value in values.items():
        expected[offset : offset + 4] = value.to_bytes(4, "little")
    assert buffer.bytes() == bytes(expected)


@behaviour(
    "migrate.anonymous-only",
    "cpu-fault.file-unaffected",
    "fault.shared-anon",
    "migrate.copy-kb-exact",
    "cpu-fault.stats",
)
@acts("store")
@needs("svm-counters")
@pytest.mark.parametrize("kind", ["memfd", "shared-anonymous"])
def test_shared_memory_stays_in_system_memory(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, kind: str
) -> None:
    """Shared memory is used in place: the GPU's store lands and nothing is copied to or from VRAM."""
    if kind == "memfd":
        fd = os.memfd_create("svm-cts")
        os.ftruncate(fd, SZ_2M)
        buffer = memory(SZ_2M, align=SZ_2M, shared=True, fd=fd)
        os.close(fd)
    else:
        buffer = memory(SZ_2M, align=SZ_2M, shared=True)
    before, value = counters.snapshot(), sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    with driver_only("migrate.copy-kb-exact"):
        counters.still("svm_device_copy_kb", since=before)
    with driver_only("cpu-fault.stats"):
        counters.still("svm_cpu_copy_kb", since=before)


@behaviour("migrate.already-there", "prefetch.to-vram", "migrate.copy-kb-exact")
@acts("load")
@needs("svm-counters")
def test_second_prefetch_to_vram_copies_nothing(
    queue: Queue, mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """A prefetch moves memory to VRAM, and a second one to the same place copies nothing."""
    # Pages of zeros might be one shared page for the kernel, and then are not copied.
    buffer, value = memory(SZ_2M, align=SZ_2M, fill=b"\x33"), sentinel()
    buffer.set_u32(0, value)
    before = counters.snapshot()
    mirror_vm.prefetch(buffer.address, buffer.size, mirror_vm.device.vram[0])
    with driver_only("migrate.copy-kb-exact"):
        counters.rose("svm_device_copy_kb", since=before, by=SZ_2M >> 10)
    assert not buffer.present()
    there = counters.snapshot()
    mirror_vm.prefetch(buffer.address, buffer.size, mirror_vm.device.vram[0])
    with driver_only("migrate.copy-kb-exact"):
        counters.still("svm_device_copy_kb", since=there)
    gpu_sees(queue, buffer.address, value)


@behaviour("migrate.already-there")
@acts("load")
@needs("svm-counters")
def test_prefetch_by_second_vm_copies_nothing(
    mirror_vm: Vm, make_vm: MakeVm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """A VM that prefetches memory to the VRAM where another VM has it copies nothing, and finds the data."""
    # A second PREFETCH of the same VM does not get that far: its range is valid (xe_svm.c: xe_svm_range_validate).
    buffer, value = memory(SZ_2M, align=SZ_2M, fill=b"\x33"), sentinel()
    buffer.set_u32(0, value)
    mirror_vm.prefetch(buffer.address, buffer.size, mirror_vm.device.vram[0])
    assert not buffer.present()
    other = make_vm(FAULTING)
    other.mirror()
    queue, there = other.queue(), counters.snapshot()
    other.prefetch(buffer.address, buffer.size, other.device.vram[0])
    counters.still("svm_device_copy_kb", since=there)
    assert not buffer.present()
    gpu_sees(queue, buffer.address, value)


@behaviour("migrate.copy-kb-exact")
@acts("fault")
@needs("svm-counters")
def test_copy_counter_counts_migrated_kib(queue: Queue, memory: Memory, counters: Counters) -> None:
    """A populated 2 MiB chunk that moves to VRAM counts as 2048 KiB copied."""
    buffer = memory(SZ_2M, align=SZ_2M, fill=b"\x77")
    before = counters.snapshot()
    gpu_sees(queue, buffer.address, 0x77777777)
    counters.rose("svm_pagefault_count", since=before)
    counters.rose("svm_device_copy_kb", since=before, by=SZ_2M >> 10)


@behaviour("migrate.other-vm-invalidated", "obs.svm-pagefault-count")
@acts("load", "store", "fault")
@needs("debugfs", "cpu-addr-mirror")
def test_second_vm_refaults_after_migration(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """When memory that two VMs map comes back to the CPU, both VMs fault again and see the new data."""
    buffer, queues = memory(SZ_2M, align=SZ_2M), []
    for _ in range(2):
        vm = make_vm(FAULTING)
        vm.mirror()
        queues.append(vm.queue())
    stored = sentinel()
    queues[0].store(buffer.address, stored)
    gpu_sees(queues[1], buffer.address, stored)
    landed(buffer, 0, stored)
    value = sentinel()
    buffer.set_u32(0, value)
    for queue in queues:
        before = counters.snapshot()
        gpu_sees(queue, buffer.address, value)
        with driver_only("obs.svm-pagefault-count"):
            counters.rose("svm_pagefault_count", since=before)


@behaviour("migrate.mlocked")
@acts("load", "store")
def test_mlocked_memory_is_usable(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """The GPU can use mlocked memory, and data is correct for CPU and GPU."""
    buffer, value = memory(SZ_64K, align=SZ_64K), sentinel()
    buffer.set_u32(0, value)
    buffer.mlock()
    gpu_sees(queue, buffer.address, value)
    value = sentinel()
    queue.store(buffer.address + PAGE, value)
    landed(buffer, PAGE, value)


@behaviour("query.mem.used-tracks-svm", "obs.size-class-counters")
@acts("query", "migrate")
@needs("svm-counters")
def test_memory_in_vram_counts_as_used_vram(
    queue: Queue, device: Device, memory: Memory, counters: Counters
) -> None:
    """VRAM in use grows by what migrated there, and shrinks again after munmap."""
    from fixtures import wait_until

    (region,) = (device.region(instance) for instance in device.vram[:1])
    buffer, before = memory(4 * SZ_2M, align=SZ_2M, fill=b"\x11"), counters.snapshot()
    for offset in range(0, buffer.size, SZ_2M):
        gpu_sees(queue, buffer.address + offset, 0x11111111)
    with driver_only("obs.size-class-counters"):
        counters.rose("svm_2M_migrate_count", since=before)
    # An estimate, as the header says.
    assert device.region(region.instance).used >= region.used + buffer.size // 2
    buffer.munmap()
    wait_until(lambda: device.region(region.instance).used <= region.used + SZ_2M, what="the release of VRAM")


@behaviour("migrate.vram-full", "evict.svm-by-svm", "migrate.oversubscribe", "evict.refault-returns")
@acts("load", "store")
@disturbs("it fills the VRAM")
@pytest.mark.timeout(120)
def test_more_memory_than_vram_is_usable(
    queue: Queue, device: Device, memory: Memory, sentinel: Sentinel
) -> None:
    """The GPU works on 1.5 times as much memory as there is VRAM: all of it keeps its data."""
    size = device.region(device.vram[0]).total_size * 3 // 2 // SZ_2M * SZ_2M
    if size > SZ_1G:
        untested("MACHINE:memory", f"it takes {size >> 20} MiB of memory: more than a test should")
    buffer = memory(size, align=SZ_2M, populate=False)
    values = {offset: sentinel() for offset in range(0, size, SZ_2M)}
    for offset, value in values.items():
        queue.store(buffer.address + offset, value)
    for offset in list(values)[::7]:
        gpu_sees(queue, buffer.address + offset, values[offset])
    for offset, value in values.items():
        landed(buffer, offset, value)


@behaviour("migrate.large-copy", "migrate.copy-kb-exact")
@acts("load")
@needs("svm-counters")
@pytest.mark.parametrize(("size", "name"), [(PAGE, "4K"), (SZ_64K, "64K"), (SZ_2M, "2M")], ids=str)
def test_range_is_copied_as_one_piece(
    queue: Queue, mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters, size: int, name: str
) -> None:
    """A range is copied to VRAM, and back, as one piece."""
    region = mirror_vm.device.region(mirror_vm.device.vram[0])
    buffer, value = memory(size, align=size, fill=b"\x33"), sentinel()
    if size < region.min_page_size:
        untested("DEVICE:need64k", "VRAM has larger pages than the range")
    buffer.set_u32(0, value)
    before = counters.snapshot()
    mirror_vm.prefetch(buffer.address, size, region.instance)
    assert counters.by_size("device_copy_kb", since=before) == {name: size >> 10}
    gpu_sees(queue, buffer.address, value)
    before = counters.snapshot()
    assert buffer.u32(0) == value
    assert counters.by_size("cpu_copy_kb", since=before) == {name: size >> 10}


@behaviour("migrate.large-copy", "prefetch.to-vram", "migrate.copy-kb-exact", "obs.svm-pagefault-count")
@acts("load")
@needs("svm-counters")
def test_prefetch_to_vram_avoids_gpu_fault(
    queue: Queue, mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """PREFETCH to VRAM migrates and maps the memory: a GPU access then does not fault."""
    buffer, value = memory(2 * SZ_2M, align=SZ_2M, fill=b"\x33"), sentinel()
    buffer.set_u32(SZ_2M, value)
    queue.run(Batch().noop())
    before = counters.snapshot()
    mirror_vm.prefetch(buffer.address, buffer.size, mirror_vm.device.vram[0])
    with driver_only("migrate.copy-kb-exact"):
        counters.rose("svm_device_copy_kb", since=before, by=2 * SZ_2M >> 10)
    assert not buffer.present()
    assert not buffer.present(SZ_2M)
    moved = counters.snapshot()
    gpu_sees(queue, buffer.address + SZ_2M, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.still("svm_pagefault_count", since=moved)
