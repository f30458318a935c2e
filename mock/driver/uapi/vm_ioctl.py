# SPDX-License-Identifier: MIT
"""VM_CREATE, VM_DESTROY, VM_GET_PROPERTY (xe_vm.c)."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.arguments import is_unknown, unknown_flags
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.fence import FenceArray
from mock.driver.vm.vm import Vm

if TYPE_CHECKING:
    from mock.driver.lib.blocking import Blocking
    from mock.driver.uapi.dispatch import Call

_SCRATCH = xe.DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE
_LR = xe.DRM_XE_VM_CREATE_FLAG_LR_MODE
_FAULT = xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE
_NO_OVERCOMMIT = xe.DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT


def create(call: Call, args: Any) -> None:
    """xe_vm_create_ioctl()."""
    profile = call.device.profile
    refuse_if(args.extensions, errno.EINVAL, "extensions")
    if profile.forces_scratch:
        args.flags |= _SCRATCH
    flags = args.flags
    refuse_if(flags & _FAULT and not profile.has_usm, errno.EINVAL, "device has no recoverable faults")
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    refuse_if(unknown_flags(call.device.level, args), errno.EINVAL, "flags")
    refuse_if(
        flags & _SCRATCH and flags & _FAULT and not profile.needs_scratch,
        errno.EINVAL,
        "scratch page with fault mode",
    )
    refuse_if(flags & _FAULT and not flags & _LR, errno.EINVAL, "fault mode without long-running mode")
    refuse_if(flags & _NO_OVERCOMMIT and not flags & _FAULT, errno.EINVAL, "no overcommit without fault mode")
    vm = _make_vm(call, flags)
    number = call.file.vms.add(vm)
    if number is None:
        vm.close()
        raise Refused(errno.EBUSY, "no VM id left")
    args.vm_id = number


def _make_vm(call: Call, flags: int) -> Vm:
    """xe_vm_create(). Raises Refused if a step fails by fault injection; nothing is left behind."""
    faults, tid = call.device.machine.faults, call.task.tid
    faults.kmalloc(tid)  # struct xe_vm
    faults.kmalloc(tid)  # its reservation object
    vm = Vm(call.device, call.scheduler, flags, call.task.mm)
    try:
        try:
            _make_tables(vm, tid)
        except Refused as refusal:
            if refusal.code != errno.ENOMEM:
                raise
            _make_tables(vm, tid)  # once more, with exclusive use of memory (xe_validation_retry_on_oom)
        _make_bind_queue(vm, tid)
    except Refused:
        vm.close()
        raise
    return vm


def _make_tables(vm: Vm, tid: int) -> None:
    """Allocate the root page tables, and those of the scratch page."""
    faults = vm.device.machine.faults
    for _ in vm.device.tiles:
        faults.enter("xe_pt_create", tid)
        faults.kmalloc(tid)
    if vm.has_scratch:
        for _ in vm.device.tiles:
            faults.enter("xe_vm_create_scratch", tid)
            faults.kmalloc(tid)


def _make_bind_queue(vm: Vm, tid: int) -> None:
    """The VM's own bind queue (xe_exec_queue_create_bind; one stands for the queues of all tiles)."""
    vm.device.machine.faults.enter("xe_exec_queue_create_bind", tid)
    vm.device.machine.faults.kmalloc(tid)


def destroy(call: Call, args: Any) -> Blocking[None]:
    """xe_vm_destroy_ioctl(). Waits for binds and dma-fence jobs in flight."""
    refuse_if(args.pad, errno.EINVAL, "pad")
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    vm = call.file.vms.get(args.vm_id)
    if vm is None:
        raise Refused(errno.ENOENT, "no such VM")
    refuse_if(vm.preempt_fence_mode and call.scheduler.queues(vm), errno.EBUSY, "exec queues are attached")
    call.file.vms.pop(args.vm_id)
    yield from wait_and_close(vm)


def wait_and_close(vm: Vm) -> Blocking[None]:
    """xe_vm_close_and_put()."""
    vm.size = 0
    while not vm.resv.idle:
        yield FenceArray(vm.resv.all())
    vm.close()


def get_property(call: Call, args: Any) -> None:
    """xe_vm_get_property_ioctl()."""
    refuse_if(any(args.reserved) or args.extensions or args.pad, errno.EINVAL, "reserved, extensions or pad")
    vm = call.file.vms.get(args.vm_id)
    if vm is None:
        raise Refused(errno.ENOENT, "no such VM")
    refuse_if(is_unknown(call.device.level, args, "property"), errno.EINVAL, "property")
    entry_size = ctypes.sizeof(xe.xe_vm_fault)
    size = entry_size * len(vm.faults)
    if not args.size:
        args.size = size
        return
    refuse_if(args.size > size or args.size % entry_size, errno.EINVAL, "size")
    reply = bytearray()
    for entry in vm.faults[: args.size // entry_size]:
        reply += bytes(
            xe.xe_vm_fault(
                address=_canonical(entry.address, vm.device.profile.va_bits),
                address_precision=entry.address_precision,
                access_type=entry.access_type,
                fault_type=entry.fault_type,
                fault_level=entry.fault_level,
            )
        )
    call.task.mm.write(args.data, bytes(reply))


def _canonical(address: int, bits: int) -> int:
    """xe_device_canonicalize_addr()."""
    low = address & ((1 << bits) - 1)
    return low | (0xFFFF_FFFF_FFFF_FFFF << bits & 0xFFFF_FFFF_FFFF_FFFF if low >> bits - 1 else 0)
