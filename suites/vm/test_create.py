# SPDX-License-Identifier: MIT
"""VM_CREATE: which flags go together (xe_vm.c: xe_vm_create_ioctl). What is refused: suites/negative/test_vm.py."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, driver_only, needs, refused, wait_until
from fixtures.given import MakeVm, OpenDevice
from fixtures.pci import Slot
from fixtures.xe.device import Device
from fixtures.xe.flags import FAULT, NO_OVERCOMMIT, SCRATCH
from fixtures.xe.vm import FAULTING, LONG_RUNNING, PLAIN, Vm
from ioctl import xe


def create(device: Device, **fields: int) -> int:
    """VM_CREATE with exactly these fields: the id, which is never 0; raises OSError."""
    argument = xe.drm_xe_vm_create(**fields)
    device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
    return int(argument.vm_id)


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
def test_documented_flags_give_nonzero_vm_id(device: Device, flags: int) -> None:
    """Every documented combination of flags creates a VM with a nonzero id that can be destroyed."""
    vm_id = create(device, flags=flags)
    with driver_only("vm.create.id-nonzero"):
        assert vm_id != 0
    destroy(device, vm_id)


HOLDING = 16
"""Number of VMs held at the same time: more than the references that anything else may drop."""


@behaviour("vm.create.lr-holds-device-awake")
@acts("ioctl")
@needs("runtime-usage")
@pytest.mark.parametrize(
    "flags",
    [pytest.param(LONG_RUNNING, id="lr"), pytest.param(FAULTING, id="fault", marks=needs("page-faults"))],
)
def test_lr_vm_holds_runtime_pm_reference(device: Device, flags: int) -> None:
    """Each long-running VM, with or without faults, keeps the device awake until it is destroyed."""
    slot, before = Slot(device), Slot(device).usage
    made = [create(device, flags=flags) for _ in range(HOLDING)]
    held = slot.usage
    assert held >= max(HOLDING, before)
    for vm_id in made:
        destroy(device, vm_id)
    wait_until(lambda: slot.usage <= held - HOLDING, what="all VMs to drop their runtime PM references")


@behaviour("vm.create.scratch-excludes-fault")
@acts("ioctl")
@needs("page-faults")
def test_scratch_with_fault_mode_only_on_xe2_and_xe3(device: Device) -> None:
    """SCRATCH_PAGE with FAULT_MODE is accepted on Xe2 and Xe3, which prefetch out of bounds, and only there."""
    graphics = max(gt.ip_ver_major for gt in device.gts if gt.type == xe.DRM_XE_QUERY_GT_TYPE_MAIN)
    if 20 <= graphics <= 30:  # xe_pci.c: needs_scratch
        made = create(device, flags=FAULTING | SCRATCH)
        assert made
        destroy(device, made)
    else:
        with refused(errno.EINVAL):
            create(device, flags=FAULTING | SCRATCH)
        destroy(device, create(device, flags=FAULTING))


@behaviour("vm.create.fault-needs-usm")
@acts("refusal", "ioctl")
@needs("no-page-faults")
def test_fault_mode_without_page_faults_is_einval(device: Device) -> None:
    """FAULT_MODE gives EINVAL on a device without page faults, even with LR_MODE; LR_MODE alone works."""
    for flags in (FAULT, FAULTING, FAULTING | SCRATCH, FAULTING | NO_OVERCOMMIT):
        argument = xe.drm_xe_vm_create(flags=flags)
        # If scratch pages are forced, they are added first.
        with refused(errno.EINVAL, may_change=("flags",)):
            device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
        assert argument.vm_id == 0
    destroy(device, create(device, flags=LONG_RUNNING))


@behaviour("vm.create.wa-forces-scratch")
@acts("ioctl", "exec")
@needs("forced-scratch")
@pytest.mark.parametrize("flags", [PLAIN, LONG_RUNNING], ids=["plain", "lr"])
def test_forced_scratch_page_is_reported(device: Device, make_vm: MakeVm, flags: int) -> None:
    """VM_CREATE adds SCRATCH_PAGE to the given flags, and accesses to unbound addresses do not fault."""
    argument = xe.drm_xe_vm_create(flags=flags)
    device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
    assert argument.flags == flags | SCRATCH
    queue = make_vm(flags).queue()
    queue.load(1 << 40)
    assert not queue.banned


@behaviour("vm.create.id-nonzero", "vm.destroy.unknown-id")
@acts("refusal")
def test_vm_id_of_other_file_is_unknown(device: Device, open_device: OpenDevice) -> None:
    """The id of a VM is invalid on another descriptor, and destroying it there does not affect the VM."""
    other = open_device()
    vm_id = create(device)
    for _ in range(3):  # ids of the other file are its own: make sure that none of them is this one
        number = create(other)
        with driver_only("vm.create.id-nonzero"):
            assert number != 0
    stranger = max(vm_id, 3) + 1
    while vm_id < stranger:
        vm_id = create(device)
    with refused(errno.ENOENT):
        destroy(other, vm_id)
    destroy(device, vm_id)


@behaviour("vm.create.many-vms-one-mm")
@acts("ioctl")
@needs("page-faults", "cpu-addr-mirror")
def test_many_vms_mirror_one_process(device: Device) -> None:
    """Many fault-mode VMs can mirror the same process at once."""
    vms = [Vm(device, FAULTING) for _ in range(8)]
    for vm in vms:
        vm.mirror()
    assert len({vm.id for vm in vms}) == len(vms)
    for vm in vms:
        vm.close()
