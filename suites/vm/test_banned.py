# SPDX-License-Identifier: MIT
"""A VM that the kernel banned because it could not bring its memory back (xe_vm.c: xe_vm_kill).

How it comes to that: a long-running VM without fault mode has process memory bound for writing, and the process takes
the permission to write away. The worker that binds the memory again gets EPERM, which it can do nothing about.
"""

import errno

import pytest

from fixtures import acts, behaviour, needs, refused, wait_until
from fixtures.memory import PROT_READ
from fixtures.queue import Queue, QueueError
from fixtures.vm import Vm
from gpu import Batch
from ioctl import xe

AREA = 1 << 32
BLOCK = 1 << 16

pytestmark = [
    needs("userptr"),
    pytest.mark.kernel_log("VM worker error|Trying to schedule after vm is closed or banned"),
]


@pytest.fixture
def banned(lr_vm: Vm, memory, sentinel) -> Queue:
    """A queue of a VM that was banned."""
    buffer, value = memory(BLOCK), sentinel()
    lr_vm.map_userptr(AREA, buffer.address, BLOCK)
    queue = lr_vm.queue()
    queue.store(AREA, value)
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
def test_banned_vm_refuses_bind_queue_and_exec(banned: Queue, bo) -> None:
    """VM_BIND and EXEC_QUEUE_CREATE on a banned VM give ENOENT, EXEC on its queue ECANCELED, each time."""
    vm, made = banned.vm, bo(BLOCK)
    for _ in range(2):
        with refused(errno.ENOENT):
            vm.bind(addr=2 * AREA, range=BLOCK, obj=made.handle)
        with refused(errno.ENOENT):
            vm.bind(xe.DRM_XE_VM_BIND_OP_UNMAP, addr=AREA, range=BLOCK)
        with refused(errno.ENOENT):
            vm.queue()
        with refused(errno.ECANCELED):
            banned.submit(AREA)
    assert banned.banned


@behaviour("vm.banned-ioctls", "madvise.closed-vm")
@acts("refusal", "ioctl")
@needs("range-attributes")
def test_banned_vm_refuses_madvise_not_query(banned: Queue) -> None:
    """MADVISE on a banned VM gives ENOENT; the query of its areas still works."""
    with refused(errno.ENOENT):
        banned.vm.madvise(AREA, BLOCK, xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    (area,) = banned.vm.attributes(AREA, BLOCK)
    assert (area.start, area.end, area.atomic.val) == (AREA, AREA + BLOCK, 0)


@behaviour("vm.banned-ioctls", "vm.getprop.size-query")
@acts("ioctl")
def test_faults_of_banned_vm_can_be_read(banned: Queue) -> None:
    """VM_GET_PROPERTY FAULTS of a banned VM works; a ban is no fault."""
    assert banned.vm.faults() == []


@behaviour("vm.banned-ioctls")
@acts("ioctl", "refusal")
def test_banned_vm_can_be_destroyed(banned: Queue, make_vm, memory, sentinel) -> None:
    """A banned VM and its queue can be destroyed, and another VM of the process works."""
    vm, number = banned.vm, banned.vm.id
    vm.close()
    with refused(errno.ENOENT):
        vm.device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=number))
    other, buffer, value = make_vm(vm.flags), memory(BLOCK), sentinel()
    other.map_userptr(AREA, buffer.address, BLOCK)
    other.queue().store(AREA, value)
    assert buffer.u32(0) == value
