# SPDX-License-Identifier: MIT
"""VMs and processes: whose memory a VM mirrors, how many there can be, and when an id becomes valid."""

from __future__ import annotations

import errno
import os

import pytest

from fixtures import FAULTING, acts, behaviour, in_child, landed, needs
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, allocate
from fixtures.overlap import meanwhile
from fixtures.process import Child, readable
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from ioctl import xe

PROCESSES = 40
"""More than the 32 that a first design allowed."""


@behaviour("vm.create.binds-creator-mm", "life.fork-child-uses-fd")
@acts("store")
@needs("page-faults", "fork-events")
def test_vm_mirrors_its_creator_not_the_submitter(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A batch that a child process submits to its parent's VM stores to the parent's memory, not the child's."""
    buffer, queue = memory(PAGE), mirror_vm.queue()
    first, second, own = sentinel(), sentinel(), sentinel()
    queue.store(buffer.address, first)  # so that the queue has its buffer, shared by both
    landed(buffer, 0, first)

    def child() -> tuple[int, int]:
        buffer.set_u32(0, own)
        queue.store(buffer.address + 4, second)
        return buffer.u32(0), buffer.u32(4)

    ended = in_child(child)
    assert not ended.error, ended.error
    landed(buffer, 4, second)
    assert buffer.u32(0) == first
    assert ended.result == (own, 0)


@behaviour("vm.create.no-process-limit")
@acts("ioctl", "store")
@needs("page-faults")
@pytest.mark.timeout(60)
def test_many_processes_have_mirror_at_once(device: Device, mirror_vm: Vm, sentinel: Sentinel) -> None:
    """40 processes can each have a VM that mirrors them at the same time, and store through it."""
    made, tell = os.pipe()
    wait, leave = os.pipe()

    def child() -> str:
        with Device(device.path) as own:
            vm = Vm(own, FAULTING)
            vm.mirror()
            os.write(tell, b".")
            os.read(wait, 1)  # until all have one
            buffer, value = allocate(PAGE), sentinel()
            vm.queue().store(buffer.address, value)
            return "stored" if buffer.u32(0) == value else "wrong"

    children = [Child(child) for _ in range(PROCESSES)]
    try:
        for number in range(PROCESSES):
            assert readable(made, 30), f"{number} of {PROCESSES} processes have a mirror"
            os.read(made, 1)
        os.write(leave, b"." * PROCESSES)
        ended = [one.end(30) for one in children]
    finally:
        for one in children:
            one.kill()
        for fd in (made, tell, wait, leave):
            os.close(fd)
    assert [one.error for one in ended if one.error] == []
    assert [one.result for one in ended] == ["stored"] * PROCESSES
    count("store")
    mirror_vm.unmap(0, mirror_vm.size)


@behaviour("vm.create.id-published-last")
@acts("ioctl", "overlap")
def test_vm_id_is_published_last(device: Device) -> None:
    """A thread that tries ids while another creates and destroys VMs finds invalid ids, or VMs that work."""
    answers: set[int] = set()

    def guess(_: int) -> None:
        try:
            device.ioctl(xe.DRM_IOCTL_XE_VM_BIND, xe.drm_xe_vm_bind(vm_id=1))
            answers.add(0)
        except OSError as error:
            answers.add(error.errno or -1)

    with meanwhile(guess):
        for _ in range(100):
            argument = xe.drm_xe_vm_create()
            device.ioctl(xe.DRM_IOCTL_XE_VM_CREATE, argument)
            assert argument.vm_id
            device.ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=argument.vm_id))
    # ENOENT: the id was looked up, and the VM destroyed before the bind began (bind.closed-vm).
    assert answers <= {0, errno.EINVAL, errno.ENOENT}
