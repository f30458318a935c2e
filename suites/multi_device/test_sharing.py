# SPDX-License-Identifier: MIT
"""Two GPUs use the same memory: where it is, whose faults move it, what happens when one goes (drm_pagemap.c)."""

from __future__ import annotations

import contextlib
import functools

import pytest

from fixtures import QueueError, acts, behaviour, driver_only, gpu_sees, landed, needs, returned, wait_until
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer, numbered
from fixtures.overlap import together
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.bo import Bo
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch

MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "two-devices", "vram", "svm-vram")


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of one chunk."""
    return memory(SZ_2M, align=SZ_2M)


@behaviour("md.one-device-1to1")
@acts("load", "store", "fault")
@needs("debugfs")
@pytest.mark.parametrize("first", [0, 1])
def test_each_device_counts_its_own_faults(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], buffer: Buffer, sentinel: Sentinel, first: int
) -> None:
    """Each of two devices faults on memory that the other has mapped, and its own counter shows it."""
    queues = [vm.queue() for vm in mirror_pair]
    for queue in queues:
        queue.run(Batch().noop())
    for user in (first, 1 - first):
        counters, others = Counters(devices[user]), Counters(devices[1 - user])
        before, still, value = counters.snapshot(), others.snapshot(), sentinel()
        queues[user].store(buffer.address + 8 * user, value)
        counters.rose("svm_pagefault_count", since=before)
        others.still("svm_pagefault_count", since=still)
        gpu_sees(queues[user], buffer.address + 8 * user, value)
        landed(buffer, 8 * user, value)


@behaviour("md.remote-map-in-place", "obs.svm-pagefault-count")
@acts("load", "store", "fault")
@needs("interconnect", "debugfs")
def test_preferred_remote_vram_is_used_in_place(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], buffer: Buffer, sentinel: Sentinel
) -> None:
    """A fault on memory in the other GPU's VRAM, its preferred location, maps it there: the other does not fault."""
    values, queues = numbered(buffer, sentinel), [vm.queue() for vm in mirror_pair]
    mirror_pair[0].prefer(buffer, devices[1].fd, devices[1].vram[0])
    for offset in (0, SZ_2M // 2):
        gpu_sees(queues[1], buffer.address + offset, values[offset])
    room, own, others = devices[0].vram_used(), Counters(devices[0]), Counters(devices[1])
    before, there = own.snapshot(), others.snapshot()
    for offset, value in values.items():
        gpu_sees(queues[0], buffer.address + offset, value)
    with driver_only("obs.svm-pagefault-count"):
        own.rose("svm_pagefault_count", since=before)
    assert devices[0].vram_used() < room + SZ_2M
    value = sentinel()
    queues[0].store(buffer.address + SZ_2M - 4, value)
    gpu_sees(queues[1], buffer.address + SZ_2M - 4, value)
    with driver_only("obs.svm-pagefault-count"):
        others.still("svm_pagefault_count", since=there)
    assert not buffer.present()
    landed(buffer, SZ_2M - 4, value)


@behaviour("md.two-gpus-without-link", "obs.size-class-counters")
@acts("load", "query", "migrate")
@needs("no-interconnect", "debugfs")
def test_memory_without_link_migrates_to_faulting_gpu(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], buffer: Buffer, sentinel: Sentinel
) -> None:
    """Without a fast link memory leaves one GPU's VRAM when the other faults, and the data is correct."""
    values, queues = numbered(buffer, sentinel), [vm.queue() for vm in mirror_pair]
    gpu_sees(queues[1], buffer.address, values[0])
    before, counters = devices[1].vram_used(), Counters(devices[0])
    counted = counters.snapshot()
    for offset, value in values.items():
        gpu_sees(queues[0], buffer.address + offset, value)
    with driver_only("obs.size-class-counters"):
        counters.rose("svm_2M_migrate_count", since=counted)
    assert not buffer.present()
    wait_until(lambda: devices[1].vram_used() <= before - SZ_2M, what="the release of the VRAM that it left")
    for offset, value in values.items():
        gpu_sees(queues[1], buffer.address + offset, value)


