# SPDX-License-Identifier: MIT
"""MADVISE for which the kernel has no memory (xe_vm_madvise.c: get_vmas, xe_vm_alloc_madvise_vma)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, failing, gpu_finds, needs
from fixtures.given import MakeBo, Sentinel
from fixtures.sizes import SZ_64K
from fixtures.xe.flags import ATOMIC
from fixtures.xe.vm import Vm
from ioctl import xe

AT = 1 << 40
"""A GPU address at which nothing is bound."""
AREAS = 20
"""More than the driver has room for at first, twice (get_vmas: 8)."""

pytestmark = needs("page-faults", "range-attributes", "fault-injection")


def modes(vm: Vm) -> list[int]:
    """The attribute ATOMIC of each area."""
    return [area.atomic.val for area in vm.attributes(AT, AREAS * SZ_64K)]


@behaviour("madvise.failure-no-change")
@acts("ioctl", "load")
@pytest.mark.timeout(60)
def test_failing_madvise_allocations_change_nothing(fault_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """Whichever allocation of MADVISE fails, it gives ENOMEM and changes no area, or all areas have the advice."""
    values: dict[int, int] = {}
    for number in range(AREAS):
        made, at = bo(SZ_64K), AT + number * SZ_64K
        made.map().set_u32(0, values.setdefault(at, sentinel()))
        fault_vm.map(made, at)
    queue = fault_vm.queue()
    gpu_finds(queue, values)
    before, advice, codes = modes(fault_vm), xe.DRM_XE_ATOMIC_CPU, set()

    def advise() -> None:
        fault_vm.madvise(AT, AREAS * SZ_64K, ATOMIC, val=advice)

    for code in failing.each_allocation(advise):
        assert modes(fault_vm) == ([advice] * AREAS if code == 0 else before)
        codes.add(code)
        fault_vm.madvise(AT, AREAS * SZ_64K, ATOMIC, val=before[0])
        gpu_finds(queue, values)
    assert codes == {0, errno.ENOMEM}
