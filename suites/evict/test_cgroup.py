# SPDX-License-Identifier: MIT
"""VRAM of a program in the cgroup controller "dmem" (Documentation/admin-guide/cgroup-v2.rst: DMEM).

Page tables are in VRAM, too, and count for the cgroup of the process whose call made them: numbers are compared with
2 MiB to spare, which is also how the driver allocates memory of a process.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from fixtures import acts, behaviour, disturbs, gpu_sees, known, landed, needs, wait_until
from fixtures.cgroup import DeviceGroup, capacities, device_group
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE, Buffer, numbered
from fixtures.pci import Slot
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm

USED = 8 * SZ_2M
"""Bytes that a test has in VRAM."""

pytestmark = [
    needs("page-faults", "vram", "svm-vram", "cgroup-dmem"),
    disturbs("it limits and fills the VRAM"),
    pytest.mark.timeout(60),
]


@pytest.fixture
def group(device: Device) -> Iterator[DeviceGroup]:
    """A cgroup for the first VRAM region, without processes."""
    with device_group(Slot(device).memory_region(0)) as made:
        yield made


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of eight chunks."""
    return memory(USED, align=SZ_2M)


def there(buffer: Buffer) -> int:
    """Bytes of the memory that are not in system memory."""
    return PAGE * sum(not buffer.present(offset) for offset in range(0, buffer.size, PAGE))


def charged(group: DeviceGroup, vm: Vm, buffer: Buffer) -> int:
    """Bytes that ``dmem.current`` rises by when a process of the cgroup prefetches the memory."""
    before = group.bytes("current")
    with group.inside():
        vm.prefetch(buffer.address, buffer.size, vm.device.vram[0])
    return group.bytes("current") - before


@behaviour("cgroup.dmem.capacity")
@acts("query")
def test_capacity_is_at_most_size_of_region(device: Device) -> None:
    """dmem.capacity has each VRAM region of the device, with at most the size that MEM_REGIONS reports."""
    found = capacities()
    for number, instance in enumerate(device.vram):
        assert 0 < found[Slot(device).memory_region(number)] <= device.region(instance).total_size


@behaviour("cgroup.dmem.current-counts-svm")
@acts("load", "migrate")
@pytest.mark.parametrize("how", ["munmap", "touch"])
def test_prefetched_memory_counts_until_it_leaves(
    mirror_vm: Vm, group: DeviceGroup, buffer: Buffer, sentinel: Sentinel, how: str
) -> None:
    """Memory that PREFETCH moved to VRAM counts in dmem.current until it is freed, or moved back."""
    values = numbered(buffer, sentinel)
    free = group.bytes("current")
    assert USED <= charged(group, mirror_vm, buffer) < USED + SZ_2M
    assert there(buffer) == USED
    count("migrate")
    gpu_sees(mirror_vm.queue(), buffer.address, values[0])
    if how == "munmap":
        buffer.munmap()
    else:
        assert {offset: buffer.u32(offset) for offset in values} == values
    wait_until(lambda: group.bytes("current") < free + SZ_2M, what="the release of the memory")


@behaviour("cgroup.dmem.fault-charged-elsewhere")
@acts("store")
def test_faulted_memory_counts_here_or_elsewhere(
    mirror_vm: Vm, device: Device, group: DeviceGroup, buffer: Buffer, sentinel: Sentinel
) -> None:
    """Memory that a GPU fault moves to VRAM counts in dmem.current of the process's cgroup, or does not."""
    queue, free = mirror_vm.queue(), device.vram_used()
    values = {offset: sentinel() for offset in range(0, USED, SZ_2M)}
    with group.inside():
        queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    assert device.vram_used() >= free + USED // 2, "the faults moved nothing"
    counted = group.bytes("current")
    assert counted < SZ_2M or counted >= USED
    chose(f"memory of GPU faults counts for {'the process' if counted >= USED else 'another'}")
    for offset, value in values.items():
        landed(buffer, offset, value)


