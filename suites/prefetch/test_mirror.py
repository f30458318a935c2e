# SPDX-License-Identifier: MIT
"""PREFETCH of mirrored memory (xe_vm.c: prefetch_ranges)."""

from __future__ import annotations

import errno
import mmap
import os

import pytest

from fixtures import acts, behaviour, driver_only, each_home, gpu_fault, gpu_sees, landed, needs, refused
from fixtures.choices import chose
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, Buffer, in_each_chunk, numbered
from fixtures.overlap import meanwhile
from fixtures.sizes import SZ_2M
from fixtures.xe.counters import Counters
from fixtures.xe.flags import ATOMIC, CONSULT, PREFERRED_LOC, PREFETCH, READONLY
from fixtures.xe.queue import Queue
from fixtures.xe.sync import UserFence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

SYSTEM = 0

pytestmark = needs("page-faults")


def marked(buffer: Buffer, sentinel: Sentinel) -> dict[int, int]:
    """``numbered`` at each place of ``in_each_chunk``."""
    return numbered(buffer, sentinel, in_each_chunk(buffer))


def places(vm: Vm) -> list[int]:
    """The regions that memory can be in: system memory, and the device's own."""
    return [SYSTEM, *vm.device.vram]


def is_there(buffer: Buffer, region: int) -> bool:
    """Whether every page of a buffer is in system memory (region SYSTEM) or in VRAM."""
    present = {buffer.present(offset) for offset in range(0, buffer.size, PAGE)}
    return present == {region == SYSTEM}


@pytest.fixture
def ready(queue: Queue) -> Queue:
    """A queue that has run: what it needs for itself is there."""
    queue.run(Batch().noop())
    return queue


