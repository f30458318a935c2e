# SPDX-License-Identifier: MIT
"""VM_CREATE, VM_DESTROY and VM_GET_PROPERTY with one wrong field (xe_vm.c)."""

from __future__ import annotations

import ctypes
from errno import EFAULT, EINVAL, ENOENT

import pytest

from fixtures import FAULTING, QueueError, behaviour, needs, wait_until
from fixtures.given import MakeVm, Memory
from fixtures.memory import PAGE
from fixtures.negative import (
    Call,
    Parts,
    Row,
    Table,
    row,
    spare_rows,
    unknown_flags,
    unknown_values,
)
from fixtures.xe.device import Device
from fixtures.xe.flags import FAULT, LR, NO_OVERCOMMIT, SCRATCH
from fixtures.xe.vm import Vm
from ioctl import xe
from suites.negative.values import (
    create_vm,
    destroy_vm,
    no_extensions,
    strange_vms,
    unwritable,
    vms,
)

ENTRY = ctypes.sizeof(xe.xe_vm_fault)

VM_CREATE = Table(
    xe.drm_xe_vm_create,
    *no_extensions(behaviour("vm.create.extensions-mbz")),
    row("flags", unknown_flags(), EINVAL, behaviour("vm.create.unknown-flags"), label="unknown"),
    row(
        "flags",
        (FAULT, FAULT | SCRATCH, FAULT | NO_OVERCOMMIT),
        EINVAL,
        behaviour("vm.create.fault-needs-lr"),
        needs("page-faults"),
        label="fault-without-lr",
    ),
    row(
        "flags",
        (NO_OVERCOMMIT, LR | NO_OVERCOMMIT, SCRATCH | NO_OVERCOMMIT),
        EINVAL,
        behaviour("vm.create.no-overcommit-needs-fault"),
        label="no-overcommit-without-fault",
    ),
    row("vm_id", (1, 0xFFFF_FFFF), None, behaviour("abi.output-in")),
    *spare_rows(xe.drm_xe_vm_create, behaviour("vm.create.reserved-mbz")),
)


@pytest.fixture
def vm_create(device: Device) -> Call:
    """VM_CREATE of a VM without flags."""
    return Call(
        device,
        xe.DRM_IOCTL_XE_VM_CREATE,
        xe.drm_xe_vm_create,
        state=lambda: vms(device),
        undo=lambda argument: destroy_vm(device, argument.vm_id),
        may_change=("flags",) if scratch_is_forced(device) else (),
    )


def scratch_is_forced(device: Device) -> bool:
    """Whether VM_CREATE adds SCRATCH_PAGE to the flags it is given, before it looks at them."""
    argument = xe.drm_xe_vm_create()
    device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
    destroy_vm(device, argument.vm_id)
    return bool(argument.flags)


@VM_CREATE.rows
def test_vm_create_invalid_args(vm_create: Call, wrong: Row) -> None:
    """VM_CREATE with one wrong field is refused, and creates no VM."""
    wrong.prove(vm_create)


VM_DESTROY = Table(
    xe.drm_xe_vm_destroy,
    row("vm_id", strange_vms, ENOENT, behaviour("vm.destroy.unknown-id")),
    row("vm_id", (0,), ENOENT, behaviour("vm.destroy.unknown-id"), label="none"),
    *spare_rows(xe.drm_xe_vm_destroy, behaviour("vm.destroy.pad-mbz")),
)


@pytest.fixture
def vm_destroy(device: Device) -> Call:
    """VM_DESTROY of a VM that has nothing in it; undone by making another."""
    made = [create_vm(device)]

    def again(_: object) -> None:
        made[0] = create_vm(device)

    return Call(
        device,
        xe.DRM_IOCTL_XE_VM_DESTROY,
        lambda: xe.drm_xe_vm_destroy(vm_id=made[0]),
        state=lambda: vms(device),
        undo=again,
    )


@VM_DESTROY.rows
def test_vm_destroy_invalid_args(vm_destroy: Call, wrong: Row) -> None:
    """VM_DESTROY with one wrong field is refused, and the VM still works."""
    wrong.prove(vm_destroy)


ARGUMENT_OF_GET_PROPERTY = (
    *no_extensions(behaviour("vm.getprop.reserved")),
    row("vm_id", strange_vms, ENOENT, behaviour("vm.getprop.unknown-vm")),
    row("vm_id", (0,), ENOENT, behaviour("vm.getprop.unknown-vm"), label="none"),
    row("property", unknown_values, EINVAL, behaviour("vm.getprop.unknown-property")),
    *spare_rows(xe.drm_xe_vm_get_property, behaviour("vm.getprop.reserved")),
)

VM_GET_PROPERTY = Table(
    xe.drm_xe_vm_get_property,
    *ARGUMENT_OF_GET_PROPERTY,
    row("size", (1, ENTRY - 1, ENTRY, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("vm.getprop.size-invalid")),
    row("data", (1, 1 << 63), None, behaviour("vm.getprop.data-unused")),
)


@pytest.fixture
def size_of_faults(device: Device, plain_vm: Vm) -> Call:
    """VM_GET_PROPERTY that asks a VM without faults how much there is to read."""
    return Call(device, xe.DRM_IOCTL_XE_VM_GET_PROPERTY, lambda: xe.drm_xe_vm_get_property(vm_id=plain_vm.id))


@VM_GET_PROPERTY.rows
def test_vm_get_property_invalid_args(size_of_faults: Call, wrong: Row) -> None:
    """VM_GET_PROPERTY with one wrong field is refused, even if there is nothing to read."""
    wrong.prove(size_of_faults)


FAULTS = 2
"""Faults in the list that is read."""
READ_FAULTS = Table(
    xe.drm_xe_vm_get_property,
    *ARGUMENT_OF_GET_PROPERTY,
    row(
        "size",
        (1, ENTRY - 1, ENTRY + 1, FAULTS * ENTRY - 1, FAULTS * ENTRY + 1, (FAULTS + 1) * ENTRY, 0xFFFF_FFF0),
        EINVAL,
        behaviour("vm.getprop.size-invalid"),
    ),
    row(
        "data",
        lambda *_: unwritable(),
        (EFAULT, EINVAL),
        behaviour("vm.getprop.bad-pointer"),
    ),
)


@pytest.fixture
def read_faults(device: Device, make_vm: MakeVm, memory: Memory) -> Call:
    """VM_GET_PROPERTY that reads two faults of a VM in which nothing is bound."""
    vm, reply = make_vm(FAULTING), memory(PAGE, fill=b"\xa5")
    for address in (1 << 20, 1 << 21):
        with pytest.raises(QueueError):
            vm.queue().store(address, 1)
    wait_until(lambda: len(vm.faults()) == FAULTS, what="the entries of the failed faults")

    def argument() -> Parts:
        return Parts(xe.drm_xe_vm_get_property(vm_id=vm.id, size=FAULTS * ENTRY, data=reply.address))

    return Call(
        device,
        xe.DRM_IOCTL_XE_VM_GET_PROPERTY,
        argument,
        state=lambda: (reply.bytes(), [bytes(fault) for fault in vm.faults()]),
        undo=lambda _: reply.fill(b"\xa5"),
    )


@needs("page-faults")
@READ_FAULTS.rows
def test_read_of_vm_faults_invalid_args(read_faults: Call, wrong: Row) -> None:
    """A read of the fault list with one wrong field is refused, writes nothing and loses no fault."""
    wrong.prove(read_faults)
