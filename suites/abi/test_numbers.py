# SPDX-License-Identifier: MIT
"""The numbers of the uAPI as an old binary has them: written out here, not taken from ioctl/xe.py."""

from __future__ import annotations

import ctypes
import errno

import pytest

from fixtures import FAULTING, acts, behaviour, beyond_header, needs, refused
from fixtures.counting import count
from fixtures.given import MakeBo, MakeSyncobj, MakeVm
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.flags import MIRROR, PURGEABLE, WILLNEED
from fixtures.xe.vm import Vm
from ioctl import Direction, Request, call, xe
from ioctl.layout import Structure, u8

AT = 1 << 20
BAD = 8
"""An unreadable address: the kernel gets as far as copying the argument."""
BASE = 0x40
"""DRM_COMMAND_BASE."""
W, WR = Direction.WRITE, Direction.BOTH

FIRST = behaviour("abi.ioctl-numbers")
IOCTLS = [
    # name, number, direction, bytes of the argument
    pytest.param(xe.DRM_IOCTL_XE_DEVICE_QUERY, 0x00, WR, 40, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_GEM_CREATE, 0x01, WR, 56, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, 0x02, WR, 40, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_VM_CREATE, 0x03, WR, 32, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_VM_DESTROY, 0x04, W, 24, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_VM_BIND, 0x05, W, 136, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, 0x06, WR, 48, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, 0x07, W, 24, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, 0x08, WR, 40, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_EXEC, 0x09, W, 56, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, 0x0A, WR, 72, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_OBSERVATION, 0x0B, W, 32, marks=FIRST),
    pytest.param(xe.DRM_IOCTL_XE_MADVISE, 0x0C, W, 64, marks=behaviour("abi.ioctl-numbers-6.18")),
    pytest.param(
        xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, 0x0D, WR, 64, marks=behaviour("abi.ioctl-numbers-6.18")
    ),
    pytest.param(
        xe.DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY, 0x0E, W, 40, marks=behaviour("abi.ioctl-numbers-7.0")
    ),
    pytest.param(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, 0x0F, WR, 56, marks=behaviour("abi.ioctl-numbers-7.1")),
]


def shaped(number: int, direction: Direction, size: int, kind: str = "d") -> Request:
    """A request by its parts."""
    struct = (
        type("bytes", (Structure,), {"__slots__": (), "_fields_": (("bytes", u8 * size),)}) if size else None
    )
    return Request(f"ioctl {kind} {number:#x} of {size} bytes", direction, kind, number, struct, "<=6.12")


@acts("refusal")
@pytest.mark.parametrize(("request_", "number", "direction", "size"), IOCTLS, ids=str)
def test_each_ioctl_has_its_number(
    device: Device, request_: Request, number: int, direction: Direction, size: int
) -> None:
    """Each ioctl number is known: with an unreadable argument it gives EFAULT, not EINVAL."""
    assert request_.number == direction << 30 | size << 16 | ord("d") << 8 | BASE + number
    with refused(errno.EFAULT):
        device.ioctl(request_, BAD)


@behaviour("abi.unknown-ioctl")
@acts("refusal")
@beyond_header
@pytest.mark.parametrize("number", [0x10, 0x11, 0x20, 0x3F, 0x5F], ids=hex)
@pytest.mark.parametrize("size", [0, 8, 64, 0x3FFF])
def test_unknown_xe_ioctl_is_refused(device: Device, number: int, size: int) -> None:
    """A driver command beyond the last one gives EINVAL or ENOTTY, and its argument is not even read."""
    with refused(errno.EINVAL, errno.ENOTTY):
        device.ioctl(shaped(BASE + number, WR if size else Direction.NONE, size), BAD)


@behaviour("abi.unknown-ioctl")
@acts("refusal")
@pytest.mark.parametrize("kind", ["D", "e", "i", "\0", "\xff"])
def test_non_drm_ioctl_is_enotty(device: Device, kind: str) -> None:
    """An ioctl of any type other than 'd' gives ENOTTY, whatever its number."""
    with refused(errno.ENOTTY):
        device.ioctl(shaped(BASE + xe.DRM_XE_DEVICE_QUERY, WR, 40, kind), BAD)


@behaviour("abi.ioctl-numbers")
@acts("refusal")
def test_ioctl_on_closed_fd_is_ebadf(device: Device) -> None:
    """A command on a descriptor that is no longer open gives EBADF."""
    number = device.fd
    device.close()
    with refused(errno.EBADF):
        call(number, xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create())


@behaviour("abi.struct-sizes")
@acts("query")
@pytest.mark.parametrize(
    ("query", "header", "element"),
    [
        pytest.param(xe.DRM_XE_DEVICE_QUERY_ENGINES, 8, 32, id="engines"),
        pytest.param(xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS, 8, 88, id="mem-regions"),
        pytest.param(xe.DRM_XE_DEVICE_QUERY_CONFIG, 8, 8, id="config"),
        pytest.param(xe.DRM_XE_DEVICE_QUERY_GT_LIST, 8, 96, id="gt-list"),
    ],
)
def test_query_reply_element_sizes(device: Device, query: int, header: int, element: int) -> None:
    """A reply is a header and the number of elements that it announces, each of the documented size."""
    reply = device.query(query)
    number = ctypes.c_uint32.from_buffer_copy(reply).value
    assert number > 0
    assert len(reply) == header + number * element


