# SPDX-License-Identifier: MIT
"""VM_CREATE: which flags go together (xe_vm.c: xe_vm_create_ioctl)."""

import errno

import pytest

from fixtures import acts, behaviour, needs, refused
from fixtures.device import Device
from fixtures.vm import FAULTING, LONG_RUNNING, PLAIN, Vm
from ioctl import xe

SCRATCH = xe.DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE
FAULT = xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE
NO_OVERCOMMIT = xe.DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT


def create(device: Device, **fields: int) -> int:
    """VM_CREATE with exactly these fields: the id, which is never 0; raises OSError."""
    argument = xe.drm_xe_vm_create(**fields)
    device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
    assert argument.vm_id != 0
    return argument.vm_id


def destroy(device: Device, vm_id: int, **fields: int) -> None:
    """VM_DESTROY; raises OSError."""
    device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=vm_id, **fields))


@behaviour("vm.create.valid-combinations", "vm.create.id-nonzero")
@acts("ioctl")
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(PLAIN, id="none"),
        pytest.param(SCRATCH, id="scratch"),
        pytest.param(LONG_RUNNING, id="lr"),
        pytest.param(LONG_RUNNING | SCRATCH, id="lr-scratch"),
        pytest.param(FAULTING, id="lr-fault", marks=needs("page-faults")),
        pytest.param(
            FAULTING | NO_OVERCOMMIT,
            id="lr-fault-no-overcommit",
            marks=[needs("page-faults"), behaviour("vm.create.no-overcommit-needs-fault")],
        ),
    ],
)
def test_documented_flags_give_a_vm_with_a_nonzero_id(device: Device, flags: int) -> None:
    """Every documented combination of flags makes a VM, its id is not zero, and it can be destroyed."""
    vm_id = create(device, flags=flags)
    assert vm_id != 0
    destroy(device, vm_id)


@behaviour("vm.create.extensions-mbz")
@acts("refusal")
@pytest.mark.parametrize("pointer", [1, 0x1000, 1 << 63])
def test_an_extension_is_refused(device: Device, pointer: int) -> None:
    """VM_CREATE knows no extension: any pointer gives EINVAL, whether it can be read or not."""
    with refused(errno.EINVAL):
        create(device, extensions=pointer)


@behaviour("vm.create.reserved-mbz")
@acts("refusal")
@pytest.mark.parametrize("reserved", [(1, 0), (0, 1), (1 << 63, 0), (0, 1 << 63)])
def test_a_reserved_word_is_refused(device: Device, reserved: tuple[int, int]) -> None:
    """Each of the two reserved words has to be zero."""
    with refused(errno.EINVAL):
        create(device, reserved=reserved)


@behaviour("vm.create.unknown-flags")
@acts("refusal")
@pytest.mark.parametrize("valid", [PLAIN, LONG_RUNNING, SCRATCH], ids=["alone", "with-lr", "with-scratch"])
@pytest.mark.parametrize("bit", range(4, 32))
def test_an_undefined_flag_is_refused(device: Device, bit: int, valid: int) -> None:
    """A flag bit that the uAPI does not define gives EINVAL, alone and next to valid flags."""
    with refused(errno.EINVAL):
        create(device, flags=valid | 1 << bit)


@behaviour("vm.create.fault-needs-lr")
@acts("refusal")
@needs("page-faults")
@pytest.mark.parametrize(
    "more", [0, SCRATCH, NO_OVERCOMMIT], ids=["alone", "with-scratch", "with-no-overcommit"]
)
def test_fault_mode_without_lr_mode_is_refused(device: Device, more: int) -> None:
    """FAULT_MODE requires LR_MODE."""
    with refused(errno.EINVAL):
        create(device, flags=FAULT | more)


@behaviour("vm.create.no-overcommit-needs-fault")
@acts("refusal")
@pytest.mark.parametrize("mode", [PLAIN, LONG_RUNNING, SCRATCH], ids=["plain", "lr", "scratch"])
def test_no_overcommit_without_fault_mode_is_refused(device: Device, mode: int) -> None:
    """NO_VM_OVERCOMMIT requires FAULT_MODE; a kernel before 7.1 refuses it as an unknown flag."""
    with refused(errno.EINVAL):
        create(device, flags=mode | NO_OVERCOMMIT)


@behaviour("vm.create.scratch-excludes-fault")
@acts("ioctl")
@needs("page-faults")
def test_scratch_goes_with_fault_mode_only_where_prefetch_needs_it(device: Device) -> None:
    """SCRATCH_PAGE and FAULT_MODE go together on Xe2 and Xe3, which prefetch out of bounds, and only there."""
    graphics = max(gt.ip_ver_major for gt in device.gts if gt.type == xe.DRM_XE_QUERY_GT_TYPE_MAIN)
    if 20 <= graphics <= 30:  # xe_pci.c: needs_scratch
        destroy(device, create(device, flags=FAULTING | SCRATCH))
    else:
        with refused(errno.EINVAL):
            create(device, flags=FAULTING | SCRATCH)
        destroy(device, create(device, flags=FAULTING))


@behaviour("vm.create.id-nonzero", "vm.destroy.unknown-id")
@acts("refusal")
def test_an_id_is_unknown_to_another_file(device: Device, open_device) -> None:
    """The id of a VM means nothing on another descriptor, and destroying it there leaves the VM alive."""
    other = open_device()
    vm_id = create(device)
    for _ in range(3):  # ids of the other file are its own: make sure that none of them is this one
        assert create(other) != 0
    stranger = max(vm_id, 3) + 1
    while vm_id < stranger:
        vm_id = create(device)
    with refused(errno.ENOENT):
        destroy(other, vm_id)
    destroy(device, vm_id)


@behaviour("vm.create.many-vms-one-mm")
@acts("ioctl")
@needs("page-faults")
def test_many_vms_mirror_one_process(device: Device) -> None:
    """Any number of fault-mode VMs mirror the same process at once."""
    vms = [Vm(device, FAULTING) for _ in range(8)]
    for vm in vms:
        vm.mirror()
    assert len({vm.id for vm in vms}) == len(vms)
    for vm in vms:
        vm.close()
