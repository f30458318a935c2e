# SPDX-License-Identifier: MIT
"""Many GPU page faults at the same time (xe_pagefault.c: xe_pagefault_handler, xe_pagefault_queue_work)."""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, driver_only, landed, needs, wait_until
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.plugin.kernel import GpuOrders
from fixtures.sizes import SZ_2M
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from suites.exec.held import away
from suites.fault.gate import Gate

pytestmark = needs("page-faults", "debugfs")


@behaviour("fault.many-eus", "fault.valid-short-cut")
@acts("fault", "store")
@pytest.mark.parametrize("populate", [True, False], ids=["touched", "untouched"])
def test_engines_fault_on_one_page_concurrently(
    device: Device,
    mirror_vm: Vm,
    memory: Memory,
    bo: MakeBo,
    sentinel: Sentinel,
    counters: Counters,
    populate: bool,
) -> None:
    """Stores of all engines of a tile to one page land; one fault maps the range, the others find it valid."""
    buffer, gate = memory(SZ_2M, align=SZ_2M, populate=populate), Gate(mirror_vm, bo)
    tile = {gt.gt_id for gt in device.known_gts if gt.tile_id == 0}
    engines = [engine for engine in device.known_engines if engine.gt_id in tile]
    values = {4 * number: sentinel() for number, _ in enumerate(engines)}
    jobs = [
        mirror_vm.queue(engine).start(gate.batch().store_dword(buffer.address + offset, value))
        for engine, (offset, value) in zip(engines, values.items(), strict=True)
    ]
    before = counters.snapshot()
    gate.open()
    for job in jobs:
        job.wait()
    for offset, value in values.items():
        landed(buffer, offset, value)
    faults = counters.by_size("pagefault_count", since=before).get("2M", 0)
    valid = counters.by_size("valid_pagefault_count", since=before).get("2M", 0)
    with driver_only("fault.valid-short-cut"):
        assert faults - valid == 1, f"{faults} faults, {valid} of them on a valid range"


@behaviour("fault.many-eus", "obs.svm-pagefault-count")
@acts("fault", "store")
def test_engines_fault_on_many_pages_concurrently(
    device: Device, mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel, counters: Counters
) -> None:
    """Several queues of every engine fault on pages of their own, and all stores land."""
    pages, gate = 8, Gate(mirror_vm, bo)
    engines = [engine for engine in device.known_engines for _ in range(2)]
    buffers = [memory(2 * PAGE * pages, populate=False) for _ in engines]
    values = [{2 * PAGE * page: sentinel() for page in range(pages)} for _ in engines]
    before, jobs = counters.snapshot(), []
    for engine, buffer, stored in zip(engines, buffers, values, strict=True):
        batch = gate.batch()
        for offset, value in stored.items():
            batch.store_dword(buffer.address + offset, value)
        jobs.append(mirror_vm.queue(engine).start(batch))
    gate.open()
    for job in jobs:
        job.wait()
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before)
    for buffer, stored in zip(buffers, values, strict=True):
        for offset, value in stored.items():
            landed(buffer, offset, value)


@behaviour("fault.queue-capacity", "obs.svm-pagefault-count")
@acts("fault", "store")
@needs("unit-faults")
def test_all_execution_units_fault_at_once(
    device: Device,
    mirror_vm: Vm,
    memory: Memory,
    sentinel: Sentinel,
    counters: Counters,
    gpu_orders: GpuOrders,
) -> None:
    """When all execution units fault at once, each on its own page, every fault is served, and the batch continues."""
    buffer, value, before = memory(SZ_2M, align=SZ_2M), sentinel(), counters.snapshot()
    gpu_orders.all_units_fault()
    mirror_vm.queue(away(device)).store(buffer.address, value)
    landed(buffer, 0, value)
    with driver_only("obs.svm-pagefault-count"):
        wait_until(
            lambda: (
                counters.by_size("pagefault_count", since=before).get("2M", 0) > len(device.known_engines)
            ),
            what="the service of more faults than engines can have",
        )


@behaviour("vm.create.many-vms-one-mm", "obs.svm-pagefault-count")
@acts("fault", "store")
@needs("cpu-addr-mirror")
def test_vms_fault_on_one_range_concurrently(
    make_vm: MakeVm, memory: Memory, bo: MakeBo, sentinel: Sentinel, counters: Counters
) -> None:
    """Stores of many VMs to one range of their process all land, in whatever order the VMs fault."""
    vms = [make_vm(FAULTING) for _ in range(6)]
    buffer, before, jobs = memory(SZ_2M, align=SZ_2M), counters.snapshot(), []
    values = {PAGE * number: sentinel() for number in range(len(vms))}
    for vm, (offset, value) in zip(vms, values.items(), strict=True):
        vm.mirror()
        jobs.append(vm.queue().start(Batch().store_dword(buffer.address + offset, value)))
    for job in jobs:
        job.wait()
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before)
    for offset, value in values.items():
        landed(buffer, offset, value)
