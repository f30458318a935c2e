# SPDX-License-Identifier: MIT
"""A VM that the kernel banned because it could not rebind it (xe_vm.c: xe_vm_kill).

How it comes to that: a long-running VM without fault mode has process memory bound for writing, and the process takes
the permission to write away. The worker that binds the memory again gets EPERM, which it can do nothing about.
"""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, driver_only, needs, refused, wait_until
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PROT_READ
from fixtures.sizes import SZ_64K
from fixtures.xe.flags import ATOMIC, UNMAP
from fixtures.xe.queue import Queue, QueueError
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 1 << 32

pytestmark = [
    needs("userptr"),
    pytest.mark.kernel_log("VM worker error|Trying to schedule after vm is closed or banned"),
]


@pytest.fixture
def banned(lr_vm: Vm, memory: Memory, sentinel: Sentinel) -> Queue:
    """A queue of a VM that was banned."""
    buffer, value = memory(SZ_64K), sentinel()
    lr_vm.map_userptr(AT, buffer.address, SZ_64K)
    queue = lr_vm.queue()
    queue.store(AT, value)
    assert buffer.u32(0) == value
    buffer.mprotect(PROT_READ)

    def gone() -> bool:
        try:
            queue.start(Batch().noop())
        except QueueError as error:
            return error.errno == errno.ECANCELED
        return False

    wait_until(gone, what="the ban of the VM")
    return queue


@behaviour("vm.banned-ioctls", "bind.closed-vm", "execq.create.unknown-vm", "exec.closed-vm")
@acts("refusal")
def test_banned_vm_refuses_bind_queue_and_exec(banned: Queue, bo: MakeBo) -> None:
    """VM_BIND and EXEC_QUEUE_CREATE on a banned VM give ENOENT, EXEC on its queue gives ECANCELED, each time."""
    vm, made = banned.vm, bo(SZ_64K)
    for _ in range(2):
        with refused(errno.ENOENT):
            vm.bind(addr=2 * AT, range=SZ_64K, obj=made.handle)
        with refused(errno.ENOENT):
            vm.bind(UNMAP, addr=AT, range=SZ_64K)
        with refused(errno.ENOENT):
            vm.queue()
        with refused():
            banned.submit(AT)
        with driver_only("exec.closed-vm"), refused(errno.ECANCELED):
            banned.submit(AT)
    assert banned.banned


@behaviour("vm.banned-ioctls", "madvise.closed-vm")
@acts("refusal", "ioctl")
@needs("range-attributes")
def test_banned_vm_refuses_madvise_not_query(banned: Queue) -> None:
    """MADVISE on a banned VM gives ENOENT; the query of its VMAs still works."""
    with refused(errno.ENOENT):
        banned.vm.madvise(AT, SZ_64K, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    (area,) = banned.vm.attributes(AT, SZ_64K)
    assert (area.start, area.end, area.atomic.val) == (AT, AT + SZ_64K, 0)


@behaviour("vm.banned-ioctls", "vm.getprop.size-query")
@acts("ioctl")
def test_faults_of_banned_vm_can_be_read(banned: Queue) -> None:
    """VM_GET_PROPERTY FAULTS of a banned VM works; a ban is not a fault."""
    assert banned.vm.faults() == []


@behaviour("vm.banned-ioctls")
@acts("ioctl", "refusal")
def test_banned_vm_can_be_destroyed(
    banned: Queue, make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """A banned VM and its queue can be destroyed, and another VM of the process works."""
    vm, number = banned.vm, banned.vm.id
    vm.close()
    with refused(errno.ENOENT):
        vm.device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=number))
    other, buffer, value = make_vm(vm.flags), memory(SZ_64K), sentinel()
    other.map_userptr(AT, buffer.address, SZ_64K)
    other.queue().store(AT, value)
    assert buffer.u32(0) == value