@behaviour("abi.struct-sizes-6.18", "madvise.query.num0-args")
@acts("ioctl")
@needs("range-attributes")
def test_mem_range_attr_is_64_bytes(plain_vm: Vm) -> None:
    """The kernel reports that an entry of VM_QUERY_MEM_RANGE_ATTRS has 64 bytes."""
    argument = xe.drm_xe_vm_query_mem_range_attr(vm_id=plain_vm.id, start=AT, range=SZ_64K)
    plain_vm.device.ioctl(xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, argument)
    assert argument.sizeof_mem_range_attr == 64


@behaviour("abi.struct-sizes", "bind.array.order")
@acts("ioctl")
@needs("range-attributes")
def test_array_elements_lie_at_struct_size(plain_vm: Vm, bo: MakeBo, syncobj: MakeSyncobj) -> None:
    """Ops are 80 bytes apart and syncs 48: three of each, written at these offsets by hand, all take effect."""
    made, done = bo(SZ_64K), [syncobj() for _ in range(3)]
    ops, syncs = bytearray(3 * 80), bytearray(3 * 48)
    for index in range(3):
        op = plain_vm.operation(addr=AT + 2 * index * SZ_64K, range=SZ_64K, obj=made.handle)
        ops[80 * index : 80 * (index + 1)] = bytes(op)
        syncs[48 * index : 48 * (index + 1)] = bytes(done[index].sync())
    assert len(ops) == 3 * 80
    assert len(syncs) == 3 * 48
    places = [(ctypes.c_ubyte * len(data)).from_buffer(data) for data in (ops, syncs)]
    argument = xe.drm_xe_vm_bind(
        vm_id=plain_vm.id, num_binds=3, num_syncs=3, syncs=ctypes.addressof(places[1])
    )
    argument.vector_of_binds = ctypes.addressof(places[0])
    plain_vm.device.ioctl(xe.DRM_IOCTL_XE_VM_BIND, argument)
    for one in done:
        one.wait()
    assert [area.start for area in plain_vm.attributes(AT, 6 * SZ_64K)] == [
        AT + 2 * index * SZ_64K for index in range(3)
    ]


@behaviour("abi.flag-values")
@acts("ioctl", "refusal")
@needs("page-faults", "cpu-addr-mirror")
def test_cpu_addr_mirror_is_bit_5_of_bind(device: Device) -> None:
    """In a VM of bits 1 and 2, bit 5 maps a mirror; of the other bits only 2, NULL, needs no BO either."""
    vm = Vm(device, 1 << 1 | 1 << 2)
    for bit in (0, 1, 3, 4, 7):
        with refused(errno.EINVAL):
            vm.bind(addr=AT, range=SZ_64K, flags=1 << bit)
    for flags in (1 << 2, 1 << 5):
        vm.bind_and_wait(addr=AT, range=SZ_64K, flags=flags)
    vm.close()


@behaviour("abi.flag-values-6.18")
@acts("ioctl", "refusal")
@needs("page-faults", "range-attributes", "cpu-addr-mirror")
def test_autoreset_is_bit_6_and_needs_mirror(fault_vm: Vm) -> None:
    """Bit 6 is accepted together with bit 5, a mirror, and rejected without it."""
    fault_vm.bind_and_wait(addr=AT, range=SZ_64K, flags=1 << 5 | 1 << 6)
    with refused(errno.EINVAL):
        fault_vm.bind(addr=AT, range=SZ_64K, flags=1 << 2 | 1 << 6)


@behaviour("abi.flag-values")
@acts("ioctl")
@pytest.mark.parametrize("bit", [0, 1, 3, 4], ids=["readonly", "immediate", "dumpable", "check-pxp"])
def test_bo_bind_takes_bits_0_1_3_and_4(plain_vm: Vm, bo: MakeBo, bit: int) -> None:
    """READONLY, IMMEDIATE, DUMPABLE and CHECK_PXP, bits 0, 1, 3 and 4, are accepted for an ordinary BO."""
    plain_vm.map(bo(SZ_64K), AT, flags=1 << bit)


@behaviour("abi.flag-values-7.1", "vm.create.no-overcommit-needs-fault")
@acts("ioctl", "refusal")
@needs("page-faults")
def test_no_overcommit_is_bit_3_of_vm_create(make_vm: MakeVm) -> None:
    """Bit 3 of VM_CREATE is accepted together with bits 1 and 2, fault mode, and rejected without them."""
    assert make_vm(1 << 1 | 1 << 2 | 1 << 3).id
    with refused(errno.EINVAL):
        make_vm(1 << 3)


@behaviour("abi.old-kernel-flag")
@acts("query")
def test_unclaimed_feature_is_einval(device: Device, plain_vm: Vm, bo: MakeBo) -> None:
    """Mirrors and purging work if CONFIG advertises them, and give EINVAL otherwise."""
    config = device.config
    fault_vm = None
    if config.has_cpu_addr_mirror:
        fault_vm = Vm(device, FAULTING)
        fault_vm.mirror(AT, SZ_64K)
        fault_vm.close()
    else:
        with refused(errno.EINVAL):
            plain_vm.bind(addr=AT, range=SZ_64K, flags=MIRROR)
    plain_vm.map(bo(SZ_64K), AT)
    type_, state = PURGEABLE, WILLNEED
    if config.flags & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_PURGING_SUPPORT:
        plain_vm.madvise(AT, SZ_64K, type_, val=state)
    else:
        with refused(errno.EINVAL):
            plain_vm.madvise(AT, SZ_64K, type_, val=state)
    count("query")
