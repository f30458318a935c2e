# SPDX-License-Identifier: MIT
"""Life cycle of ranges: reused, never split, all pages of one in one place (drm_gpusvm.c, xe_svm.c)."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import (
    acts,
    behaviour,
    driver_only,
    each_size,
    gpu_fault,
    gpu_finds,
    gpu_sees,
    intervals,
    kinds,
    landed,
    needs,
)
from fixtures.counting import count
from fixtures.given import MakeVm, Memory, OpenDevice, Sentinel
from fixtures.intervals import Interval, Relation
from fixtures.memory import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PAGE, PROT_NONE, READ_WRITE
from fixtures.memory import mmap as map_memory
from fixtures.overlap import meanwhile
from fixtures.process import in_children
from fixtures.sizes import SZ_1M, SZ_2M, SZ_16K, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe
from suites.range.conftest import Cut

pytestmark = needs("page-faults")


def unmap(part: Interval) -> None:
    """munmap(2) a part, and keep its place: memory that something else maps there would join what is left."""
    map_memory(part.start, part.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)


@behaviour("range.reuse")
@acts("fault", "store")
@needs("debugfs")
def test_invalidated_range_is_used_again(queue: Queue, memory: Memory, cut: Cut, sentinel: Sentinel) -> None:
    """A range that lost its pages is reused as it is, even if a new one would be larger."""
    buffer = memory(SZ_2M, align=SZ_2M)
    buffer.mprotect(PROT_NONE, PAGE, SZ_2M - PAGE)
    assert cut(queue, buffer.address) == "4K"
    buffer.mprotect(READ_WRITE)
    buffer.madvise(mmap.MADV_DONTNEED, 0, PAGE)
    buffer.set_u32(0, sentinel())
    assert cut(queue, buffer.address + 8) == "4K"
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("range.reuse")
@acts("fault", "store")
@needs("debugfs")
def test_range_survives_split_of_cpu_vma(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """A 2 MiB range stays one range when its CPU VMA is split in two, and covers both."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    queue.store(buffer.address, sentinel())
    buffer.madvise(mmap.MADV_DONTFORK, SZ_1M, SZ_1M)
    buffer.madvise(mmap.MADV_DONTNEED, 0, PAGE)
    before = counters.snapshot()
    queue.store(buffer.address + 4, sentinel())
    assert set(counters.by_size("pagefault_count", since=before)) == {"2M"}
    before = counters.snapshot()
    queue.store(buffer.address + SZ_2M - 4, value)
    assert counters.by_size("pagefault_count", since=before) == {}
    landed(buffer, SZ_2M - 4, value)


