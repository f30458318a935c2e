# SPDX-License-Identifier: MIT
"""GPU faults close to each other at the same time, of which one fails, stores, adds or is dropped (xe_pagefault.c)."""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, gpu_fault, gpu_sees, landed, needs, wait_until
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.userfault import Userfault
from fixtures.xe.device import Device
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.queue import Job, Queue
from fixtures.xe.reset import reset_gt
from fixtures.xe.vm import Vm
from gpu import Batch
from suites.fault.gate import Gate

MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "cpu-addr-mirror")


def queues(vm: Vm, number: int, tile: int = 0) -> list[Queue]:
    """Queues on the engines of a tile, in turn; none on an engine that waits for another one's batch."""
    device = vm.device
    gts = {gt.gt_id for gt in device.known_gts if gt.tile_id == tile}
    engines = [engine for engine in device.known_engines if engine.gt_id in gts]
    return [vm.queue(engines[index % len(engines)]) for index in range(number)]


@behaviour("fault.chain.failed-neighbour")
@acts("store", "refusal")
@pytest.mark.parametrize("hole", [0, 256, 511], ids=["first", "middle", "last"])
@pytest.mark.parametrize("failing", [1, 2])
def test_failed_access_leaves_its_neighbours(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel, hole: int, failing: int
) -> None:
    """If accesses to 2 MiB fault at one time, those to a hole fail and are recorded once each; others are served."""
    buffer, gate = memory(SZ_2M, align=SZ_2M), Gate(mirror_vm, bo)
    buffer.munmap(hole * PAGE, PAGE)
    pages = [page for page in (0, 1, 255, 256, 257, 510, 511) if page != hole][:4]
    values = {page: sentinel() for page in pages}
    made = queues(mirror_vm, len(pages) + failing)
    bad = [made.pop(1) for _ in range(failing)]
    lost = [queue.start(gate.batch().store_dword(buffer.address + hole * PAGE, sentinel())) for queue in bad]
    jobs = [
        queue.start(gate.batch().store_dword(buffer.address + page * PAGE, value))
        for queue, (page, value) in zip(made, values.items(), strict=True)
    ]
    gate.open()
    for job in jobs:
        job.wait()
    for job in lost:
        with gpu_fault(job.queue):
            job.wait()
    for page, value in values.items():
        landed(buffer, page * PAGE, value)
    for queue in made:
        assert not queue.banned
        queue.run(Batch().noop())
    wait_until(lambda: len(mirror_vm.faults()) >= failing, what="the records of the failed faults")
    assert [fault.address for fault in mirror_vm.faults()] == [buffer.address + hole * PAGE] * failing


@behaviour("fault.chain.mixed-access")
@acts("store", "load")
@needs("atomic", "three-engines")
@pytest.mark.parametrize("page", [0, 255, 511], ids=["first", "middle", "last"])
def test_mixed_faults_on_page_end_as_alone(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel, page: int
) -> None:
    """A load, stores and additions of several engines to words of one page at one time each have their own result."""
    buffer, gate = memory(SZ_2M, align=SZ_2M), Gate(mirror_vm, bo)
    found, at = memory(PAGE), buffer.address + page * PAGE
    source, start, stored = sentinel(), sentinel(), sentinel()
    buffer.set_u32(page * PAGE, source)
    buffer.set_u32(page * PAGE + 64, start)
    loads, stores, adds = queues(mirror_vm, 2), queues(mirror_vm, 2)[::-1], queues(mirror_vm, 3)
    jobs = [
        *[q.start(gate.batch().copy_mem(found.address + 4 * n, at)) for n, q in enumerate(loads)],
        *[q.start(gate.batch().store_dword(at + 128 + 4 * n, stored + n)) for n, q in enumerate(stores)],
        *[q.start(gate.batch().atomic(at + 64, "add", n + 1)) for n, q in enumerate(adds)],
    ]
    gate.open()
    for job in jobs:
        job.wait()
    for number in range(2):
        landed(found, 4 * number, source)
        landed(buffer, page * PAGE + 128 + 4 * number, stored + number)
    gpu_sees(loads[0], at + 64, (start + 1 + 2 + 3) & MASK)
    landed(buffer, page * PAGE + 64, (start + 1 + 2 + 3) & MASK)


@behaviour("fault.chain.other-tile")
@acts("store", "load")
@needs("multi-tile")
@pytest.mark.parametrize("size", [PAGE, SZ_64K, SZ_2M], ids=["4K", "64K", "2M"])
def test_tiles_fault_on_page_concurrently(
    device: Device, mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel, size: int
) -> None:
    """Stores of two tiles to one page at one time land, and each tile then reaches all of the range."""
    buffer, gate = memory(size, align=size), Gate(mirror_vm, bo)
    tiles = sorted({gt.tile_id for gt in device.known_gts})
    made = [queues(mirror_vm, 1, tile)[0] for tile in tiles]
    for rounds in range(3):
        values = [sentinel() for _ in tiles]
        jobs = [
            queue.start(gate.batch().store_dword(buffer.address + 4 * number, value))
            for number, (queue, value) in enumerate(zip(made, values, strict=True))
        ]
        gate.open()
        for job in jobs:
            job.wait()
        for number, value in enumerate(values):
            for queue in made:
                gpu_sees(queue, buffer.address + 4 * number, value)
        for queue in made:
            queue.store(buffer.end - 4, value := sentinel())
            landed(buffer, size - 4, value)
        for number, value in enumerate(values):
            landed(buffer, 4 * number, value)
        if rounds < 2:
            buffer.remap_fresh()


@behaviour("fault.chain.reset")
@acts("refusal", "store")
@needs("user-faults", "gt-reset", "two-engines")
@pytest.mark.timeout(60)
def test_queues_with_chained_faults_end_at_reset(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """Queues whose faults on one 2 MiB wait when their GT is reset all end, and the memory is usable afterwards."""
    # In system memory: to move memory to VRAM takes a lock of the driver that the waiting fault would hold.
    mirror_vm.madvise(0, 1 << 47, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
    buffer, gate = memory(SZ_2M, align=SZ_2M, populate=False), Gate(mirror_vm, bo)
    engine = mirror_vm.device.engine()
    engines = [one for one in mirror_vm.device.known_engines if one.gt_id == engine.gt_id]
    jobs: list[Job] = []
    for number, one in enumerate(engines):
        batch = gate.batch().store_dword(buffer.address + 7 * number * PAGE, sentinel())
        jobs.append(mirror_vm.queue(one).start(batch))
    # A reset ends the queues whose batches have begun; one that has not is started again after it.
    gate.reached()
    with Userfault(buffer) as fault:
        gate.open()
        assert fault.waits() is not None, "nothing waits for a page that the GPU stores to"
        reset_gt(mirror_vm.device, engine.gt_id)
        fault.close()
        for job in jobs:
            with gpu_fault(job.queue):
                job.wait()
    queue, value = mirror_vm.queue(engine), sentinel()
    queue.store(buffer.end - 4, value)
    landed(buffer, SZ_2M - 4, value)
