# SPDX-License-Identifier: MIT
"""Atomic modes that a BO can have, depending on its placements (xe_vm_madvise.c: check_bo_args_are_sane)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, landed, needs, refused
from fixtures.given import MakeBo, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM, Bo
from fixtures.xe.flags import ATOMIC
from fixtures.xe.vm import Vm
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
UNDEFINED, DEVICE = xe.DRM_XE_ATOMIC_UNDEFINED, xe.DRM_XE_ATOMIC_DEVICE
GLOBAL, CPU = xe.DRM_XE_ATOMIC_GLOBAL, xe.DRM_XE_ATOMIC_CPU

pytestmark = needs("page-faults", "range-attributes", "vram")

PLACES = ("system", "vram", "both")


def make(vm: Vm, bo: MakeBo, place: str, at: int = AT) -> Bo:
    """A BO of 2 MiB that may be there, bound at an address."""
    vram = 1 << vm.device.vram[0]
    made = bo(SZ_2M, placement={"system": SYSTEM, "vram": vram, "both": SYSTEM | vram}[place])
    vm.map(made, at)
    return made


def mode(vm: Vm, at: int = AT) -> int:
    """The atomic mode of the VMA at an address."""
    (area,) = vm.attributes(at, PAGE)
    value: int = area.atomic.val
    return value


def judged(vm: Vm, bo: MakeBo, sentinel: Sentinel, place: str, new: int, *, accepted: bool) -> None:
    """The mode is set, or refused and the old one kept; the BO is in use before and after."""
    made, queue = make(vm, bo, place), vm.queue()
    mapped = made.map()
    for step in range(2):
        value = sentinel()
        queue.store(AT + PAGE, value)
        landed(mapped, PAGE, value)
        if step == 0 and accepted:
            vm.madvise(AT, SZ_2M, ATOMIC, val=new)
            assert mode(vm) == new
        elif step == 0:
            with refused(errno.EINVAL):
                vm.madvise(AT, SZ_2M, ATOMIC, val=new)
            assert mode(vm) == UNDEFINED


@behaviour("madvise.atomic.bo-cpu")
@acts("store")
@pytest.mark.parametrize("place", PLACES)
def test_mode_cpu_needs_a_bo_in_system_memory(
    fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, place: str
) -> None:
    """MADVISE ATOMIC CPU of a BO without system memory as placement gives EINVAL; for others it is set."""
    judged(fault_vm, bo, sentinel, place, CPU, accepted=place != "vram")


@behaviour("madvise.atomic.bo-global")
@acts("store")
@pytest.mark.parametrize("place", PLACES)
def test_mode_global_needs_a_bo_in_both(fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, place: str) -> None:
    """MADVISE ATOMIC GLOBAL of a BO without both system memory and VRAM as placements gives EINVAL."""
    judged(fault_vm, bo, sentinel, place, GLOBAL, accepted=place == "both")


@behaviour("madvise.atomic.bo-device")
@acts("store")
@pytest.mark.parametrize("place", ["vram", "both"])
def test_mode_device_is_for_bos_in_vram(fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, place: str) -> None:
    """MADVISE ATOMIC DEVICE of a BO with VRAM as placement is set."""
    judged(fault_vm, bo, sentinel, place, DEVICE, accepted=True)


@behaviour("madvise.atomic.bo-device")
@acts("store")
@needs("pvc")
def test_mode_device_of_a_system_bo_is_refused(fault_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """On a device without atomics on system memory MADVISE ATOMIC DEVICE of a system-memory BO gives EINVAL."""
    judged(fault_vm, bo, sentinel, "system", DEVICE, accepted=False)


@behaviour("madvise.atomic.bo-mixed-all-or-none")
@acts("refusal")
@pytest.mark.parametrize("wrong", [0, 9, 19], ids=["first", "middle", "last"])
def test_one_wrong_bo_refuses_madvise_of_all(fault_vm: Vm, bo: MakeBo, wrong: int) -> None:
    """MADVISE ATOMIC over many BOs, one of which violates its rule, gives EINVAL and changes none of them."""
    for n in range(20):
        make(fault_vm, bo, "vram" if n == wrong else "both", AT + n * SZ_2M)
    with refused(errno.EINVAL):
        fault_vm.madvise(AT, 20 * SZ_2M, ATOMIC, val=GLOBAL)
    assert {mode(fault_vm, AT + n * SZ_2M) for n in range(20)} == {UNDEFINED}
    for start, end in ((0, wrong), (wrong + 1, 20)):
        if start < end:
            fault_vm.madvise(AT + start * SZ_2M, (end - start) * SZ_2M, ATOMIC, val=GLOBAL)
    expected = [UNDEFINED if n == wrong else GLOBAL for n in range(20)]
    assert [mode(fault_vm, AT + n * SZ_2M) for n in range(20)] == expected
