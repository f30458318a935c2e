# SPDX-License-Identifier: MIT
"""A driver built without DRM_GPUSVM, which provides the pages of userptrs (xe_userptr.h)."""

from __future__ import annotations

import errno

import pytest

from fixtures import FAULTING, LONG_RUNNING, PLAIN, acts, behaviour, landed, needs, refused
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.sizes import SZ_64K
from fixtures.xe.flags import MAP_USERPTR, READONLY

AT = 0x20_0000_0000


@behaviour("userptr.needs-gpusvm")
@acts("refusal", "store")
@needs("no-userptr", "range-attributes")
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(LONG_RUNNING, id="lr"),
        pytest.param(FAULTING, id="fault", marks=needs("page-faults")),
    ],
)
@pytest.mark.parametrize("flags", [0, READONLY], ids=["writable", "readonly"])
def test_userptr_without_gpusvm_is_einval(
    make_vm: MakeVm, bo: MakeBo, memory: Memory, sentinel: Sentinel, mode: int, flags: int
) -> None:
    """A kernel without DRM_GPUSVM rejects MAP_USERPTR with EINVAL in every VM, also over a BO, which stays mapped."""
    vm, obj, buffer, value = make_vm(mode), bo(SZ_64K), memory(SZ_64K), sentinel()
    vm.map(obj, AT)
    before = [bytes(area) for area in vm.attributes(0, vm.size)]
    for place in AT, AT + SZ_64K:
        with refused(errno.EINVAL):
            vm.bind(MAP_USERPTR, addr=place, range=SZ_64K, obj_offset=buffer.address, flags=flags)
    assert [bytes(area) for area in vm.attributes(0, vm.size)] == before
    vm.queue().store(AT, value)
    landed(obj.map(), 0, value)
