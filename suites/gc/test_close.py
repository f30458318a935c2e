# SPDX-License-Identifier: MIT
"""VM destruction while there are ranges to collect (xe_svm.c: xe_svm_close).

VM_DESTROY stops the collector: remaining ranges go with the VM. munmap(2) of memory that was mirrored must still
return, in either order.
"""

from __future__ import annotations

import errno

import pytest

from fixtures import FAULTING, acts, behaviour, landed, needs, refused
from fixtures.given import MakeVm, Memory, OpenDevice, Sentinel
from fixtures.memory import Buffer
from fixtures.overlap import together
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from ioctl import xe

pytestmark = needs("page-faults")


def in_use(make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> tuple[Vm, Buffer]:
    """A VM with a range, and the memory of the range."""
    vm, buffer, value = make_vm(FAULTING), memory(SZ_2M, align=SZ_2M), sentinel()
    vm.mirror()
    queue = vm.queue()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    queue.store(buffer.address, sentinel())
    return vm, buffer


@behaviour("gc.vm-close-with-pending")
@acts("store", "ioctl")
@needs("cpu-addr-mirror")
def test_vm_destroy_right_after_munmap(make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> None:
    """VM_DESTROY right after munmap of memory in use succeeds, repeatedly."""
    for _ in range(8):
        vm, buffer = in_use(make_vm, memory, sentinel)
        buffer.munmap()
        vm.close()


@behaviour("gc.closed-vm")
@acts("store", "ioctl", "refusal")
@needs("cpu-addr-mirror")
def test_munmap_after_vm_destroy_returns(
    make_vm: MakeVm, memory: Memory, device: Device, sentinel: Sentinel
) -> None:
    """munmap(2) of memory that a VM mirrored succeeds after the VM was destroyed; its id still gives ENOENT."""
    vm, buffer = in_use(make_vm, memory, sentinel)
    gone = vm.id
    vm.close()
    address = buffer.address
    buffer.munmap()
    again = memory(SZ_2M, address=address, fill=b"\x5a")
    assert again.bytes(0, 64) == b"\x5a" * 64
    with refused(errno.ENOENT):
        device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=gone))


@behaviour("gc.closed-vm")
@acts("store", "ioctl", "overlap")
@needs("cpu-addr-mirror")
def test_munmap_races_with_vm_destroy(make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> None:
    """Concurrent VM_DESTROY and munmap both return."""
    for _ in range(4):
        vm, buffer = in_use(make_vm, memory, sentinel)

        def unmap(buffer: Buffer = buffer) -> None:
            for offset in range(0, SZ_2M, SZ_2M // 16):
                buffer.munmap(offset, SZ_2M // 16)

        together(unmap, vm.close)


@behaviour("gc.closed-vm", "gc.vm-close-with-pending")
@acts("store")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("first", ["munmap", "destroy"])
def test_munmap_and_destroy_leave_other_vm_working(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, first: str
) -> None:
    """If memory that two VMs mirror is unmapped while one is destroyed, the other can use what is mapped next."""
    vm, buffer = in_use(make_vm, memory, sentinel)
    other = make_vm(FAULTING)
    other.mirror()
    queue = other.queue()
    queue.store(buffer.address + 4, sentinel())
    if first == "munmap":
        buffer.munmap()
        vm.close()
    else:
        vm.close()
        buffer.munmap()
    again, value = memory(SZ_2M, address=buffer.address), sentinel()
    queue.store(again.address, value)
    landed(again, 0, value)


@behaviour("gc.closed-vm")
@acts("store", "ioctl")
@needs("cpu-addr-mirror")
def test_close_of_device_right_after_munmap(
    open_device: OpenDevice, make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """close(2) of the device right after munmap of memory in use returns, and destroys all VMs of the file."""
    for _ in range(4):
        device = open_device()
        vm, buffer, value = make_vm(FAULTING, device), memory(SZ_2M, align=SZ_2M), sentinel()
        vm.mirror()
        vm.queue().store(buffer.address, value)
        landed(buffer, 0, value)
        buffer.munmap()
        device.close()
