# SPDX-License-Identifier: MIT
"""The order in which BOs lose their VRAM: what was used last goes last (xe_vm.c: xe_vm_bump_lru)."""

from __future__ import annotations

import pytest

from fixtures import PLAIN, acts, behaviour, disturbs, landed, needs
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.device import Device

ADDRESS = 1 << 32

pytestmark = [disturbs("it fills the VRAM"), pytest.mark.usefixtures("vram_given_back")]


@behaviour("evict.exec-lru")
@acts("exec", "store", "query")
@needs("vram")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("private", [False, True], ids=["external", "private"])
def test_bo_of_last_job_keeps_its_vram(
    device: Device, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, private: bool
) -> None:
    """A BO takes the VRAM of another that the last job did not use, and not of the one that it used."""
    part = device.region(device.vram[0]).total_size // 16 // SZ_2M * SZ_2M
    placement = SYSTEM | 1 << device.vram[0]
    vms = make_vm(PLAIN), make_vm(PLAIN)
    queues = [vm.queue() for vm in vms]
    pair = [
        bo(size * part, placement=placement, vm=vm.id if private else 0)
        for size, vm in zip((7, 6), vms, strict=True)
    ]
    for made, vm, queue in zip(pair, vms, queues, strict=True):
        vm.map(made, ADDRESS)
        queue.store(ADDRESS, sentinel())
    queues[0].store(ADDRESS + made.size // 2, value := sentinel())
    before = device.vram_used()
    bo(8 * part, placement=1 << device.vram[0])
    lost = before + 8 * part - device.vram_used()
    assert abs(lost - 6 * part) < part // 2, (
        f"{lost / part:.2f} parts lost their VRAM: 7 are the BO that was used last"
    )
    landed(pair[0].map(), made.size // 2, value)
