# SPDX-License-Identifier: MIT
"""Multi-queue groups and their priority (xe_exec_queue.c: exec_queue_set_multi_queue_priority)."""

from __future__ import annotations

import ctypes
import errno

import pytest

from fixtures import acts, behaviour, landed, needs, refused
from fixtures.counting import count
from fixtures.given import MakeBo, Sentinel
from fixtures.memory import PAGE
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""
PRIORITY = xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_QUEUE_PRIORITY
GROUP = xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_GROUP
LOW, NORMAL, HIGH = range(3)
BEYOND = (HIGH + 1, 1 << 8, 1 << 32, (1 << 64) - 1)
"""Invalid priorities: the next one, and those that are valid if they are truncated to fewer bits."""


def set_property(
    queue: int, vm: Vm, *, property: int = PRIORITY, value: int = NORMAL, **reserved: int
) -> None:
    """EXEC_QUEUE_SET_PROPERTY; raises OSError."""
    argument = xe.drm_xe_exec_queue_set_property(exec_queue_id=queue, property=property, value=value)
    for name, bits in reserved.items():
        argument.reserved[int(name.removeprefix("reserved"))] = bits
    vm.device.ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY, argument)


def grouped(vm: Vm, *values: int) -> Queue:
    """The first queue of a group, with priorities given one after the other at its creation; raises OSError."""
    chain = (xe.drm_xe_ext_set_property * (1 + len(values)))()
    chain[0].property, chain[0].value = GROUP, xe.DRM_XE_MULTI_GROUP_CREATE
    for number, value in enumerate(values, 1):
        chain[number].property, chain[number].value = PRIORITY, value
        chain[number - 1].base.next_extension = ctypes.addressof(chain[number])
    queue = vm.queue(vm.device.engine(), extensions=ctypes.addressof(chain))
    assert chain[0].property == GROUP
    return queue


@behaviour("execq.setprop")
@acts("refusal", "store")
def test_set_property_of_queue_checks_its_arguments(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """Reserved bits, another property and an unknown queue are refused, in this order; the queue stays usable."""
    queue, other, made, value = plain_vm.queue(), plain_vm.queue(), bo(PAGE), sentinel()
    other.close()
    properties = [number for number in range(9) if number != PRIORITY] + [1 << 31, PRIORITY + 256]
    for known in (queue.id, other.id):
        for reserved in ({"reserved0": 1}, {"reserved1": 1 << 63}):
            with refused(errno.EINVAL):
                set_property(known, plain_vm, **reserved)
        for number in properties:
            with refused(errno.EINVAL):
                set_property(known, plain_vm, property=number)
    for unknown in (other.id, 0, queue.id + 1000, 0xFFFF_FFFF):
        for value_ in (LOW, HIGH):
            with refused(errno.ENOENT):
                set_property(unknown, plain_vm, value=value_)
    mapped = made.map()
    plain_vm.map(made, AT)
    queue.store(AT, value)
    landed(mapped, 0, value)


@behaviour("execq.multi-queue.priority")
@acts("refusal")
@pytest.mark.parametrize("value", [LOW, NORMAL, HIGH, *BEYOND])
def test_multi_queue_priority_needs_group(plain_vm: Vm, value: int) -> None:
    """A multi-queue priority gives EINVAL on a queue outside of a group, when it is made and later."""
    extension = xe.drm_xe_ext_set_property(property=PRIORITY, value=value)
    with refused(errno.EINVAL):
        plain_vm.queue(extensions=ctypes.addressof(extension))
    with refused(errno.EINVAL):
        set_property(plain_vm.queue().id, plain_vm, value=value)


@behaviour("execq.multi-queue.priority", "execq.setprop")
@acts("refusal", "store")
@needs("multi-queue")
def test_queue_of_group_takes_each_priority(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """A queue of a group takes the priorities 0 to 2, when it is made and later, and EINVAL for a higher one."""
    made = bo(PAGE)
    mapped = made.map()
    plain_vm.map(made, AT)
    for value in (LOW, NORMAL, HIGH):
        queue = grouped(plain_vm, value)
        for later in (HIGH, LOW, NORMAL, value):
            set_property(queue.id, plain_vm, value=later)
            queue.store(AT, stored := sentinel())
            landed(mapped, 0, stored)
        for beyond in BEYOND:
            with refused(errno.EINVAL):
                set_property(queue.id, plain_vm, value=beyond)
        queue.store(AT, stored := sentinel())
        landed(mapped, 0, stored)
    for beyond in BEYOND:
        with refused(errno.EINVAL):
            grouped(plain_vm, beyond)
    count("ioctl")
