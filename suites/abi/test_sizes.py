# SPDX-License-Identifier: MIT
"""Arguments of a size that is not the kernel's: programs older or newer than it (drm_ioctl.c: drm_ioctl)."""

from __future__ import annotations

import ctypes
import errno

import pytest

from fixtures import acts, behaviour, refused
from fixtures.given import MakeBo, Memory
from fixtures.memory import PAGE, PROT_READ, Buffer
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from ioctl import Direction, Request, xe
from ioctl.layout import Structure
from suites.abi.test_numbers import shaped

FILL = b"\xa5"
BOTH = Direction.BOTH


def resized(request: Request, size: int, direction: Direction | None = None) -> Request:
    """A request with another size of its argument, or another direction."""
    return shaped(request.nr, request.direction if direction is None else direction, size)


def give(
    device: Device,
    request: Request,
    place: Buffer,
    argument: Structure,
    size: int,
    direction: Direction | None = None,
) -> bytes:
    """Make a call with the first ``size`` bytes of an argument, and garbage after them: the memory afterwards."""
    place.fill(FILL)
    place.write(0, bytes(argument)[:size])
    device.ioctl(resized(request, size, direction), place.address)
    return place.bytes()


@behaviour("abi.smaller-struct")
@acts("ioctl")
@pytest.mark.parametrize("size", [16, 24], ids=["up-to-the-id", "half-of-reserved"])
def test_short_vm_create_is_zero_extended(device: Device, memory: Memory, size: int) -> None:
    """A shorter VM_CREATE makes a VM, whatever follows it in memory, and writes no more than its own size."""
    after = give(device, xe.DRM_IOCTL_XE_VM_CREATE, memory(PAGE), xe.drm_xe_vm_create(), size)
    made = xe.drm_xe_vm_create.from_buffer_copy(after)
    assert 0 < made.vm_id < 1 << 16
    assert after[size:] == FILL * (PAGE - size)
    device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=made.vm_id))


@behaviour("abi.smaller-struct")
@acts("ioctl")
def test_short_vm_bind_is_zero_extended(plain_vm: Vm, memory: Memory, bo: MakeBo) -> None:
    """VM_BIND without its trailing reserved words works."""
    op = plain_vm.operation(addr=1 << 20, range=SZ_64K, obj=bo(SZ_64K).handle)
    argument = xe.drm_xe_vm_bind(vm_id=plain_vm.id, num_binds=1, bind=op)
    place = memory(PAGE)
    give(plain_vm.device, xe.DRM_IOCTL_XE_VM_BIND, place, argument, xe.drm_xe_vm_bind.reserved.offset)
    plain_vm.unmap(1 << 20, SZ_64K)


@behaviour("abi.smaller-struct")
@acts("refusal")
def test_truncated_gem_create_fields_are_zero(device: Device, memory: Memory) -> None:
    """GEM_CREATE that ends before cpu_caching has cpu_caching 0, even if a valid one follows in memory."""
    place = memory(PAGE)
    right = xe.drm_xe_gem_create(size=SZ_64K, placement=1, cpu_caching=xe.DRM_XE_GEM_CPU_CACHING_WB)
    place.write(0, bytes(right))
    with refused(errno.EINVAL):
        device.ioctl(
            resized(xe.DRM_IOCTL_XE_GEM_CREATE, xe.drm_xe_gem_create.cpu_caching.offset), place.address
        )
    assert place.bytes(0, ctypes.sizeof(right)) == bytes(right)


@behaviour("abi.larger-struct")
@acts("ioctl")
@pytest.mark.parametrize("size", [33, 40, 128, 256, PAGE])
def test_long_vm_create_ignores_trailing_bytes(device: Device, memory: Memory, size: int) -> None:
    """A longer VM_CREATE makes a VM; its extra bytes are ignored and left unchanged."""
    place = memory(PAGE)
    argument = bytes(xe.drm_xe_vm_create()).ljust(size, FILL)
    place.write(0, argument)
    device.ioctl(resized(xe.DRM_IOCTL_XE_VM_CREATE, size), place.address)
    made = xe.drm_xe_vm_create.from_buffer_copy(place.bytes())
    assert made.vm_id > 0
    assert place.bytes(32, size - 32) == argument[32:]
    device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=made.vm_id))


