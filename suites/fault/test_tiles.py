# SPDX-License-Identifier: MIT
"""Faults of a device with several tiles (xe_svm.c: __xe_svm_handle_pagefault)."""

from __future__ import annotations

from fixtures import acts, behaviour, driver_only, gpu_sees, landed, needs
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.sizes import SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

COUNTER = "svm_pagefault_count"


@behaviour("fault.bind-faulting-tile-only")
@acts("fault", "store", "load")
@needs("multi-tile", "page-faults", "cpu-addr-mirror", "debugfs")
def test_each_tile_takes_its_own_fault(
    device: Device, mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """A range that one tile faulted in is not mapped for another tile, which faults on it once itself."""
    buffer, value = memory(SZ_64K, align=SZ_64K), sentinel()
    buffer.set_u32(0, value)
    tiles = {gt.gt_id: gt.tile_id for gt in device.known_gts}
    engines: dict[int, xe.drm_xe_engine_class_instance] = {}
    for engine in device.known_engines:
        engines.setdefault(tiles[engine.gt_id], engine)
    queues = {engine.gt_id: mirror_vm.queue(engine) for engine in engines.values()}
    for queue in queues.values():
        queue.run(Batch().noop())
    for gt, queue in queues.items():  # the CPU stays away, as it would take the memory from all tiles
        for faults in 1, 0:
            before = {one: counters.snapshot(one)[COUNTER] for one in queues}
            gpu_sees(queue, buffer.address, value)
            with driver_only("fault.bind-faulting-tile-only"):
                after = {one: counters.snapshot(one)[COUNTER] for one in queues}
                assert after == before | {gt: before[gt] + faults}
    count("fault")
    for number, queue in enumerate(queues.values(), 1):
        queue.store(buffer.address + 4 * number, stored := sentinel())
        landed(buffer, 4 * number, stored)