@behaviour("range.no-split")
@acts("fault", "load", "refusal")
@needs("debugfs")
@intervals.relations(intervals.LEFT, intervals.RIGHT, intervals.MIDDLE)
def test_partial_munmap_ends_whole_range(
    queue: Queue, memory: Memory, cut: Cut, sentinel: Sentinel, relation: Relation
) -> None:
    """munmap(2) of a part removes the whole range: new ranges fit the new bounds, and the data is intact."""
    buffer = memory(SZ_2M, align=SZ_2M)
    whole = intervals.of(buffer)
    gone = relation.to(whole)
    values = {buffer.address + offset: sentinel() for offset in range(0, SZ_2M, SZ_2M // 8)}
    for address, value in values.items():
        buffer.set_u32(address - buffer.address, value)
    assert cut(queue, buffer.address + 4) == "2M"
    unmap(gone)
    for part in whole.minus(gone):
        assert cut(queue, part.start + 8) == "64K"
        assert cut(queue, part.end - 4) == "64K"
        inside = {a: value for a, value in values.items() if part.start <= a < part.end}
        gpu_finds(queue, inside)
    with gpu_fault(queue):
        queue.load(gone.start)


@behaviour("range.no-split")
@acts("store")
@intervals.each_piece
@intervals.each_relation
def test_rest_after_munmap_is_usable(
    queue: Queue, memory: Memory, sentinel: Sentinel, piece: int, relation: Relation
) -> None:
    """After munmap of any part of a mapping in use, the GPU can read and write what is left."""
    buffer = memory(intervals.ROOM * piece, align=SZ_2M)
    mapping = intervals.middle(buffer)
    gone = relation.to(mapping)
    values = {part.start: sentinel() for part in mapping.pieces(piece)}
    queue.store_all(values)
    unmap(gone)
    left = [part for rest in mapping.minus(gone) for part in rest.pieces(piece)]
    gpu_finds(queue, {part.start: values[part.start] for part in left})
    again = {part.end - 4: sentinel() for part in left}
    fresh, value = memory(PAGE), sentinel()  # where all is gone, this is what is left
    queue.store_all(again | {fresh.address: value})
    for address, stored in again.items():
        landed(buffer, address - buffer.address, stored)
    landed(fresh, 0, value)


@behaviour("range.no-split")
@acts("load", "store")
@kinds.kinds([kind for kind in kinds.KINDS if kind is not kinds.ANONYMOUS])
@intervals.relations(*intervals.CUTTING)
def test_rest_after_munmap_of_any_memory_is_usable(
    queue: Queue, memory: Memory, sentinel: Sentinel, kind: kinds.Kind, relation: Relation
) -> None:
    """After munmap of part of any kind of memory in use, what is left keeps its data and can be stored to."""
    buffer = memory(intervals.ROOM * kind.piece, align=SZ_2M, kind=kind)
    mapping = intervals.middle(buffer)
    gone = relation.to(mapping)
    values = {part.start: sentinel() for part in mapping.pieces(kind.piece)}
    queue.store_all(values)
    unmap(gone)
    left = [part for rest in mapping.minus(gone) for part in rest.pieces(kind.piece)]
    gpu_finds(queue, {part.start: values[part.start] for part in left})
    again = {part.end - 4: sentinel() for part in left}
    queue.store_all(again)
    for address, stored in again.items():
        landed(buffer, address - buffer.address, stored)


@behaviour("range.valid-definition")
@acts("fault", "load")
@needs("debugfs")
def test_invalidated_range_is_not_valid(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """A fault on an invalidated range gets its pages again and does not count as valid."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    queue.store(buffer.address, sentinel())
    buffer.madvise(mmap.MADV_DONTNEED)
    buffer.set_u32(PAGE, value)
    before = counters.snapshot()
    gpu_sees(queue, buffer.address + PAGE, value)
    assert counters.by_size("pagefault_count", since=before) == {"2M": 1}
    assert counters.by_size("valid_pagefault_count", since=before) == {}


@behaviour("range.valid-definition")
@acts("migrate", "load")
@needs("vram", "svm-counters", "svm-vram")
def test_range_in_wrong_place_is_not_valid(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """When MADVISE sets VRAM for a range in use in system memory, the next fault migrates it."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    buffer.set_u32(0, value)
    place = {"type": PREFERRED_LOC}
    system, default = (
        fd & 0xFFFF_FFFF
        for fd in (xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM, xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE)
    )
    mirror_vm.madvise(buffer.address, SZ_2M, **place, devmem_fd=system)
    queue = mirror_vm.queue()
    gpu_sees(queue, buffer.address, value)
    assert buffer.present()
    mirror_vm.madvise(buffer.address, SZ_2M, **place, devmem_fd=default)
    before = counters.snapshot()
    gpu_sees(queue, buffer.address, value)
    assert counters.by_size("valid_pagefault_count", since=before) == {}
    assert counters.by_size("migrate_count", since=before) == {"2M": 1}
    assert not buffer.present()


@behaviour("range.outside-svm-window")
@acts("refusal", "store")
def test_access_outside_svm_window_faults(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """Beyond the process's address space a GPU access through a mirror fails, and bans its queue only."""
    top = min(mirror_vm.size, 1 << 48)
    for address in top // 2, top - PAGE:
        with gpu_fault(mirror_vm.queue()) as queue:
            queue.store(address, sentinel())
    buffer, value = memory(PAGE), sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("range.no-mixed-svm", "obs.size-class-counters")
@acts("fault", "load", "store")
@needs("vram", "svm-counters", "cpu-addr-mirror", "svm-vram")
@pytest.mark.parametrize("part", ["first", "last", "both-ends", "every-other"])
def test_mixed_range_is_gathered_in_one_place(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, cut: Cut, counters: Counters, part: str
) -> None:
    """A range of which another VM migrated a part to VRAM is gathered in one place, with its data."""
    pieces = {"first": [0], "last": [31], "both-ends": [0, 31], "every-other": list(range(0, 32, 2))}[part]
    buffer = memory(SZ_2M, align=SZ_2M)
    values = {offset: sentinel() for offset in range(0, SZ_2M, SZ_64K)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    for piece in pieces:
        small = make_vm(FAULTING)
        small.mirror(buffer.address + piece * SZ_64K, SZ_64K)
        gpu_sees(small.queue(), buffer.address + piece * SZ_64K, values[piece * SZ_64K])
        assert not buffer.present(piece * SZ_64K)
        small.close()
    whole = make_vm(FAULTING)
    whole.mirror()
    queue = whole.queue()
    before = counters.snapshot()
    gpu_sees(queue, buffer.address + SZ_1M, values[SZ_1M])
    with driver_only("obs.size-class-counters"):
        assert set(counters.by_size("pagefault_count", since=before)) == {"2M"}
    assert len({buffer.present(offset) for offset in range(0, SZ_2M, PAGE)}) == 1
    gpu_finds(queue, {buffer.address + offset: value for offset, value in values.items()})
    value = sentinel()
    queue.store(buffer.address + pieces[0] * SZ_64K + 4, value)
    landed(buffer, pieces[0] * SZ_64K + 4, value)


@behaviour("range.one-pagemap")
@acts("load", "store")
@needs("two-devices", "vram")
@pytest.mark.parametrize("last", [0, 1], ids=["the-first", "the-second"])
def test_range_on_two_devices_is_gathered_on_one(
    devices: list[Device], make_vm: MakeVm, memory: Memory, sentinel: Sentinel, last: int
) -> None:
    """A range with pages in two devices is gathered in the one that uses it, with its data."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values = {offset: sentinel() for offset in range(0, SZ_2M, SZ_64K)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    for piece, device in enumerate((*devices[:2], *devices[:2])):
        small = make_vm(FAULTING, device)
        small.mirror(buffer.address + 3 * piece * SZ_64K, SZ_64K)
        gpu_sees(small.queue(), buffer.address + 3 * piece * SZ_64K, values[3 * piece * SZ_64K])
        assert not buffer.present(3 * piece * SZ_64K)
    whole = make_vm(FAULTING, devices[last])
    whole.mirror()
    queue = whole.queue()
    gpu_finds(queue, {buffer.address + offset: value for offset, value in values.items()})
    for offset in 0, 3 * SZ_64K, SZ_2M - SZ_64K:
        value = sentinel()
        queue.store(buffer.address + offset + 4, value)
        landed(buffer, offset + 4, value)
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("range.small-malloc")
@acts("load", "store")
@needs("vram", "cpu-addr-mirror")
def test_small_mallocs_of_processes_do_not_mix(open_device: OpenDevice, sentinel: Sentinel) -> None:
    """16 KiB blocks of many processes, used by the GPU concurrently, keep the data of their own process."""
    marks, size = [sentinel() for _ in range(3)], SZ_16K

    def wrong_in(mark: int) -> list[str]:
        """Contents of a process's blocks that neither it nor the GPU on its behalf stored there."""
        vm = Vm(open_device(), FAULTING)
        vm.mirror()
        queue, wrong = vm.queue(), []
        blocks = [(ctypes.c_uint32 * (size // 4))(*[mark] * (size // 4)) for _ in range(8)]
        for number, block in enumerate(blocks):
            if (seen := queue.load(ctypes.addressof(block) + 64)) != mark:
                wrong.append(f"the GPU sees {seen:#x} in block {number} of the process with {mark:#x}")
        queue.store_all({ctypes.addressof(block) + 128: mark ^ 1 << n for n, block in enumerate(blocks)})
        for number, block in enumerate(blocks):
            expected = [mark] * (size // 4)
            expected[32] ^= 1 << number
            if list(block) != expected:
                wrong.append(f"block {number} of the process with {mark:#x} has other words")
        return wrong

    for ended in in_children([functools.partial(wrong_in, mark) for mark in marks]):
        assert not ended.error, ended.error
        assert ended.result == []
    count("load")
    count("store")


@behaviour("range.unmapped-flag-blocks-pages", "fault.bind-race-retry", "fault.collect-error-retry")
@acts("exec", "store")
@pytest.mark.parametrize("size", [PAGE, SZ_2M], ids=["4K", "2M"])
def test_fault_racing_with_munmap_avoids_old_pages(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """While the process replaces the pages of a range, GPU stores hit old or new pages, never others."""
    buffer, untouched = memory(size, align=size, fill=b"\x11"), memory(size, align=size, fill=b"\x22")
    for _ in range(4):
        value = sentinel()
        job = queue.start(Batch().store_dword(buffer.address + size - 4, value))
        buffer.remap_fresh()
        job.wait()
        assert buffer.u32(size - 4) in (0, value)
        buffer.set_u32(size - 4, 0)
        assert buffer.bytes() == bytes(size)
        value = sentinel()
        queue.store(buffer.address + size - 4, value)
        landed(buffer, size - 4, value)
    assert untouched.bytes() == b"\x22" * size


@behaviour("range.collect-timeout", "fault.collect-error-retry", "fault.bind-race-retry")
@acts("exec", "store", "overlap")
@pytest.mark.parametrize("size", [PAGE, SZ_2M], ids=["4K", "2M"])
def test_access_completes_when_invalidation_stops(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """A GPU access to memory that a thread keeps discarding completes, at the latest when the thread stops."""
    buffer, value = memory(size, align=size), sentinel()
    with meanwhile(lambda _: buffer.madvise(mmap.MADV_DONTNEED), each=25):
        jobs = [queue.start(Batch().store_dword(buffer.address + 4 * slot, sentinel())) for slot in range(4)]
        for job in jobs:
            job.wait()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("range.dirty-accessed")
@acts("store")
@kinds.kinds([kinds.SHARED, kinds.FILE_SHARED])
def test_gpu_stores_survive_new_page_tables(
    queue: Queue, memory: Memory, sentinel: Sentinel, kind: kinds.Kind
) -> None:
    """GPU stores to shared memory survive the removal and refault of its page-table entries."""
    buffer = memory(SZ_64K, kind=kind)
    for _ in range(2):
        value = sentinel()
        queue.store(buffer.address + PAGE, value)
        buffer.madvise(mmap.MADV_DONTNEED)
        landed(buffer, PAGE, value)


@behaviour("range.dirty-accessed")
@acts("store")
def test_gpu_stores_are_written_back_to_file(
    queue: Queue, memory: Memory, sentinel: Sentinel, tmp_path: Path
) -> None:
    """GPU stores to a shared file mapping reach the file, before and after a first write-back."""
    path = tmp_path / "data"
    path.write_bytes(bytes(SZ_64K))
    with path.open("r+b") as file:
        buffer = memory(SZ_64K, shared=True, fd=file.fileno())
        for offset in PAGE, PAGE + 4, PAGE:
            value = sentinel()
            queue.store(buffer.address + offset, value)
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert path.read_bytes()[offset : offset + 4] == value.to_bytes(4, "little")
            landed(buffer, offset, value)


@behaviour("range.dirty-accessed", "fault.swapped-out")
@acts("store", "load")
@needs("swap")
@each_size
def test_gpu_stores_survive_swap(queue: Queue, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """GPU stores to memory that is then swapped out are seen by GPU and CPU later."""
    buffer, values = memory(size, align=size), {offset: sentinel() for offset in (0, size - 4)}
    for offset, value in values.items():
        queue.store(buffer.address + offset, value)
    looks: tuple[Callable[[int, int], None], ...] = (
        lambda offset, value: gpu_sees(queue, buffer.address + offset, value),
        lambda offset, value: landed(buffer, offset, value),
    )
    for look in looks:
        buffer.bytes()  # only from system memory can pages be swapped out
        buffer.swap_out()
        for offset, value in values.items():
            look(offset, value)