@behaviour("abi.larger-struct")
@acts("refusal")
def test_long_argument_is_still_checked(device: Device, memory: Memory) -> None:
    """A longer argument is checked like one of the right size: a reserved word that is not 0 gives EINVAL."""
    place = memory(PAGE)
    wrong = xe.drm_xe_vm_create()
    wrong.reserved[1] = 1
    place.write(0, bytes(wrong))
    with refused(errno.EINVAL):
        device.ioctl(resized(xe.DRM_IOCTL_XE_VM_CREATE, 64), place.address)


@behaviour("abi.direction-bits")
@acts("ioctl")
def test_iow_request_is_not_copied_out(device: Device, memory: Memory) -> None:
    """VM_CREATE with direction _IOW makes a VM and does not return its id."""
    place, expected = memory(PAGE), next_vm(device)
    after = give(device, xe.DRM_IOCTL_XE_VM_CREATE, place, xe.drm_xe_vm_create(), 32, Direction.WRITE)
    assert xe.drm_xe_vm_create.from_buffer_copy(after).vm_id == 0
    assert next_vm(device) != expected


@behaviour("abi.direction-bits")
@acts("ioctl")
def test_ior_request_is_not_copied_in(device: Device, memory: Memory) -> None:
    """VM_CREATE with direction _IOR ignores a garbage argument, makes a plain VM, and returns its id."""
    place, plain = memory(PAGE, fill=FILL), xe.drm_xe_vm_create()
    device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, plain)
    device.ioctl(resized(xe.DRM_IOCTL_XE_VM_CREATE, 32, Direction.READ), place.address)
    made = xe.drm_xe_vm_create.from_buffer_copy(place.bytes())
    assert (made.extensions, made.flags, *made.reserved) == (0, plain.flags, 0, 0)
    assert 0 < made.vm_id < 1 << 16
    device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=made.vm_id))


@behaviour("abi.argument-fault")
@acts("refusal", "ioctl")
@pytest.mark.parametrize("address", [0, 8, 0xFFFF_8000_0000_0000], ids=["null", "low", "kernel"])
def test_unreadable_argument_is_efault(device: Device, address: int) -> None:
    """An unreadable argument gives EFAULT, and no VM is made: the next one gets the next id."""
    expected = next_vm(device)
    with refused(errno.EFAULT):
        device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, address)
    assert next_vm(device) == expected


@behaviour("abi.argument-fault")
@acts("refusal", "ioctl")
def test_argument_past_end_of_mapping_is_efault(device: Device, memory: Memory) -> None:
    """An argument whose last word is not mapped gives EFAULT, and nothing is done."""
    place = memory(PAGE)
    expected = next_vm(device)
    with refused(errno.EFAULT):
        device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, place.end - 24)
    assert next_vm(device) == expected


@behaviour("abi.argument-fault")
@acts("refusal")
def test_unwritable_argument_is_efault(device: Device, memory: Memory) -> None:
    """An argument that the kernel writes gives EFAULT in read-only memory, and is unchanged."""
    place = memory(PAGE)
    place.mprotect(PROT_READ)
    with refused(errno.EFAULT):
        device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, place.address)
    assert place.bytes() == bytes(PAGE)


@behaviour("abi.argument-fault")
@acts("ioctl")
def test_iow_argument_may_be_read_only(device: Device, memory: Memory) -> None:
    """VM_DESTROY accepts an argument in read-only memory."""
    place, number = memory(PAGE), next_vm(device, keep=True)
    place.write(0, bytes(xe.drm_xe_vm_destroy(vm_id=number)))
    place.mprotect(PROT_READ)
    device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, place.address)
    with refused(errno.ENOENT):
        device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, place.address)


def next_vm(device: Device, *, keep: bool = False) -> int:
    """Make a VM and destroy it: its id."""
    argument = xe.drm_xe_vm_create()
    device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
    if not keep:
        device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=argument.vm_id))
    return int(argument.vm_id)
