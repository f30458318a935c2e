# SPDX-License-Identifier: MIT
"""One GPU accesses the VRAM of another over PCI (xe_svm.c: xe_drm_pagemap_device_map, xe_has_interconnect)."""

from __future__ import annotations

import random

import pytest

from fixtures import (
    acts,
    behaviour,
    driver_only,
    each_size,
    gpu_sees,
    known,
    landed,
    needs,
    returned,
    wait_until,
)
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "two-devices", "interconnect", "vram", "svm-vram")


@behaviour("p2p.owner-by-distance")
@acts("load", "query")
@pytest.mark.parametrize("policy", [xe.DRM_XE_MIGRATE_ALL_PAGES, xe.DRM_XE_MIGRATE_ONLY_SYSTEM_PAGES])
@pytest.mark.parametrize("first", [0, 1])
def test_linked_devices_can_prefer_each_other(
    mirror_pair: tuple[Vm, Vm],
    devices: list[Device],
    memory: Memory,
    sentinel: Sentinel,
    first: int,
    policy: int,
) -> None:
    """With a fast link each of two devices can prefer the other's VRAM or its own, and memory is placed there."""
    vm = mirror_pair[first]
    queue = vm.queue()
    for device in (devices[1 - first], devices[first]):
        buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
        buffer.set_u32(PAGE, value)
        vm.prefer(buffer, device.fd, device.vram[0], policy=policy)
        (area,) = vm.attributes(buffer.address, SZ_2M)
        assert (area.start, area.end) == (buffer.address, buffer.end)
        assert area.preferred_mem_loc.devmem_fd == device.fd
        assert area.preferred_mem_loc.migration_policy == policy
        before = device.vram_used()
        gpu_sees(queue, buffer.address + PAGE, value)
        assert device.vram_used() >= before + SZ_2M


