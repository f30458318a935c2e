# SPDX-License-Identifier: MIT
"""EXEC_QUEUE_CREATE, _DESTROY and _GET_PROPERTY with one wrong field (xe_exec_queue.c)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from errno import E2BIG, EFAULT, EINVAL, ENOENT

import pytest

from fixtures import acts, behaviour, known, refused
from fixtures.negative import (
    Call,
    Parts,
    Row,
    Table,
    above,
    each_bit,
    row,
    some_bits,
    spare_rows,
    unknown_flags,
    unknown_values,
)
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import names, xe
from suites.negative.values import (
    MAX_USER_EXTENSIONS,
    Extensions,
    create_queue,
    destroy_queue,
    linked,
    looping,
    queues,
    strange_queues,
    strange_vms,
    too_long,
    unreadable,
)

PRIORITY = xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY
NORMAL, HIGH = 1, 2
EXTENSION = ctypes.sizeof(xe.drm_xe_ext_set_property)
ENGINE = ctypes.sizeof(xe.drm_xe_engine_class_instance)
MOST = 9
"""Engines that one queue may name: XE_HW_ENGINE_MAX_INSTANCE."""


def priority(next_extension: int = 0) -> xe.drm_xe_ext_set_property:
    """The extension that gives a queue normal priority."""
    extension = xe.drm_xe_ext_set_property(property=PRIORITY, value=NORMAL)
    extension.base.next_extension = next_extension
    return extension


def chained(number: int) -> Extensions:
    """A chain of extensions that give a queue normal priority."""
    return linked((xe.drm_xe_ext_set_property * number)(*[priority()] * number))


EXEC_QUEUE_CREATE = Table(
    {
        "": xe.drm_xe_exec_queue_create,
        "engine": xe.drm_xe_engine_class_instance,
        "extension": xe.drm_xe_ext_set_property,
    },
    row("extensions", lambda *_: unreadable(EXTENSION)[1:], EFAULT, behaviour("execq.create.extensions")),
    row("extensions", looping(priority), E2BIG, behaviour("execq.create.extensions"), label="loop"),
    row("extensions", too_long(chained), E2BIG, behaviour("execq.create.extensions"), label="long"),
    row("width", (0, MOST + 1, 0xFFFF), EINVAL, behaviour("execq.create.args")),
    row("num_placements", (0, MOST + 1, 0xFFFF), EINVAL, behaviour("execq.create.args")),
    row(
        ("width", "num_placements"),
        ((5, 2), (3, 4), (0xFFFF, 0xFFFF)),
        EINVAL,
        behaviour("execq.create.args"),
    ),
    row("vm_id", strange_vms, ENOENT, behaviour("execq.create.unknown-vm", "vm.lookup-errno-map")),
    row("vm_id", (0,), ENOENT, behaviour("execq.create.unknown-vm"), label="none"),
    row("flags", unknown_flags(), EINVAL, behaviour("execq.create.args")),
    row("exec_queue_id", (1, 0xFFFF_FFFF), None, behaviour("abi.output-in")),
    row("instances", lambda *_: unreadable(ENGINE)[:3], EFAULT, behaviour("execq.create.instances-fault")),
    row(
        "instances",
        lambda *_: unreadable(ENGINE)[4:],
        EFAULT,
        behaviour("execq.create.instances-fault"),
        label="no-user-address",
    ),
    *spare_rows(xe.drm_xe_exec_queue_create, behaviour("execq.create.args")),
    row("engine.engine_class", unknown_values, EINVAL, behaviour("execq.create.args")),
    row("engine.engine_instance", (63, 255, 0x8000, 0xFFFF), EINVAL, behaviour("execq.create.args")),
    row("engine.gt_id", (63, 255, 0xFFFF), EINVAL, behaviour("execq.create.args")),
    row(
        "engine.gt_id",
        (0x100, 0x8000),
        EINVAL,
        behaviour("execq.create.args"),
        known(
            "A GT id is cut to 8 bits",
            first="6.17",
            signature="engine.gt_id = 0x#: expected EINVAL, but the call succeeded",
            acts=("ioctl",),
        ),
        label="high-byte",
    ),
    row("engine.pad", some_bits, None, behaviour("execq.create.unchecked")),
    row(
        "extension.base.next_extension",
        lambda *_: unreadable(EXTENSION)[1:],
        EFAULT,
        behaviour("execq.create.extensions"),
    ),
    row("extension.base.name", above(0), EINVAL, behaviour("execq.create.extensions")),
    row(
        "extension.property",
        above(max(names.members(xe.QUEUE_PROPERTY))),
        EINVAL,
        behaviour("execq.create.extensions"),
    ),
    row("extension.base.pad", each_bit, EINVAL, behaviour("execq.create.extensions")),
    row("extension.pad", each_bit, EINVAL, behaviour("execq.create.extensions")),
    row("extension.value", above(HIGH), EINVAL, behaviour("execq.create.extensions"), label="priority"),
    row("extension.reserved", some_bits, None, behaviour("abi.extension-reserved")),
)


def creation(device: Device, build: Callable[[], Parts]) -> Call:
    """EXEC_QUEUE_CREATE; undone by destroying the queue."""
    return Call(
        device,
        xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE,
        build,
        state=lambda: queues(device),
        undo=lambda argument: destroy_queue(device, argument.exec_queue_id),
    )


@pytest.fixture
def exec_queue_create(device: Device, plain_vm: Vm) -> Call:
    """EXEC_QUEUE_CREATE on one engine, with normal priority."""

    def build() -> Parts:
        engine = xe.drm_xe_engine_class_instance.from_buffer_copy(device.engine())
        extension = priority()
        argument = xe.drm_xe_exec_queue_create(
            extensions=ctypes.addressof(extension),
            width=1,
            num_placements=1,
            vm_id=plain_vm.id,
            instances=ctypes.addressof(engine),
        )
        return Parts(argument, engine=engine, extension=extension)

    return creation(device, build)


@EXEC_QUEUE_CREATE.rows
def test_exec_queue_create_invalid_args(exec_queue_create: Call, wrong: Row) -> None:
    """EXEC_QUEUE_CREATE with one wrong field, engine or extension is refused, and creates no queue."""
    wrong.prove(exec_queue_create)


@behaviour("execq.create.args")
@acts("refusal", "query")
def test_exec_queue_create_on_unlisted_engine(device: Device, plain_vm: Vm) -> None:
    """A queue on an engine that ENGINES does not list, as the one that the driver keeps for faults, is refused."""
    listed = {(one.gt_id, one.engine_class, one.engine_instance) for one in device.engines}
    for gt, kind in {(gt, kind) for gt, kind, _ in listed}:
        for number in sorted({*range(MOST)} - {one for *place, one in listed if place == [gt, kind]}):
            engine = xe.drm_xe_engine_class_instance(gt_id=gt, engine_class=kind, engine_instance=number)
            with refused(EINVAL):
                Queue(plain_vm, [engine])


@behaviour("execq.create.args")
@acts("refusal", "query")
def test_exec_queue_create_on_two_classes(device: Device, plain_vm: Vm) -> None:
    """A queue that may run on engines of two classes is refused."""
    first = device.engines[0]
    for other in device.engines:
        if other.gt_id == first.gt_id and other.engine_class != first.engine_class:
            with refused(EINVAL):
                Queue(plain_vm, [first, other])


@behaviour("execq.create.extensions")
@acts("ioctl")
def test_exec_queue_create_with_16_extensions(plain_vm: Vm) -> None:
    """EXEC_QUEUE_CREATE accepts a chain of 16 extensions, and the queue works."""
    chain = chained(MAX_USER_EXTENSIONS)
    queue = plain_vm.queue(extensions=ctypes.addressof(chain))
    queue.run(Batch().noop())
    assert not queue.banned


BIND_QUEUE = Table(
    {"engine": xe.drm_xe_engine_class_instance},
    row("width", (2,), EINVAL, behaviour("execq.create.bind-class")),
    row("num_placements", (2,), EINVAL, behaviour("execq.create.bind-class")),
    row("vm_id", strange_vms, ENOENT, behaviour("execq.create.unknown-vm")),
    row("engine.engine_instance", each_bit, EINVAL, behaviour("execq.create.bind-class")),
    row("engine.gt_id", (63, 255, 0xFFFF), EINVAL, behaviour("execq.create.args")),
    row("engine.pad", some_bits, None, behaviour("execq.create.unchecked")),
    elsewhere=("engine.engine_class",),
)


@pytest.fixture
def bind_queue_create(device: Device, plain_vm: Vm) -> Call:
    """EXEC_QUEUE_CREATE of a queue for binds; there is room for a second engine behind the first."""

    def build() -> Parts:
        engines = (xe.drm_xe_engine_class_instance * 2)()
        engines[0].engine_class = engines[1].engine_class = xe.DRM_XE_ENGINE_CLASS_VM_BIND
        argument = xe.drm_xe_exec_queue_create(
            width=1, num_placements=1, vm_id=plain_vm.id, instances=ctypes.addressof(engines)
        )
        return Parts(argument, engines, engine=engines[0])

    return creation(device, build)


@BIND_QUEUE.rows
def test_bind_queue_create_invalid_args(bind_queue_create: Call, wrong: Row) -> None:
    """A bind queue takes one placement and instance 0; anything else is refused and creates no queue."""
    wrong.prove(bind_queue_create)


EXEC_QUEUE_DESTROY = Table(
    xe.drm_xe_exec_queue_destroy,
    row("exec_queue_id", strange_queues, ENOENT, behaviour("execq.destroy.args")),
    *spare_rows(xe.drm_xe_exec_queue_destroy, behaviour("execq.destroy.args")),
)


@pytest.fixture
def exec_queue_destroy(device: Device, plain_vm: Vm) -> Call:
    """EXEC_QUEUE_DESTROY; undone by making another queue."""
    made = [create_queue(device, plain_vm.id)]

    def again(_: object) -> None:
        made[0] = create_queue(device, plain_vm.id)

    return Call(
        device,
        xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY,
        lambda: xe.drm_xe_exec_queue_destroy(exec_queue_id=made[0]),
        state=lambda: queues(device),
        undo=again,
    )


@EXEC_QUEUE_DESTROY.rows
def test_exec_queue_destroy_invalid_args(exec_queue_destroy: Call, wrong: Row) -> None:
    """EXEC_QUEUE_DESTROY with one wrong field is refused, and the queue still works."""
    wrong.prove(exec_queue_destroy)


@behaviour("execq.destroy.args", "execq.create.id-nonzero")
@acts("refusal", "ioctl")
@known(
    "EXEC_QUEUE_DESTROY of 0 makes 0 an id",
    first="6.17",
    signature="assert create_queue(device, plain_vm.id) != #: # != #",
)
def test_exec_queue_id_zero_is_never_given(device: Device, plain_vm: Vm) -> None:
    """EXEC_QUEUE_DESTROY of id 0 gives ENOENT, and 0, which means "no queue" elsewhere, is never allocated."""
    create_queue(device, plain_vm.id)
    with refused(ENOENT):
        destroy_queue(device, 0)
    assert create_queue(device, plain_vm.id) != 0


EXEC_QUEUE_GET_PROPERTY = Table(
    xe.drm_xe_exec_queue_get_property,
    row("extensions", some_bits, None, behaviour("execq.getprop.unchecked")),
    row("exec_queue_id", strange_queues, ENOENT, behaviour("execq.getprop")),
    row("exec_queue_id", (0,), ENOENT, behaviour("execq.getprop"), label="none"),
    row("property", unknown_values, EINVAL, behaviour("execq.getprop")),
    row("value", (1, 1 << 63), None, behaviour("abi.output-in")),
    *spare_rows(xe.drm_xe_exec_queue_get_property, behaviour("execq.getprop")),
)


@pytest.fixture
def exec_queue_get_property(device: Device, plain_vm: Vm) -> Call:
    """EXEC_QUEUE_GET_PROPERTY that asks whether a queue is banned."""
    number = create_queue(device, plain_vm.id)
    return Call(
        device,
        xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY,
        lambda: xe.drm_xe_exec_queue_get_property(exec_queue_id=number),
    )


@EXEC_QUEUE_GET_PROPERTY.rows
def test_exec_queue_get_property_invalid_args(exec_queue_get_property: Call, wrong: Row) -> None:
    """EXEC_QUEUE_GET_PROPERTY with one wrong field is refused, and returns nothing."""
    wrong.prove(exec_queue_get_property)
