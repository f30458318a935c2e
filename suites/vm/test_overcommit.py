# SPDX-License-Identifier: MIT
"""NO_VM_OVERCOMMIT: whether BOs of a VM can evict each other (xe_vm.c: vma_lock_and_validate)."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from fixtures import FAULTING, acts, behaviour, landed, needs
from fixtures.given import MakeBo, MakeVm, Sentinel
from fixtures.sizes import SZ_1M
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.flags import DEFER, IMMEDIATE, NO_OVERCOMMIT
from fixtures.xe.vm import Vm

AT = 1 << 33

pytestmark = [needs("vram", "page-faults"), pytest.mark.timeout(60)]


TwoLarge = Callable[[Vm], list[Bo]]
"""See ``two_large``."""


@pytest.fixture
def two_large(device: Device, bo: MakeBo) -> TwoLarge:
    """``two_large(vm)``: two BOs of a VM, without memory yet, that do not fit into VRAM together."""
    total = device.region(device.vram[0]).total_size
    size = total * 5 // 8 // (2 * SZ_1M) * (2 * SZ_1M)
    return lambda vm: [bo(size, placement=1 << device.vram[0], vm=vm.id, flags=DEFER) for _ in range(2)]


@behaviour("vm.create.no-overcommit-effect")
@acts("ioctl")
def test_bind_with_no_overcommit_does_not_evict(make_vm: MakeVm, two_large: TwoLarge) -> None:
    """With NO_VM_OVERCOMMIT an IMMEDIATE bind that would have to evict another BO gives ENOMEM or ENOSPC."""
    vm: Vm = make_vm(FAULTING | NO_OVERCOMMIT)
    first, second = two_large(vm)
    vm.map(first, AT, flags=IMMEDIATE)
    with pytest.raises(OSError) as refusal:
        vm.bind(addr=AT + first.size, range=second.size, obj=second.handle, flags=IMMEDIATE)
    assert refusal.value.errno in (errno.ENOMEM, errno.ENOSPC)
    vm.unmap(AT, first.size)
    first.close()
    vm.map(second, AT + second.size, flags=IMMEDIATE)


@behaviour("vm.create.no-overcommit-effect")
@acts("ioctl")
def test_bind_with_overcommit_evicts_bo_of_its_vm(make_vm: MakeVm, two_large: TwoLarge) -> None:
    """Without the flag the same bind evicts the first BO and succeeds."""
    vm: Vm = make_vm(FAULTING)
    first, second = two_large(vm)
    vm.map(first, AT, flags=IMMEDIATE)
    vm.map(second, AT + first.size, flags=IMMEDIATE)


@behaviour("vm.create.no-overcommit-effect")
@acts("store")
def test_page_fault_evicts_despite_no_overcommit(
    make_vm: MakeVm, two_large: TwoLarge, sentinel: Sentinel
) -> None:
    """With NO_VM_OVERCOMMIT BOs that are mapped by page faults evict each other, and both keep their data."""
    vm: Vm = make_vm(FAULTING | NO_OVERCOMMIT)
    objects = two_large(vm)
    queue = vm.queue()
    values = [sentinel(), sentinel()]
    for index, one in enumerate(objects):
        vm.map(one, AT + index * one.size)
        queue.store(AT + index * one.size, values[index])
    for one, value in zip(objects, values, strict=True):
        landed(one.map(), 0, value)
