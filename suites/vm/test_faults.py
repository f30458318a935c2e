# SPDX-License-Identifier: MIT
"""VM_GET_PROPERTY FAULTS: the list of failed faults (xe_vm.c: xe_vm_get_property_helper)."""

from __future__ import annotations

import ctypes
import errno

import pytest

from fixtures import acts, behaviour, beyond_header, driver_only, needs, refused, wait_until
from fixtures.given import MakeVm, Memory
from fixtures.memory import PAGE
from fixtures.sizes import SZ_1G
from fixtures.xe.checks import stores_fail
from fixtures.xe.queue import QueueError
from fixtures.xe.vm import Vm
from ioctl import xe

ENTRY = ctypes.sizeof(xe.xe_vm_fault)
FIRST = 1 << 21
"""Address of the first fault; nothing is bound in the VM there."""
KEPT = 50
"""Faults that a VM remembers (xe_vm.h: MAX_FAULTS_SAVED_PER_VM)."""


def fail(vm: Vm, number: int, start: int = 0) -> list[int]:
    """Have ``number`` stores fail, each on a queue and a page of its own: the addresses, in order."""
    addresses = [FIRST + index * PAGE for index in range(start, start + number)]
    stores_fail(vm, addresses)
    return addresses


def recorded(vm: Vm, number: int) -> list[int]:
    """The addresses of the entries, once there are as many."""
    wait_until(lambda: len(vm.faults()) >= number, what=f"{number} entries of failed faults")
    return [fault.address for fault in vm.faults()]


def read(vm: Vm, size: int, address: int) -> None:
    """VM_GET_PROPERTY FAULTS of ``size`` bytes; raises OSError."""
    argument = xe.drm_xe_vm_get_property(vm_id=vm.id, size=size, data=address)
    vm.device.ioctl(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, argument)


@behaviour("vm.getprop.size-query")
@acts("ioctl")
@pytest.mark.parametrize("flags", ["plain_vm", "lr_vm", pytest.param("fault_vm", marks=needs("page-faults"))])
def test_new_vm_has_no_faults(request: pytest.FixtureRequest, flags: str) -> None:
    """The fault list of a new VM of any mode has 0 bytes."""
    vm = request.getfixturevalue(flags)
    argument = xe.drm_xe_vm_get_property(vm_id=vm.id)
    vm.device.ioctl(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, argument)
    assert argument.size == 0


@behaviour("vm.getprop.partial-read", "vm.getprop.size-query", "vm.getprop.size-invalid")
@acts("ioctl", "refusal")
@needs("page-faults")
def test_short_read_returns_oldest_faults(fault_vm: Vm, memory: Memory) -> None:
    """With room for k entries the k oldest are read, in order, and nothing after them is written."""
    addresses = fail(fault_vm, 3)
    assert recorded(fault_vm, 3) == addresses
    entries = b"".join(bytes(fault) for fault in fault_vm.faults())
    for k in range(1, 4):
        reply = memory(PAGE, fill=b"\xa5")
        read(fault_vm, k * ENTRY, reply.address)
        assert reply.bytes()[k * ENTRY :] == b"\xa5" * (PAGE - k * ENTRY)
        with driver_only("vm.getprop.partial-read"):
            assert reply.bytes()[: k * ENTRY] == entries[: k * ENTRY]
    with refused(errno.EINVAL):
        read(fault_vm, 4 * ENTRY, memory(PAGE).address)


@behaviour("vm.getprop.entry-fields")
@acts("ioctl")
@beyond_header
@needs("page-faults")
def test_fault_entry_has_only_defined_values(fault_vm: Vm) -> None:
    """Access type, fault type and level of a fault have defined values; padding and reserved words are zero."""
    (address,) = fail(fault_vm, 1)
    recorded(fault_vm, 1)
    (fault,) = fault_vm.faults()
    assert fault.address <= address < fault.address + fault.address_precision
    assert fault.access_type == xe.FAULT_ACCESS_TYPE_WRITE
    assert fault.fault_type <= xe.FAULT_TYPE_ATOMIC_ACCESS
    assert fault.fault_level <= xe.FAULT_LEVEL_PML5
    assert (fault.pad, *fault.reserved) == (0, 0, 0, 0, 0)


@behaviour("vm.getprop.entry-fields")
@acts("ioctl")
@needs("page-faults")
def test_fault_address_in_upper_half_is_canonical(fault_vm: Vm) -> None:
    """The address of a fault in the upper half of the VM is sign-extended to a canonical address."""
    address = fault_vm.size - SZ_1G
    with pytest.raises(QueueError):
        fault_vm.queue().store(address, 1)
    assert recorded(fault_vm, 1) == [address | (1 << 64) - fault_vm.size]


@behaviour("vm.getprop.cap-50")
@acts("ioctl")
@needs("page-faults")
@pytest.mark.timeout(60)
def test_vm_keeps_its_first_50_faults(fault_vm: Vm, make_vm: MakeVm) -> None:
    """The first 50 of 52 faults are listed, the later ones are not; another VM has its own list."""
    other = make_vm(fault_vm.flags)
    addresses = fail(fault_vm, KEPT)
    assert recorded(fault_vm, KEPT) == addresses
    fail(fault_vm, 2, start=KEPT)
    (late,) = fail(other, 1, start=KEPT + 2)
    assert recorded(other, 1) == [late]
    assert [fault.address for fault in fault_vm.faults()] == addresses


@behaviour("vm.getprop.unknown-vm")
@acts("refusal", "ioctl")
@needs("page-faults")
def test_faults_of_destroyed_vm_are_gone(fault_vm: Vm, make_vm: MakeVm) -> None:
    """VM_GET_PROPERTY of a destroyed VM gives ENOENT, and the next VM with its id has no faults."""
    fail(fault_vm, 1)
    recorded(fault_vm, 1)
    number, flags = fault_vm.id, fault_vm.flags
    fault_vm.close()
    with refused(errno.ENOENT):
        fault_vm.device.ioctl(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, xe.drm_xe_vm_get_property(vm_id=number))
    assert make_vm(flags).faults() == []
