# SPDX-License-Identifier: MIT
"""What the GPU may do through a user pointer: atomics, advice about a part of it, memory of several devices."""

import errno

import pytest

from fixtures import FAULTING, acts, behaviour, gpu_sees, landed, needs, refused
from fixtures.choices import chose
from fixtures.intervals import Interval
from fixtures.memory import PAGE
from fixtures.vm import Vm
from gpu import Batch
from ioctl import errno_name, xe

MAP_USERPTR = xe.DRM_XE_VM_BIND_OP_MAP_USERPTR
ATOMIC = xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
UNIT = 1 << 16
CHUNK = 1 << 21
MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "userptr")


@behaviour("userptr.atomic-dgpu")
@acts("refusal")
@needs("vram", "atomic")
def test_atomic_on_userptr_faults_by_default(fault_vm: Vm, memory, sentinel) -> None:
    """On a discrete GPU an atomic on bound process memory, which never moves to VRAM, fails and changes nothing."""
    buffer, value = memory(UNIT), sentinel()
    buffer.set_u32(0, value)
    fault_vm.map_userptr(AT, buffer.address, UNIT)
    gpu_sees(fault_vm.queue(), AT, value)
    with refused(errno.EIO):
        fault_vm.queue().run(Batch().atomic(AT, "add", sentinel()))
    assert buffer.u32(0) == value


@behaviour("userptr.atomic-dgpu")
@acts("store")
@needs("vram", "atomic", "xe2")
def test_device_atomic_on_userptr_works(fault_vm: Vm, memory, sentinel) -> None:
    """After the advice ATOMIC DEVICE an atomic on bound process memory works, on a device that has them there."""
    buffer, start, added = memory(UNIT), sentinel(), sentinel()
    buffer.set_u32(0, start)
    fault_vm.map_userptr(AT, buffer.address, UNIT)
    fault_vm.madvise(AT, UNIT, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)
    fault_vm.queue().run(Batch().atomic(AT, "add", added))
    landed(buffer, 0, (start + added) & MASK)


@behaviour("userptr.madvise-subrange")
@acts("load", "store")
@pytest.mark.parametrize("part", [0, 1, 3], ids=["first", "middle", "last"])
def test_madvise_of_part_of_userptr_is_harmless(fault_vm: Vm, memory, make_layout, part: int) -> None:
    """MADVISE of a part of a binding succeeds or fails; either way all of it leads to its memory, with its data."""
    beside, buffer = memory(UNIT, fill=b"\x3c"), memory(4 * UNIT)
    fault_vm.map_userptr(AT, buffer.address, 4 * UNIT)
    layout = make_layout(fault_vm.queue(), UNIT)
    layout.put(Interval(AT, AT + 4 * UNIT), buffer)
    layout.check()
    try:
        fault_vm.madvise(AT + part * UNIT, UNIT, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)
        chose("advice about a part: accepted")
    except OSError as error:
        chose(f"advice about a part: {errno_name(error.errno or 0)}")
    layout.check()
    assert beside.bytes() == b"\x3c" * UNIT


@behaviour("userptr.mixed-two-pagemaps")
@acts("refusal", "load")
@needs("interconnect", "svm-counters")
def test_userptr_over_two_pagemaps_is_eopnotsupp(devices, make_vm, memory, sentinel) -> None:
    """MAP_USERPTR of memory that is partly in the VRAM of one device, partly in that of another, gives EOPNOTSUPP."""
    buffer = memory(2 * CHUNK, align=CHUNK)
    values = [sentinel(), sentinel()]
    vms = [make_vm(FAULTING, device) for device in devices[:2]]
    for index, vm in enumerate(vms):
        buffer.set_u32(index * CHUNK + PAGE, values[index])
        vm.mirror(buffer.address, buffer.size)
        vm.prefetch(buffer.address + index * CHUNK, CHUNK, vm.device.vram[0])
    assert not buffer.present(0)
    assert not buffer.present(CHUNK)
    with refused(errno.EOPNOTSUPP):
        vms[0].bind(MAP_USERPTR, addr=AT, range=buffer.size, obj_offset=buffer.address)
    vms[0].map_userptr(AT, buffer.address, CHUNK)
    gpu_sees(vms[0].queue(), AT + PAGE, values[0])
