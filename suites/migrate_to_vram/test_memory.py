# SPDX-License-Identifier: MIT
"""Migration of small ranges and huge pages to VRAM, and what the rest of the kernel sees of it (drm_pagemap.c)."""

from __future__ import annotations

import contextlib
import functools
import mmap
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, returned, untested, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, OpenDevice, Sentinel
from fixtures.kinds import THP, huge_bytes
from fixtures.memory import MREMAP_FIXED, MREMAP_MAYMOVE, PAGE, Buffer, mremap, munmap
from fixtures.overlap import together
from fixtures.pci import Slot
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm

pytestmark = needs("page-faults", "vram", "svm-vram")


def resident(buffer: Buffer) -> int:
    """Bytes of a mapping that count as resident (/proc/self/smaps)."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.startswith(f"{buffer.address:x}-"):
            return next(int(rest.split()[1]) << 10 for rest in lines if rest.startswith("Rss:"))
    raise AssertionError(f"{buffer!r} is not a mapping of the process")


def in_vram(buffer: Buffer) -> bool:
    """Whether no page of a buffer is in system memory."""
    return not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))


@behaviour("migrate.4k-need64k")
@acts("load", "store", "fault")
@needs("need64k", "debugfs")
def test_4k_range_stays_in_sysmem_with_64k_vram_pages(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """If VRAM has 64 KiB pages, 4 KiB ranges stay in system memory: no migration is attempted."""
    buffer, values, before = memory(PAGE), (sentinel(), sentinel()), counters.snapshot()
    buffer.set_u32(0, values[0])
    gpu_sees(queue, buffer.address, values[0])
    counters.rose("svm_4K_pagefault_count", since=before)
    counters.still("svm_4K_migrate_count", since=before)
    assert buffer.present()
    queue.store(buffer.address + 8, values[1])
    landed(buffer, 8, values[1])


@behaviour("migrate.64k-allowed")
@acts("load", "migrate")
@needs("need64k", "debugfs")
def test_64k_range_migrates_with_64k_vram_pages(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """If VRAM has 64 KiB pages, 64 KiB ranges migrate to VRAM."""
    buffer, value, before = memory(SZ_64K, align=SZ_64K), sentinel(), counters.snapshot()
    buffer.set_u32(PAGE, value)
    gpu_sees(queue, buffer.address + PAGE, value)
    counters.rose("svm_64K_migrate_count", since=before)
    assert in_vram(buffer)


@behaviour("migrate.thp", "cpu-fault.returns-data")
@acts("load", "cpu-fault")
@needs("thp", "device-pages")
def test_thp_migrates_and_returns_intact(queue: Queue, memory: Memory, rng: random.Random) -> None:
    """A huge page of 2 MiB in VRAM has its data for the GPU, and for the CPU when it comes back, whole or not."""
    buffer, data = memory(SZ_2M, kind=THP), rng.randbytes(SZ_2M)
    buffer.write(0, data)
    assert huge_bytes(buffer) == SZ_2M
    for offset in (0, SZ_64K, SZ_2M - 4):
        gpu_sees(queue, buffer.address + offset, int.from_bytes(data[offset : offset + 4], "little"))
    assert in_vram(buffer)
    returned(buffer, 0, data)
    chose(
        f"a huge page that comes back from VRAM: {'huge' if huge_bytes(buffer) == SZ_2M else 'in small pages'}"
    )


@behaviour("migrate.thp-mixed")
@acts("load", "store")
@needs("thp")
def test_thp_and_small_pages_migrate_together(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """Half a huge page mremapped next to small pages, and the huge zero page, are correct for GPU and CPU."""
    buffer, source = memory(3 * SZ_2M, align=SZ_2M), memory(SZ_2M, kind=THP)
    values = {offset: sentinel() for offset in range(0, 2 * SZ_2M, SZ_64K)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    moved = SZ_2M // 2
    for offset in range(0, SZ_2M, SZ_64K):
        source.set_u32(offset, values[moved + offset])
    source.mremap(to=buffer.address + moved)
    buffer.remap_fresh(2 * SZ_2M, SZ_2M)
    buffer.madvise(mmap.MADV_HUGEPAGE, 2 * SZ_2M, SZ_2M)
    assert buffer.u32(2 * SZ_2M + 4) == 0  # by reading: the huge page of zeros
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
        values[offset] = sentinel()
        queue.store(buffer.address + offset, values[offset])
    gpu_sees(queue, buffer.address + 3 * SZ_2M - 4, 0)
    value = sentinel()
    queue.store(buffer.address + 2 * SZ_2M, value)
    for offset, stored in values.items():
        landed(buffer, offset, stored)
    landed(buffer, 2 * SZ_2M, value)
    assert not any(buffer.bytes(2 * SZ_2M + 4))


@behaviour("migrate.thp-partial-mremap")
@acts("load", "store", "cpu-fault")
@needs("thp", "device-pages")
@pytest.mark.parametrize("size", [PAGE, SZ_64K, SZ_2M // 2], ids=["4K", "64K", "1M"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("call", ["mremap", "munmap"])
def test_part_of_thp_in_vram_goes_elsewhere(
    queue: Queue, memory: Memory, rng: random.Random, sentinel: Sentinel, call: str, place: str, size: int
) -> None:
    """When a part of a huge page in VRAM is moved by mremap, or unmapped, both parts keep their data."""
    buffer, there, data = memory(SZ_2M, kind=THP), memory(SZ_2M, align=SZ_2M), rng.randbytes(SZ_2M)
    buffer.write(0, data)
    assert huge_bytes(buffer) == SZ_2M
    gpu_sees(queue, buffer.address, int.from_bytes(data[:4], "little"))
    assert in_vram(buffer)
    start = {"first": 0, "middle": (SZ_2M - size) // 2 // size * size, "last": SZ_2M - size}[place]
    edges = sorted({0, max(start - PAGE, 0), min(start + size, SZ_2M - PAGE), SZ_2M - PAGE})
    stays = [offset for offset in edges if not start <= offset < start + size]
    if call == "mremap":
        mremap(buffer.address + start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, there.address + start)
        for offset in {start, start + size // 2 // PAGE * PAGE, start + size - PAGE}:
            word = data[offset + 4 : offset + 8]
            gpu_sees(queue, there.address + offset + 4, int.from_bytes(word, "little"))
        queue.store(there.address + start, value := sentinel())
        landed(there, start, value)
        assert there.bytes(start + 4, size - 4) == data[start + 4 : start + size]
    else:
        munmap(buffer.address + start, size)
    stored = {}
    for offset in stays:
        gpu_sees(queue, buffer.address + offset, int.from_bytes(data[offset : offset + 4], "little"))
        queue.store(buffer.address + offset + 8, value := sentinel())
        stored[offset + 8] = value
        data = data[: offset + 8] + value.to_bytes(4, "little") + data[offset + 12 :]
    for begin, end in ((0, start), (start + size, SZ_2M)):
        if end > begin:
            returned(buffer, begin, data[begin:end])
    for offset, value in stored.items():
        landed(buffer, offset, value)


MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE = 20, 21, 25
"""include/uapi/asm-generic/mman-common.h; Python has no names for these."""
PAGE_IDLE = Path("/sys/kernel/mm/page_idle/bitmap")


@behaviour("migrate.thp-rmap-walk")
@acts("load", "cpu-fault")
@needs("thp", "device-pages")
@pytest.mark.parametrize("walk", ["pageout", "cold", "collapse", "page-idle"])
def test_reclaim_leaves_thp_in_vram_alone(
    queue: Queue, memory: Memory, rng: random.Random, sentinel: Sentinel, walk: str
) -> None:
    """MADV_PAGEOUT, MADV_COLD, MADV_COLLAPSE and page_idle over a huge page in VRAM change none of its data."""
    buffer, data = memory(3 * SZ_2M, kind=THP), rng.randbytes(SZ_2M)
    for start in range(0, buffer.size, SZ_2M):
        buffer.write(start, data)
    gpu_sees(queue, buffer.address + SZ_2M, int.from_bytes(data[:4], "little"))  # the middle one of three
    assert not buffer.present(SZ_2M)
    value = sentinel()
    queue.store(buffer.address + SZ_2M + SZ_64K, value)
    if walk == "page-idle":
        if not PAGE_IDLE.exists():
            untested("KERNEL:page-idle", "the kernel lacks CONFIG_IDLE_PAGE_TRACKING, or this is not root")
        with PAGE_IDLE.open("r+b", buffering=0) as bitmap:
            for offset in range(0, buffer.size, SZ_64K):
                if frame := frame_of(buffer, offset):
                    bitmap.seek(frame // 64 * 8)
                    bitmap.write(b"\xff" * 8)
    else:
        advice = {"pageout": MADV_PAGEOUT, "cold": MADV_COLD, "collapse": MADV_COLLAPSE}[walk]
        with contextlib.suppress(OSError):  # which it may refuse: nothing of it may go wrong
            buffer.madvise(advice)
    gpu_sees(queue, buffer.address + SZ_2M + SZ_64K, value)
    expected = data[:SZ_64K] + value.to_bytes(4, "little") + data[SZ_64K + 4 :]
    for start in range(0, buffer.size, SZ_2M):
        assert buffer.bytes(start, SZ_2M) == (expected if start == SZ_2M else data)
    count("cpu-fault")


def frame_of(buffer: Buffer, offset: int) -> int:
    """The number of the page frame at an offset, 0 where no page of the CPU is (proc(5), pagemap)."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as pagemap:
        pagemap.seek((buffer.address + offset) // PAGE * 8)
        entry = int.from_bytes(pagemap.read(8), "little")
    return entry & ((1 << 55) - 1) if entry >> 63 else 0


@behaviour("migrate.rss-unchanged")
@acts("load")
@needs("device-pages")
def test_memory_in_vram_counts_as_rss(queue: Queue, memory: Memory) -> None:
    """Memory that migrated to VRAM still counts as resident, including pages that the GPU accessed first."""
    buffer = memory(4 * SZ_2M, align=SZ_2M, fill=b"\x21")
    before = resident(buffer)
    assert before == buffer.size
    for offset in range(0, buffer.size, SZ_2M):
        gpu_sees(queue, buffer.address + offset, 0x21212121)
    assert in_vram(buffer)
    assert resident(buffer) == before


@behaviour("migrate.pm-reference")
@acts("load")
@needs("runtime-usage")
def test_memory_in_vram_holds_runtime_pm_reference(
    open_device: OpenDevice, memory: Memory, sentinel: Sentinel
) -> None:
    """Each allocation in VRAM keeps the device awake until it is freed, even after VM and descriptor are closed."""
    device = open_device()
    slot, vm = Slot(device), Vm(device, FAULTING)
    vm.mirror()
    buffer, value = memory(4 * SZ_2M, align=SZ_2M, fill=b"\x21"), sentinel()
    buffer.set_u32(SZ_2M, value)
    vm.prefetch(buffer.address, buffer.size, device.vram[0])
    gpu_sees(vm.queue(), buffer.address + SZ_2M, value)
    assert in_vram(buffer)
    vm.close()
    device.close()
    # The VM releases its memory a little later; it is in four allocations.
    held = slot.usage
    assert held >= 4
    buffer.munmap(0, 3 * SZ_2M)
    wait_until(lambda: slot.usage <= held - 3, what="the release of three allocations")
    held = slot.usage
    assert held >= 1
    buffer.munmap(3 * SZ_2M)
    wait_until(lambda: slot.usage <= held - 1, what="the release of the last allocation")


@behaviour("migrate.async-eviction-order")
@acts("load", "store")
@pytest.mark.timeout(60)
def test_memory_in_just_freed_vram_keeps_its_data(
    queue: Queue,
    mirror_vm: Vm,
    device: Device,
    bo: MakeBo,
    memory: Memory,
    rng: random.Random,
    sentinel: Sentinel,
) -> None:
    """Memory that migrates to VRAM just freed by BOs, or by their eviction, keeps its data."""
    free = device.region(device.vram[0])
    room = (free.total_size - free.used) // SZ_2M * SZ_2M
    kept = bo(room // 2, placement=1 << device.vram[0] | 1)
    marks = {offset: sentinel() for offset in range(0, kept.size, kept.size // 8)}
    mapped = kept.map()
    for offset, value in marks.items():
        mapped.set_u32(offset, value)
    bo(room - kept.size - SZ_2M, placement=1 << device.vram[0]).close()
    buffer = memory(room // 2 + 16 * SZ_2M, align=SZ_2M, populate=False)
    data = rng.randbytes(SZ_64K)
    for offset in range(0, buffer.size, SZ_2M):
        buffer.write(offset, data)
        buffer.write(offset + SZ_2M - SZ_64K, data)
    mirror_vm.prefetch(buffer.address, buffer.size, device.vram[0])
    assert not buffer.present()
    for offset in range(0, buffer.size, 8 * SZ_2M):
        gpu_sees(queue, buffer.address + offset, int.from_bytes(data[:4], "little"))
    for offset in range(0, buffer.size, SZ_2M):
        assert buffer.bytes(offset, SZ_64K) == data
        assert buffer.bytes(offset + SZ_2M - SZ_64K, SZ_64K) == data
    for offset, value in marks.items():
        landed(mapped, offset, value)


def patiently(call: Callable[[], object]) -> None:
    """Make a call again for as long as it gives EAGAIN: other users of the memory were faster, as libdrm says."""
    while True:
        try:
            call()
        except BlockingIOError:
            continue
        return


@behaviour("migrate.serialise-racing")
@acts("load", "store", "overlap")
@needs("cpu-addr-mirror")
@pytest.mark.timeout(60)
def test_two_vms_contending_for_chunk_both_finish(
    make_vm: MakeVm, devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """Two VMs, of two devices if there are two, compete for one chunk: both finish, and no store is lost."""
    rounds, buffer = 12, memory(SZ_2M, align=SZ_2M)
    values = {16 * index: sentinel() for index in range(2 * rounds)}

    def fight(number: int) -> None:
        vm = vms[number]
        place = vm.device.vram[0] if number == 0 or len(devices) > 1 else 0
        for offset in list(values)[number::2]:
            patiently(lambda: vm.prefetch(buffer.address, SZ_2M, place))
            queues[number].store(buffer.address + offset, values[offset])

    vms = [make_vm(FAULTING, devices[number % len(devices)]) for number in range(2)]
    for vm in vms:
        vm.mirror()
    queues = [vm.queue() for vm in vms]
    together(*(functools.partial(fight, number) for number in range(2)), deadline=40)
    queue = vms[0].queue()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    for offset, value in values.items():
        landed(buffer, offset, value)
