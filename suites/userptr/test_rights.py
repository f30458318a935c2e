# SPDX-License-Identifier: MIT
"""Userptrs with atomics, with MADVISE of a part, and with memory in the VRAM of several devices."""

from __future__ import annotations

import errno

import pytest

from fixtures import FAULTING, acts, behaviour, gpu_fault, gpu_sees, landed, needs, refused
from fixtures.choices import chose
from fixtures.given import MakeLayout, MakeVm, Memory, Sentinel
from fixtures.intervals import Interval
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC, MAP_USERPTR
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import errno_name, xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "userptr")


@behaviour("userptr.atomic-dgpu")
@acts("refusal")
@needs("vram", "atomic")
def test_atomic_on_userptr_faults_by_default(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """On a discrete GPU an atomic on a userptr, which never migrates to VRAM, fails and changes nothing."""
    buffer, value = memory(SZ_64K), sentinel()
    buffer.set_u32(0, value)
    fault_vm.map_userptr(AT, buffer.address, SZ_64K)
    gpu_sees(fault_vm.queue(), AT, value)
    with gpu_fault(fault_vm.queue()) as queue:
        queue.run(Batch().atomic(AT, "add", sentinel()))
    assert buffer.u32(0) == value


@behaviour("userptr.atomic-dgpu")
@acts("store")
@needs("vram", "atomic", "xe2")
def test_device_atomic_on_userptr_works(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """After MADVISE ATOMIC DEVICE an atomic on a userptr works, if the device has atomics on system memory."""
    buffer, start, added = memory(SZ_64K), sentinel(), sentinel()
    buffer.set_u32(0, start)
    fault_vm.map_userptr(AT, buffer.address, SZ_64K)
    fault_vm.madvise(AT, SZ_64K, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)
    fault_vm.queue().run(Batch().atomic(AT, "add", added))
    landed(buffer, 0, (start + added) & MASK)


@behaviour("userptr.madvise-subrange")
@acts("load", "store")
@pytest.mark.parametrize("part", [0, 1, 3], ids=["first", "middle", "last"])
def test_madvise_of_part_of_userptr_is_harmless(
    fault_vm: Vm, memory: Memory, make_layout: MakeLayout, part: int
) -> None:
    """MADVISE of part of a binding succeeds or fails; either way all of it maps its memory, with its data."""
    readable, buffer = memory(SZ_64K, fill=b"\x3c"), memory(4 * SZ_64K)
    fault_vm.map_userptr(AT, buffer.address, 4 * SZ_64K)
    layout = make_layout(fault_vm.queue(), SZ_64K)
    layout.put(Interval(AT, AT + 4 * SZ_64K), buffer)
    layout.check()
    try:
        fault_vm.madvise(AT + part * SZ_64K, SZ_64K, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)
        chose("advice about a part: accepted")
    except OSError as error:
        chose(f"advice about a part: {errno_name(error.errno or 0)}")
    layout.check()
    assert readable.bytes() == b"\x3c" * SZ_64K


@behaviour("userptr.mixed-two-pagemaps")
@acts("refusal", "load")
@needs("interconnect", "svm-counters")
def test_userptr_over_two_pagemaps_is_eopnotsupp(
    devices: list[Device], make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """MAP_USERPTR of memory that is in the VRAM of two devices gives EOPNOTSUPP."""
    buffer = memory(2 * SZ_2M, align=SZ_2M)
    values = [sentinel(), sentinel()]
    vms = [make_vm(FAULTING, device) for device in devices[:2]]
    for index, vm in enumerate(vms):
        buffer.set_u32(index * SZ_2M + PAGE, values[index])
        vm.mirror(buffer.address, buffer.size)
        vm.prefetch(buffer.address + index * SZ_2M, SZ_2M, vm.device.vram[0])
    assert not buffer.present(0)
    assert not buffer.present(SZ_2M)
    with refused(errno.EOPNOTSUPP):
        vms[0].bind(MAP_USERPTR, addr=AT, range=buffer.size, obj_offset=buffer.address)
    vms[0].map_userptr(AT, buffer.address, SZ_2M)
    gpu_sees(vms[0].queue(), AT + PAGE, values[0])
