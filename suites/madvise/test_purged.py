# SPDX-License-Identifier: MIT
"""A BO in state DONTNEED is purged under VRAM pressure, not evicted (xe_bo.c: xe_ttm_bo_purge)."""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, gpu_sees, needs, refused, wait_until
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.xe.device import Device
from fixtures.xe.flags import DONTNEED, SCRATCH, WILLNEED
from fixtures.xe.vm import PLAIN

AT, ELSEWHERE = 1 << 40, 1 << 41
PARTS = 16
"""The number of objects that fill VRAM."""


pytestmark = [needs("vram", "purging"), pytest.mark.timeout(60)]


@behaviour("madvise.purge.once-purged")
@acts("refusal", "load")
def test_purged_bo_cannot_be_used_again(
    device: Device, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel
) -> None:
    """A purged BO cannot be restored by WILLNEED, mapped, exported or bound, and its data is gone."""
    vm = make_vm(PLAIN | SCRATCH)
    region, queue, value = device.vram[0], vm.queue(), sentinel()
    part = device.region(region).total_size // PARTS
    target = bo(part, placement=1 << region)
    vm.map(target, AT)
    queue.store(AT, value)
    gpu_sees(queue, AT, value)
    assert vm.purgeable(AT, part, DONTNEED) == 1
    for _ in range(PARTS):
        bo(part, placement=1 << region)
    for state in (WILLNEED, DONTNEED, WILLNEED):
        assert vm.purgeable(AT, part, state) == 0
    with refused():
        target.map()
    with refused():
        target.export()
    with refused():
        vm.bind(addr=ELSEWHERE, range=part, obj=target.handle)
    assert queue.load(AT) != value


@behaviour("madvise.purge.once-purged")
@acts("load", "ioctl")
def test_purged_bo_gets_no_vram_again(
    device: Device, make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel
) -> None:
    """A batch in a VM with a purged BO runs, and gives the BO no VRAM again, although there is some."""
    vm = make_vm(PLAIN | SCRATCH)
    region, queue, value = device.vram[0], vm.queue(), sentinel()
    part, before = device.region(region).total_size // PARTS, device.vram_used()
    target = bo(part, placement=1 << region)
    vm.map(target, AT)
    queue.store(AT, value)
    gpu_sees(queue, AT, value)
    vm.purgeable(AT, part, DONTNEED)
    others = [bo(part, placement=1 << region) for _ in range(PARTS)]
    assert vm.purgeable(AT, part, WILLNEED) == 0
    for other in others:
        other.close()
    wait_until(lambda: device.vram_used() < before + part // 2, what="free VRAM")
    for at in (AT, AT + part - 4):
        assert queue.load(at) != value
    assert device.vram_used() < before + part // 2