@behaviour("prefetch.to-system", "prefetch.ufence", "obs.svm-pagefault-count")
@acts("load")
@needs("debugfs")
@pytest.mark.parametrize("first", ["cpu", "gpu"])
def test_prefetch_to_sysmem_maps_memory(
    mirror_vm: Vm, ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, first: str
) -> None:
    """PREFETCH to system memory moves memory there, wherever it was, and maps it: GPU accesses do not fault."""
    buffer = memory(2 * SZ_2M, align=SZ_2M)
    values = marked(buffer, sentinel)
    if first == "gpu":
        for start in range(0, buffer.size, SZ_2M):
            ready.store(buffer.address + start + PAGE, sentinel())
    mirror_vm.prefetch(buffer.address, buffer.size, SYSTEM)
    assert is_there(buffer, SYSTEM)
    before = counters.snapshot()
    for offset, value in values.items():
        gpu_sees(ready, buffer.address + offset, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.still("svm_pagefault_count", since=before)


@behaviour("prefetch.wrong-location-moves", "prefetch.to-vram", "prefetch.to-system")
@acts("load", "store")
@needs("vram", "svm-vram")
def test_prefetch_moves_valid_range_to_other_region(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """PREFETCH to one region after the other moves the memory each time, even if the GPU has it mapped."""
    buffer = memory(SZ_2M, align=SZ_2M)
    for region in (*mirror_vm.device.vram, SYSTEM, *mirror_vm.device.vram[::-1], SYSTEM):
        values = marked(buffer, sentinel)
        mirror_vm.prefetch(buffer.address, SZ_2M, region)
        assert is_there(buffer, region)
        for offset, value in values.items():
            gpu_sees(queue, buffer.address + offset, value)
        value = sentinel()
        queue.store(buffer.address + PAGE, value)
        assert is_there(buffer, region)
        landed(buffer, PAGE, value)


@behaviour("prefetch.valid-skipped")
@acts("load")
@needs("svm-counters")
@each_home
def test_second_prefetch_does_nothing(
    mirror_vm: Vm, ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, home: str
) -> None:
    """Repeating a PREFETCH copies nothing and removes no mapping, in each region."""
    buffer = memory(SZ_2M, align=SZ_2M)
    for region in places(mirror_vm) if home == "vram" else [SYSTEM]:
        values = marked(buffer, sentinel)
        mirror_vm.prefetch(buffer.address, SZ_2M, region)
        before = counters.snapshot()
        mirror_vm.prefetch(buffer.address, SZ_2M, region)
        assert is_there(buffer, region)
        for offset, value in values.items():
            gpu_sees(ready, buffer.address + offset, value)
        for name in ("svm_device_copy_kb", "svm_cpu_copy_kb", "svm_pagefault_count", "svm_tlb_inval_count"):
            counters.still(name, since=before)


ADVICE = {
    "none": None,
    "system": xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM,
    "device": xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE,
}


@behaviour("prefetch.consult")
@acts("load")
@each_home
@pytest.mark.parametrize("advice", ADVICE)
def test_prefetch_to_region_minus_1_consults_madvise(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel, advice: str, home: str
) -> None:
    """PREFETCH to region -1 uses the VMA's preferred location: by default VRAM of the first tile, if possible."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values, location = marked(buffer, sentinel), ADVICE[advice]
    if location is not None:
        mirror_vm.madvise(
            buffer.address,
            SZ_2M,
            PREFERRED_LOC,
            devmem_fd=location & 0xFFFF_FFFF,
            migration_policy=xe.DRM_XE_MIGRATE_ALL_PAGES,
        )
    mirror_vm.prefetch(buffer.address, SZ_2M, CONSULT)
    there = mirror_vm.device.vram[0] if home == "vram" and advice != "system" else SYSTEM
    assert is_there(buffer, there)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)


@behaviour("prefetch.all-tiles")
@acts("load")
@needs("multi-tile", "debugfs")
def test_prefetch_maps_for_every_tile(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """After PREFETCH to any region no engine of any tile faults on the memory."""
    buffer = memory(SZ_2M, align=SZ_2M)
    engines: dict[int, xe.drm_xe_engine_class_instance] = {}
    for engine in mirror_vm.device.known_engines:
        engines.setdefault(engine.gt_id, engine)
    queues = [mirror_vm.queue(engine) for engine in engines.values()]
    for queue in queues:
        queue.run(Batch().noop())
    for region in places(mirror_vm):
        values = marked(buffer, sentinel)
        mirror_vm.prefetch(buffer.address, SZ_2M, region)
        before = counters.snapshot()
        for queue in queues:
            for offset, value in values.items():
                gpu_sees(queue, buffer.address + offset, value)
        counters.still("svm_pagefault_count", since=before)


@behaviour("prefetch.holes-skipped")
@acts("load")
@needs("debugfs")
def test_prefetch_skips_holes(
    mirror_vm: Vm, ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """PREFETCH over memory with holes maps the memory on both sides of each."""
    buffer = memory(6 * SZ_2M, align=SZ_2M)
    values = marked(buffer, sentinel)
    for hole in (0, 2, 3):
        buffer.munmap(hole * SZ_2M, SZ_2M)
    for region in places(mirror_vm):
        mirror_vm.prefetch(buffer.address, buffer.size, region)
        before = counters.snapshot()
        for offset, value in values.items():
            if offset // SZ_2M in (1, 4, 5):
                gpu_sees(ready, buffer.address + offset, value)
        counters.still("svm_pagefault_count", since=before)


@behaviour("prefetch.all-hole")
@acts("ioctl", "load")
def test_prefetch_without_cpu_vma_succeeds(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """PREFETCH of addresses without memory succeeds and signals; memory mapped there later is used."""
    buffer = memory(SZ_2M, align=SZ_2M)
    buffer.munmap()
    for region in places(mirror_vm):
        mirror_vm.prefetch(buffer.address, SZ_2M, region)
    again, value = memory(SZ_2M, address=buffer.address), sentinel()
    again.set_u32(PAGE, value)
    gpu_sees(queue, again.address + PAGE, value)


@behaviour("prefetch.no-vma")
@acts("ioctl")
def test_prefetch_of_unbound_addresses_succeeds(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """PREFETCH of unbound addresses succeeds, signals its fence, and moves nothing."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values = marked(buffer, sentinel)
    for region in places(fault_vm):
        fault_vm.prefetch(buffer.address, SZ_2M, region)
        assert is_there(buffer, SYSTEM)
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("prefetch.partial-range")
@acts("load", "fault")
@needs("debugfs")
@each_home
@pytest.mark.parametrize(
    ("start", "end"),
    [(0, SZ_2M), (SZ_2M + PAGE, 2 * SZ_2M - PAGE), (2 * SZ_2M, 2 * SZ_2M + PAGE), (SZ_2M, 3 * SZ_2M)],
    ids=["first", "inside", "page", "two"],
)
def test_partial_prefetch_takes_only_its_ranges(
    mirror_vm: Vm,
    ready: Queue,
    memory: Memory,
    sentinel: Sentinel,
    counters: Counters,
    start: int,
    end: int,
    home: str,
) -> None:
    """PREFETCH of a part maps the ranges that the part is in, and not those next to them."""
    buffer = memory(4 * SZ_2M, align=SZ_2M)
    values = marked(buffer, sentinel)
    region = places(mirror_vm)[-1] if home == "vram" else SYSTEM
    mirror_vm.prefetch(buffer.address + start, end - start, region)
    for offset, value in values.items():
        before = counters.snapshot()
        asked = start // SZ_2M <= offset // SZ_2M <= (end - 1) // SZ_2M
        if offset % SZ_2M == 0:
            assert buffer.present(offset) == (region == SYSTEM or not asked)
        gpu_sees(ready, buffer.address + offset, value)
        if asked or offset % SZ_2M:
            counters.still("svm_pagefault_count", since=before)
        else:
            counters.rose("svm_pagefault_count", since=before)


@behaviour("prefetch.best-effort", "prefetch.ufence")
@acts("load", "store")
@needs("vram")
def test_prefetch_of_nonmigratable_range_succeeds(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """PREFETCH of a range that cannot migrate, as it spans two CPU VMAs now, succeeds and signals; accesses work."""
    buffer = memory(SZ_2M, align=SZ_2M)
    queue.store(buffer.address, sentinel())
    values = marked(buffer, sentinel)
    buffer.madvise(mmap.MADV_DONTFORK, SZ_2M // 2, SZ_2M // 2)
    mirror_vm.prefetch(buffer.address, SZ_2M, mirror_vm.device.vram[0])
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    value = sentinel()
    queue.store(buffer.address + SZ_2M - PAGE, value)
    landed(buffer, SZ_2M - PAGE, value)


@behaviour("prefetch.perm-error")
@acts("refusal", "load")
def test_prefetch_of_prot_read_memory_is_eperm(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """PREFETCH of PROT_READ memory through a writable mirror gives EPERM, to any region, and moves nothing."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values = marked(buffer, sentinel)
    buffer.mprotect(PROT_READ)
    for region in (*places(mirror_vm), CONSULT):
        with refused(errno.EPERM):
            mirror_vm.bind(PREFETCH, addr=buffer.address, range=SZ_2M, region=region)
        assert is_there(buffer, SYSTEM)
    buffer.mprotect(PROT_READ | mmap.PROT_WRITE)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)


@behaviour("prefetch.io-memory")
@acts("refusal")
def test_prefetch_of_io_memory_is_eio(mirror_vm: Vm, bo: MakeBo) -> None:
    """PREFETCH of the CPU mapping of a BO, which is I/O memory, through a mirror gives EIO."""
    mapped = bo(SZ_2M).map()
    for region in places(mirror_vm):
        with refused(errno.EIO):
            mirror_vm.bind(PREFETCH, addr=mapped.address, range=PAGE, region=region)


@behaviour("prefetch.readonly", "obs.svm-pagefault-count")
@acts("load")
@needs("debugfs", "cpu-addr-mirror")
def test_prefetch_through_readonly_mirror(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """PREFETCH of PROT_READ memory through a READONLY mirror maps it: loads do not fault."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values = marked(buffer, sentinel)
    buffer.mprotect(PROT_READ)
    fault_vm.mirror(buffer.address, SZ_2M, READONLY)
    queue = fault_vm.queue()
    queue.run(Batch().noop())
    fault_vm.prefetch(buffer.address, SZ_2M, SYSTEM)
    before = counters.snapshot()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.still("svm_pagefault_count", since=before)


@behaviour("prefetch.readonly", "fault.gpu-readonly-write")
@acts("refusal")
@needs("cpu-addr-mirror")
def test_store_after_readonly_prefetch_faults(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A store to memory that was prefetched through a READONLY mirror fails, although the memory is writable."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values = marked(buffer, sentinel)
    fault_vm.mirror(buffer.address, SZ_2M, READONLY)
    fault_vm.prefetch(buffer.address, SZ_2M, SYSTEM)
    with gpu_fault(fault_vm.queue()) as queue:
        queue.store(buffer.address, sentinel())
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("prefetch.file-backed", "obs.svm-pagefault-count")
@acts("load", "store")
@needs("svm-counters")
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "private"])
def test_prefetch_of_file_memory_maps_in_place(
    mirror_vm: Vm, ready: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, shared: bool
) -> None:
    """PREFETCH of file memory to any region succeeds and moves nothing; GPU accesses do not fault."""
    fd = os.memfd_create("svm-cts")
    try:
        os.ftruncate(fd, SZ_2M)
        buffer = memory(SZ_2M, align=SZ_2M, shared=shared, fd=fd)
    finally:
        os.close(fd)
    values = marked(buffer, sentinel)
    for region in places(mirror_vm):
        before = counters.snapshot()
        mirror_vm.prefetch(buffer.address, SZ_2M, region)
        for name in ("svm_device_copy_kb", "svm_cpu_copy_kb"):
            with driver_only("obs.svm-pagefault-count"):
                counters.still(name, since=before)
        for offset, value in values.items():
            gpu_sees(ready, buffer.address + offset, value)
        with driver_only("obs.svm-pagefault-count"):
            counters.still("svm_pagefault_count", since=before)
    value = sentinel()
    ready.store(buffer.address + PAGE, value)
    landed(buffer, PAGE, value)


@behaviour("prefetch.multi-vma")
@acts("load")
@needs("debugfs")
@pytest.mark.parametrize("between", ["mirror", "bo"])
def test_prefetch_over_several_vmas(
    mirror_vm: Vm,
    ready: Queue,
    memory: Memory,
    bo: MakeBo,
    sentinel: Sentinel,
    counters: Counters,
    between: str,
) -> None:
    """PREFETCH over VMAs with different attributes, and a BO between them, does the right thing for each."""
    buffer, region = memory(3 * SZ_2M, align=SZ_2M), places(mirror_vm)[-1]
    values = marked(buffer, sentinel)
    if between == "mirror":
        mirror_vm.madvise(buffer.address + SZ_2M, SZ_2M, ATOMIC, val=xe.DRM_XE_ATOMIC_GLOBAL)
    else:
        placement = 1 << region | 1
        inside = bo(SZ_2M, placement=placement)
        mapped = inside.map()
        for offset in range(SZ_2M, 2 * SZ_2M, SZ_2M // 2):
            mapped.set_u32(offset - SZ_2M, values[offset])
        mapped.set_u32(SZ_2M - 4, values[2 * SZ_2M - 4])
        mirror_vm.map(inside, buffer.address + SZ_2M)
    mirror_vm.prefetch(buffer.address, buffer.size, region)
    served = []
    for start in range(0, buffer.size, SZ_2M):
        before = counters.snapshot()
        for offset in (start, start + SZ_2M // 2, start + SZ_2M - 4):
            gpu_sees(ready, buffer.address + offset, values[offset])
        now = counters.snapshot()
        served.append(now["svm_pagefault_count"] == before["svm_pagefault_count"])
    chose(f"areas that PREFETCH served: {''.join('01'[done] for done in served)}")


@behaviour("prefetch.multi-vma")
@acts("load")
@needs("svm-vram")
@pytest.mark.parametrize("at", [0, 1, 3, 4], ids=["first", "second", "fourth", "last"])
def test_prefetch_over_bo_may_move_what_is_behind(
    mirror_vm: Vm, queue: Queue, memory: Memory, bo: MakeBo, sentinel: Sentinel, at: int
) -> None:
    """PREFETCH over an object among mirrors moves what is before it, perhaps what is behind it, and keeps all data."""
    buffer, region = memory(5 * SZ_2M, align=SZ_2M), mirror_vm.device.vram[0]
    values, inside = marked(buffer, sentinel), bo(SZ_2M, placement=1 << region | 1)
    mapped = inside.map()
    for offset in (0, SZ_2M // 2, SZ_2M - 4):
        mapped.set_u32(offset, values[at * SZ_2M + offset])
    mirror_vm.map(inside, buffer.address + at * SZ_2M)
    mirror_vm.prefetch(buffer.address, buffer.size, region)
    present = [buffer.present(index * SZ_2M + SZ_2M // 2) for index in range(5)]
    assert present[at]  # the process's own memory under the object stays where it is
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    assert not any(present[:at])
    left = [index for index in range(at + 1, 5) if present[index]]
    chose(f"mirrors behind a bo that PREFETCH moved: {4 - at - len(left)} of {4 - at}")


@behaviour("prefetch.race-munmap")
@acts("load", "store", "overlap")
@needs("device-pages")
@pytest.mark.timeout(60)
def test_prefetch_races_with_munmap(mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """PREFETCH while the memory is replaced succeeds or has to be restarted; the GPU then sees the new memory."""
    buffer, regions = memory(2 * SZ_2M, align=SZ_2M), places(mirror_vm)

    def prefetch(turn: int) -> None:
        try:
            mirror_vm.prefetch(buffer.address, buffer.size, regions[turn % len(regions)])
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EINTR, errno.EFAULT):
                raise

    gpu_sees(queue, buffer.address, 0)  # the queue's own bind is over, which may not meet another's
    with meanwhile(prefetch):
        for turn in range(20):
            part = (turn % 4) * (SZ_2M // 2)
            buffer.remap_fresh(part, SZ_2M // 2)
            value = sentinel()
            buffer.set_u32(part, value)
            gpu_sees(queue, buffer.address + part, value)
            gpu_sees(queue, buffer.address + part + SZ_2M // 4, 0)
            value = sentinel()
            queue.store(buffer.address + part + 8, value)
            landed(buffer, part + 8, value)


@behaviour("prefetch.ufence")
@acts("load")
@needs("vram", "svm-vram")
def test_prefetch_fence_signals_when_memory_is_there(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """When the user fence of a PREFETCH is signalled, the memory is in place."""
    buffer, fence = memory(SZ_2M, align=SZ_2M), UserFence(mirror_vm.device)
    values = marked(buffer, sentinel)
    mirror_vm.bind(
        PREFETCH, addr=buffer.address, range=SZ_2M, region=mirror_vm.device.vram[0], syncs=[fence.sync()]
    )
    fence.wait()
    assert is_there(buffer, mirror_vm.device.vram[0])
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