@behaviour("md.mixed-sources", "md.device-to-device-copy")
@acts("load", "cpu-fault")
@pytest.mark.parametrize("taker", [0, 1])
def test_fault_gathers_chunk_from_several_places(
    make_vm: MakeVm, devices: list[Device], buffer: Buffer, sentinel: Sentinel, taker: int
) -> None:
    """If parts of a chunk are in the VRAM of two GPUs and in system memory, a fault gathers them in one place."""
    values, parts = numbered(buffer, sentinel), {}
    for number, offset in enumerate((4 * SZ_64K, 9 * SZ_64K, 20 * SZ_64K, 31 * SZ_64K)):
        vm = make_vm(FAULTING, devices[number % 2])
        vm.mirror(buffer.address + offset, SZ_64K)
        parts[offset] = vm
        gpu_sees(vm.queue(), buffer.address + offset, values[offset])
    assert [offset for offset in values if not buffer.present(offset)] == list(parts)
    vm = make_vm(FAULTING, devices[taker])
    vm.mirror()
    before, queue = devices[taker].vram_used(), vm.queue()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    assert devices[taker].vram_used() >= before + SZ_2M - 4 * SZ_64K
    assert not any(buffer.present(offset) for offset in range(0, SZ_2M, PAGE))
    returned(buffer, 0, values[0].to_bytes(4, "little"))
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("md.mixed-sources", "md.device-to-device-copy")
@acts("load", "cpu-fault")
@pytest.mark.parametrize(
    "parts", [[0], [16], [31], [0, 1, 15, 31]], ids=["first", "middle", "last", "several"]
)
@pytest.mark.parametrize("taker", [0, 1])
def test_fault_joins_remote_vram_with_sysmem(
    make_vm: MakeVm, devices: list[Device], buffer: Buffer, sentinel: Sentinel, taker: int, parts: list[int]
) -> None:
    """If parts of a chunk are in the other GPU's VRAM and the rest in system memory, a fault joins them in VRAM."""
    values, away = numbered(buffer, sentinel), [part * SZ_64K for part in parts]
    other = make_vm(FAULTING, devices[1 - taker])
    for offset in away:
        other.mirror(buffer.address + offset, SZ_64K)
        gpu_sees(other.queue(), buffer.address + offset, values[offset])
    assert [offset for offset in values if not buffer.present(offset)] == away
    vm = make_vm(FAULTING, devices[taker])
    vm.mirror()
    before, queue = devices[taker].vram_used(), vm.queue()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    assert devices[taker].vram_used() >= before + SZ_2M
    assert not any(buffer.present(offset) for offset in range(0, SZ_2M, PAGE))
    returned(buffer, 0, values[0].to_bytes(4, "little"))
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("md.contention", "p2p.atomics")
@acts("store", "overlap")
@needs("atomic")
@pytest.mark.timeout(60)
def test_concurrent_adds_of_two_gpus_are_not_lost(
    mirror_pair: tuple[Vm, Vm], buffer: Buffer, sentinel: Sentinel
) -> None:
    """Two GPUs add to one number at the same time: each addition that did not fail is in the sum, and all end."""
    start, rounds = sentinel(), 32
    buffer.set_u32(PAGE, start)
    added = [sentinel(), sentinel()]
    queues = [vm.queue() for vm in mirror_pair]
    done = [0, 0]

    def add(number: int) -> None:
        with contextlib.suppress(QueueError):  # the handler gives up after three disturbed moves
            for _ in range(rounds):
                queues[number].run(Batch().atomic(buffer.address + PAGE, "add", added[number]))
                done[number] += 1

    together(*(functools.partial(add, number) for number in range(2)), deadline=40)
    with driver_only("p2p.atomics"):
        assert done == [rounds, rounds]
    counted = sum(number * value for number, value in zip(done, added, strict=True))
    landed(buffer, PAGE, (start + counted) & MASK)


@behaviour("md.peer-closed")
@acts("load", "store")
@pytest.mark.parametrize("how", ["vm", "descriptor"])
@pytest.mark.parametrize(
    "linked",
    [pytest.param(True, marks=needs("interconnect"), id="advised"), pytest.param(False, id="default")],
)
def test_memory_in_vram_outlives_its_vm_and_fd(
    mirror_pair: tuple[Vm, Vm],
    devices: list[Device],
    buffer: Buffer,
    sentinel: Sentinel,
    how: str,
    linked: bool,
) -> None:
    """After VM or descriptor of the GPU that has the memory is closed, the other GPU and the CPU can still use it."""
    near, far = mirror_pair
    values = numbered(buffer, sentinel)
    gpu_sees(far.queue(), buffer.address, values[0])
    queue = near.queue()
    if linked:
        near.prefer(buffer, devices[1].fd, devices[1].vram[0])
        gpu_sees(queue, buffer.address, values[0])
    if how == "vm":
        far.close()
    else:
        devices[1].close()
    assert not buffer.present()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    values[SZ_64K] = sentinel()
    queue.store(buffer.address + SZ_64K, values[SZ_64K])
    assert not buffer.present()
    for offset, value in values.items():
        landed(buffer, offset, value)


@behaviour("md.evict-remote")
@acts("load", "store", "query")
@needs("interconnect")
@pytest.mark.timeout(60)
def test_eviction_from_remote_vram_keeps_data(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], bo: MakeBo, buffer: Buffer, sentinel: Sentinel
) -> None:
    """Memory that one GPU uses in the other's VRAM is evicted when that fills up, and is correct for both GPUs."""
    near, far = mirror_pair
    values, queue = numbered(buffer, sentinel), near.queue()
    near.prefer(buffer, devices[1].fd, devices[1].vram[0])
    for offset in values:
        values[offset] = sentinel()
        queue.store(buffer.address + offset, values[offset])
    assert not buffer.present()
    instance = devices[1].vram[0]
    objects: list[Bo] = []
    size = devices[1].region(instance).total_size // 8
    while not buffer.present():
        assert len(objects) < 8, "all of the VRAM is taken, and the memory is still there"
        objects.append(bo(size, device=devices[1], placement=1 << instance))
        objects[-1].map().set_u32(0, sentinel())
    count("migrate")
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
        gpu_sees(far.queues[0] if far.queues else far.queue(), buffer.address + offset, value)
    for made in objects:
        made.close()
    for offset, value in values.items():
        landed(buffer, offset, value)