@behaviour("cgroup.dmem.peak")
@acts("migrate")
def test_peak_is_largest_use(mirror_vm: Vm, group: DeviceGroup, memory: Memory) -> None:
    """dmem.peak follows dmem.current upwards, and stays where it was when the use falls."""
    first = memory(USED, align=SZ_2M)
    charged(group, mirror_vm, first)
    highest = group.bytes("current")
    assert group.bytes("peak") == highest >= USED
    first.munmap()
    wait_until(lambda: group.bytes("current") < SZ_2M, what="the release of the memory")
    assert group.bytes("peak") == highest
    second = memory(USED // 2, align=SZ_2M)
    charged(group, mirror_vm, second)
    assert group.bytes("peak") == highest
    charged(group, mirror_vm, memory(USED, align=SZ_2M))
    assert group.bytes("peak") == group.bytes("current") > highest
    count("migrate")


@behaviour("cgroup.dmem.max-prefetch-falls-back")
@acts("ioctl", "load")
@pytest.mark.parametrize(
    "limit", [USED // 4, USED // 2, USED - SZ_2M], ids=["quarter", "half", "all-but-one"]
)
def test_prefetch_beyond_limit_is_best_effort(
    mirror_vm: Vm, group: DeviceGroup, buffer: Buffer, sentinel: Sentinel, limit: int
) -> None:
    """PREFETCH of more memory than dmem.max allows moves no more than that, and the data is right.

    Memory that it moved first makes room for what it moves next: if it is to be mapped then, the call gives EAGAIN.
    """
    values = numbered(buffer, sentinel)
    group.set("max", group.bytes("current") + limit)
    try:
        charged(group, mirror_vm, buffer)
    except OSError as error:
        if error.errno != errno.EAGAIN:
            raise
        chose("PREFETCH beyond dmem.max: EAGAIN")
    else:
        chose("PREFETCH beyond dmem.max: 0")
    assert group.bytes("current") <= limit
    assert there(buffer) <= limit
    queue = mirror_vm.queue()
    for offset in range(0, USED, SZ_2M):
        gpu_sees(queue, buffer.address + offset, values[offset])
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("cgroup.dmem.max-prefetch-falls-back")
@acts("migrate", "load")
def test_prefetch_within_limit_moves_all(
    mirror_vm: Vm, group: DeviceGroup, buffer: Buffer, sentinel: Sentinel
) -> None:
    """PREFETCH of as much memory as dmem.max allows moves all of it."""
    values = numbered(buffer, sentinel)
    group.set("max", group.bytes("current") + USED + SZ_2M)
    charged(group, mirror_vm, buffer)
    assert there(buffer) == USED
    count("migrate")
    gpu_sees(mirror_vm.queue(), buffer.address + USED - SZ_2M, values[USED - SZ_2M])


@behaviour("cgroup.dmem.max-lower-evicts-svm")
@acts("migrate", "load", "store")
@pytest.mark.parametrize("left", [SZ_2M, USED // 2, USED - SZ_2M], ids=["one", "half", "all-but-one"])
def test_lower_limit_evicts_memory(
    mirror_vm: Vm, group: DeviceGroup, buffer: Buffer, sentinel: Sentinel, left: int
) -> None:
    """Lowering dmem.max below the use of a cgroup moves as much of its memory to system memory, with its data."""
    values, queue = numbered(buffer, sentinel), mirror_vm.queue()
    charged(group, mirror_vm, buffer)
    for offset in range(0, USED, SZ_2M):
        queue.store(buffer.address + offset, value := sentinel())
        values[offset] = value
    assert there(buffer) == USED
    group.set("max", left)
    wait_until(lambda: group.bytes("current") <= left, what="the use to fall to the limit")
    count("migrate")
    assert there(buffer) <= left
    for offset in range(0, USED, SZ_2M):
        landed(buffer, offset, values[offset])
    assert {offset: buffer.u32(offset) for offset in values} == values
    gpu_sees(queue, buffer.address, values[0])


@known(
    "Memory within dmem.min is evicted for other children of the root",
    first="7.3",
    signature="# of # bytes within dmem.min were evicted",
    acts=("migrate",),
)
@behaviour("cgroup.dmem.low-min-protects")
@acts("migrate", "load")
def test_protected_memory_is_not_evicted(
    mirror_vm: Vm,
    device: Device,
    group: DeviceGroup,
    memory: Memory,
    buffer: Buffer,
    bo: MakeBo,
    sentinel: Sentinel,
) -> None:
    """BOs of other cgroups take the place of memory without dmem.min, and none of what is within it."""
    group.set("min", group.bytes("current") + USED + SZ_2M)
    values = numbered(buffer, sentinel)
    charged(group, mirror_vm, buffer)
    other = memory(USED, align=SZ_2M)
    mirror_vm.prefetch(other.address, USED, device.vram[0])
    assert there(buffer) == there(other) == USED
    size = device.region(device.vram[0]).total_size // 16
    for _ in range(16):  # as much as all of it: these give way to each other, too
        bo(size, placement=1 << device.vram[0])
    assert there(other) == 0
    count("migrate")
    if lost := USED - there(buffer):
        pytest.fail(f"{lost} of {USED} bytes within dmem.min were evicted")
    gpu_sees(mirror_vm.queue(), buffer.address, values[0])
    assert {offset: buffer.u32(offset) for offset in values} == values