@behaviour("p2p.address-mapping")
@acts("load", "store", "query")
@pytest.mark.parametrize(
    "eighths",
    [
        pytest.param(0, id="start"),
        pytest.param(4, id="middle"),
        pytest.param(7, id="end"),
        # The other columns say what it is without one.
        pytest.param(7, id="iommu", marks=[needs("iommu"), behaviour("p2p.iommu")]),
    ],
)
@pytest.mark.timeout(60)
def test_all_of_remote_vram_is_reachable(
    mirror_pair: tuple[Vm, Vm],
    devices: list[Device],
    bo: MakeBo,
    memory: Memory,
    rng: random.Random,
    eighths: int,
) -> None:
    """Wherever memory is in the other GPU's VRAM, both GPUs and the CPU see the same bytes, and no others."""
    near, far = mirror_pair
    room = devices[1].region(devices[1].vram[0])
    for _ in range(eighths):
        bo(room.total_size // 8 // SZ_2M * SZ_2M - SZ_2M, device=devices[1], placement=1 << room.instance)
    buffer = memory(4 * SZ_2M, align=SZ_2M)
    data = rng.randbytes(buffer.size)
    buffer.write(0, data)
    near.prefer(buffer, devices[1].fd, devices[1].vram[0])
    before, queues = devices[1].vram_used(), (near.queue(), far.queue())
    edges = sorted(
        {edge + at for edge in range(0, buffer.size, SZ_2M) for at in (0, PAGE, SZ_2M // 2, SZ_2M - 4)}
    )
    for queue in queues:
        for offset in edges:
            gpu_sees(queue, buffer.address + offset, int.from_bytes(data[offset : offset + 4], "little"))
    assert devices[1].vram_used() >= before + buffer.size
    stored = {offset: rng.getrandbits(32) for offset in edges}
    for number, (offset, value) in enumerate(stored.items()):
        queues[number % 2].store(buffer.address + offset, value)
    for number, (offset, value) in enumerate(stored.items()):
        gpu_sees(queues[1 - number % 2], buffer.address + offset, value)
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
    for offset, value in stored.items():
        landed(buffer, offset, value)
        data = data[:offset] + value.to_bytes(4, "little") + data[offset + 4 :]
    assert buffer.bytes() == data


@behaviour("p2p.address-mapping")
@acts("load", "cpu-fault")
@each_size
def test_range_of_any_size_in_remote_vram_is_usable(
    mirror_pair: tuple[Vm, Vm],
    devices: list[Device],
    memory: Memory,
    rng: random.Random,
    sentinel: Sentinel,
    size: int,
) -> None:
    """A range of each size is placed in the other GPU's VRAM, and read back from there, by copies of the GPU too."""
    buffer, data, value = memory(size, align=size), rng.randbytes(size), sentinel()
    buffer.write(0, data)
    mirror_pair[0].prefer(buffer, devices[1].fd, devices[1].vram[0])
    queue, copy = mirror_pair[0].queue(), memory(size, align=size)
    queue.store(buffer.address + size - 4, value)
    queue.run(Batch().copy(copy.address, buffer.address, size))
    expected = data[:-4] + value.to_bytes(4, "little")
    assert copy.bytes() == expected
    gpu_sees(mirror_pair[1].queue(), buffer.address + size - 4, value)
    returned(buffer, 0, expected)


@behaviour("p2p.atomics", "atomic.default-dgpu")
@acts("store", "query")
@needs("atomic")
def test_atomic_migrates_memory_from_other_gpu(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """A GPU atomic moves memory to that GPU's VRAM, although it is in the other's, its preferred location."""
    buffer, start, added = memory(SZ_2M, align=SZ_2M), sentinel(), [sentinel(), sentinel()]
    mirror_pair[0].prefer(buffer, devices[1].fd, devices[1].vram[0])
    queues = [vm.queue() for vm in mirror_pair]
    queues[0].store(buffer.address + PAGE, start)
    own, others = devices[0].vram_used(), devices[1].vram_used()
    queues[0].run(Batch().atomic(buffer.address + PAGE, "add", added[0]))
    with driver_only("p2p.atomics"):
        assert devices[0].vram_used() >= own + SZ_2M
        wait_until(
            lambda: devices[1].vram_used() <= others - SZ_2M, what="the release of the other GPU's VRAM"
        )
    queues[1].run(Batch().atomic(buffer.address + PAGE, "add", added[1]))
    with driver_only("p2p.atomics"):
        assert devices[1].vram_used() >= others
        assert not buffer.present(PAGE)
    landed(buffer, PAGE, (start + sum(added)) & MASK)


@behaviour("p2p.address-mapping", "md.device-to-device-copy", "cpu-fault.stats", "migrate.copy-kb-exact")
@acts("load", "query")
@needs("svm-counters")
def test_move_between_gpus_is_one_copy(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], memory: Memory, rng: random.Random
) -> None:
    """Memory moves from one GPU's VRAM to the other's in one copy, by the GPU that had it."""
    buffer, data = memory(SZ_2M, align=SZ_2M), rng.randbytes(SZ_2M)
    buffer.write(0, data)
    mirror_pair[0].prefetch(buffer.address, SZ_2M, devices[0].vram[0])
    counters = [Counters(device) for device in devices[:2]]
    before, own = [each.snapshot() for each in counters], devices[0].vram_used()
    mirror_pair[1].prefetch(buffer.address, SZ_2M, devices[1].vram[0])
    assert not any(buffer.present(offset) for offset in range(0, SZ_2M, PAGE))
    with driver_only("cpu-fault.stats"):
        counters[0].rose("svm_cpu_copy_kb", since=before[0], by=SZ_2M >> 10)
    with driver_only("migrate.copy-kb-exact"):
        counters[1].still("svm_device_copy_kb", since=before[1])
    wait_until(lambda: devices[0].vram_used() <= own - SZ_2M, what="the release of the VRAM that it left")
    queue = mirror_pair[1].queue()
    for offset in (0, PAGE, SZ_2M - 4):
        gpu_sees(queue, buffer.address + offset, int.from_bytes(data[offset : offset + 4], "little"))
    assert buffer.bytes() == data


@known(
    "Memory of a peer behind its small BAR is read wrong",
    first="7.0",
    signature="the GPU sees 0x# at 0x#, not 0x#",
    log="the emulated GPU reports gpu*: no-memory: *",
    acts=("exec",),
)
@behaviour("p2p.small-bar")
@acts("load", "store")
@needs("small-bar")
@pytest.mark.timeout(60)
def test_memory_behind_small_bar_is_read_right(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """With a small BAR, memory placed in VRAM beyond it is correct for GPUs and CPU."""
    near, far = mirror_pair
    room = devices[1].region(devices[1].vram[0])
    bo(room.cpu_visible_size - SZ_2M, device=devices[1], placement=1 << room.instance)
    buffer = memory(8 * SZ_2M, align=SZ_2M)
    values = {offset: sentinel() for offset in range(0, buffer.size, SZ_2M)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    near.prefer(buffer, devices[1].fd, devices[1].vram[0])
    queue = near.queue()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
        values[offset] = sentinel()
        queue.store(buffer.address + offset, values[offset])
    for offset, value in values.items():
        gpu_sees(far.queue(), buffer.address + offset, value)
        landed(buffer, offset, value)
