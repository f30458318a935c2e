# SPDX-License-Identifier: MIT
"""VMs after a GT reset (xe_gt.c: gt_reset_worker)."""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.reset import reset_gt
from fixtures.xe.vm import Vm

pytestmark = [needs("page-faults", "gt-reset"), pytest.mark.timeout(60)]


@behaviour("life.gt-reset")
@acts("load", "store")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("svm-vram"))])
def test_mirror_works_after_gt_reset(mirror_vm: Vm, memory: Memory, sentinel: Sentinel, place: str) -> None:
    """After a GT reset memory is intact, and a new queue of the VM can use memory mapped before, and other memory."""
    device, buffer, fresh = mirror_vm.device, memory(SZ_2M, align=SZ_2M), memory(PAGE)
    values = {offset: sentinel() for offset in (0, PAGE, SZ_2M - 4)}
    mirror_vm.prefetch(buffer.address, SZ_2M, device.vram[0] if place == "vram" else 0)
    mirror_vm.queue().store_all({buffer.address + offset: value for offset, value in values.items()})
    for gt in device.known_gts:
        reset_gt(device, gt.gt_id)
    queue = mirror_vm.queue()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
        landed(buffer, offset, value)
    value = sentinel()
    queue.store(fresh.address, value)
    landed(fresh, 0, value)
