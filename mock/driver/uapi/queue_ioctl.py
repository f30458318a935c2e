# SPDX-License-Identifier: MIT
"""EXEC_QUEUE_CREATE, _DESTROY, _GET_PROPERTY, _SET_PROPERTY (xe_exec_queue.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.arguments import unknown_flags
from mock.driver.exec.queue import (
    MULTI_QUEUE_PRIORITY_HIGH,
    PRIORITY_HIGH,
    PRIORITY_NORMAL,
    TIMESLICE_MAX_US,
    TIMESLICE_MIN_US,
    ExecQueue,
    QueueGroup,
)
from mock.driver.lib import user
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_4K
from mock.driver.platform import EngineClass
from mock.driver.uapi import extension

if TYPE_CHECKING:
    from mock.driver.device import Device, HwEngine
    from mock.driver.uapi.dispatch import Call
    from mock.driver.vm.vm import Vm
    from mock.kernel import Task

MAX_INSTANCES = 9
"""XE_HW_ENGINE_MAX_INSTANCE: placements times width of one queue."""
SECONDARY_PROPERTIES = {
    xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_GROUP,
    xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_QUEUE_PRIORITY,
}
"""Properties of a secondary queue of a multi-queue group (exec_queue_user_ext_check)."""


def hang_replay_size(queue: ExecQueue) -> int:
    """Bytes that DRM_XE_EXEC_QUEUE_SET_HANG_REPLAY_STATE copies (xe_gt_lrc_hang_replay_size)."""
    xe2 = queue.vm.device.profile.graphics_version >= 20
    pages = {EngineClass.RENDER: 3 if xe2 else 13, EngineClass.COMPUTE: 2 if xe2 else 13}
    return pages.get(queue.engine_class, 1) * SZ_4K


def max_priority(task: Task) -> int:
    """The highest priority that the caller may set (xe_exec_queue_device_get_max_priority)."""
    return PRIORITY_HIGH if task.capable("CAP_SYS_NICE") else PRIORITY_NORMAL


def create(call: Call, args: Any) -> None:
    """xe_exec_queue_create_ioctl()."""
    device = call.device
    refuse_if(unknown_flags(device.level, args), errno.EINVAL, "flags")
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    count = args.width * args.num_placements
    refuse_if(not count or count > MAX_INSTANCES, errno.EINVAL, "width times num_placements")
    instances = user.get_array(call.task.mm, args.instances, xe.drm_xe_engine_class_instance, count)
    first = instances[0]
    refuse_if(device.gt(first.gt_id) is None, errno.EINVAL, "gt_id")
    if first.engine_class == xe.DRM_XE_ENGINE_CLASS_VM_BIND:
        refuse_if(args.width != 1 or args.num_placements != 1, errno.EINVAL, "a bind queue has one instance")
        refuse_if(first.engine_instance, errno.EINVAL, "engine_instance of a bind queue")
        vm = _find_vm(call, args.vm_id)
        device.machine.faults.enter("xe_exec_queue_create_bind", call.task.tid)
        queue = ExecQueue(device.tiles[0].primary_gt, vm, EngineClass.VM_BIND, [], 1)
        queue.low_latency = bool(args.flags)
        if args.extensions:
            _Properties(call, queue).apply(args.extensions)
    else:
        queue = _create_on_engines(call, args, instances)
    number = call.file.queues.add(queue)
    if number is None:
        raise Refused(errno.EBUSY, "no exec queue id left")
    args.exec_queue_id = number


def _find_vm(call: Call, vm_id: int) -> Vm:
    vm = call.file.vms.get(vm_id)
    if vm is None or vm.closed_or_banned:
        raise Refused(errno.ENOENT, "no such VM")
    return vm


def _create_on_engines(call: Call, args: Any, instances: list[Any]) -> ExecQueue:
    device = call.device
    engines = _placements(device, instances, args.width, args.num_placements)
    engine = engines[0]
    refuse_if(
        args.width > 1 and engine.engine_class not in device.profile.multi_lrc,
        errno.EOPNOTSUPP,
        "no parallel submission on this class",
    )
    vm = _find_vm(call, args.vm_id)
    queue = ExecQueue(engine.gt, vm, engine.engine_class, engines, args.width)
    queue.low_latency = bool(args.flags)
    if args.extensions:
        _Properties(call, queue).apply(args.extensions)
    if queue.group is not None and queue.is_secondary:
        queue.group.add(queue)
    call.scheduler.add(queue)
    return queue


def _placements(device: Device, instances: list[Any], width: int, num_placements: int) -> list[HwEngine]:
    """The engines a queue may use, instances[0] first (calc_validate_logical_mask). Raises Refused(EINVAL)."""
    chosen: list[HwEngine] = []
    previous = 0
    for column in range(width):
        mask = 0
        for row in range(num_placements):
            instance = instances[row * width + column]
            gt = device.gt(instance.gt_id)
            engine = gt.engine(instance.engine_class, instance.engine_instance) if gt else None
            if engine is None:
                raise Refused(errno.EINVAL, "no such engine")
            refuse_if(instance.gt_id != instances[0].gt_id, errno.EINVAL, "engines of several GTs")
            refuse_if(
                instance.engine_class != instances[0].engine_class, errno.EINVAL, "engines of several classes"
            )
            if column == 0 and engine not in chosen:
                chosen.append(engine)
            mask |= 1 << instance.engine_instance
        refuse_if(column and mask != previous << 1, errno.EINVAL, "parallel engines are not contiguous")
        previous = mask
    return chosen


class _Properties:
    """The SET_PROPERTY extensions at creation of a queue (exec_queue_user_extensions)."""

    def __init__(self, call: Call, queue: ExecQueue) -> None:
        self._call = call
        self._queue = queue
        self._seen: set[int] = set()
        self._setters = {
            xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY: self._priority,
            xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE: self._timeslice,
            xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_PXP_TYPE: self._pxp_type,
        }
        if call.device.has("hang-replay-state"):
            self._setters[xe.DRM_XE_EXEC_QUEUE_SET_HANG_REPLAY_STATE] = self._hang_replay_state
        if call.device.has("multi-queue"):
            self._setters[xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_GROUP] = self._multi_group
            self._setters[xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_QUEUE_PRIORITY] = self._multi_queue_priority
        if call.device.has("state-cache-perf-fix"):
            self._setters[xe.DRM_XE_EXEC_QUEUE_SET_DISABLE_STATE_CACHE_PERF_FIX] = self._state_cache

    def apply(self, address: int) -> None:
        extension.walk(self._call.task.mm, address, self._set, max(self._setters))
        refuse_if(
            xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_QUEUE_PRIORITY in self._seen
            and xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_GROUP not in self._seen,
            errno.EINVAL,
            "multi-queue priority without a group",
        )

    def _set(self, ext: Any) -> None:
        self._seen.add(ext.property)
        refuse_if(
            self._queue.is_secondary and self._seen - SECONDARY_PROPERTIES,
            errno.EINVAL,
            "property of a secondary queue",
        )
        refuse_if(
            {xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_GROUP, xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_PXP_TYPE}
            <= self._seen,
            errno.EINVAL,
            "PXP in a multi-queue group",
        )
        self._setters[ext.property](ext.value)

    def _priority(self, value: int) -> None:
        refuse_if(value > PRIORITY_HIGH, errno.EINVAL, "priority")
        refuse_if(value > max_priority(self._call.task), errno.EPERM, "priority needs CAP_SYS_NICE")
        self._queue.priority = value

    def _timeslice(self, value: int) -> None:
        limited = not self._call.task.capable("CAP_SYS_NICE")
        in_range = TIMESLICE_MIN_US <= value <= TIMESLICE_MAX_US
        refuse_if(limited and not in_range, errno.EINVAL, "timeslice")
        self._queue.timeslice = value & 0xFFFFFFFF

    def _pxp_type(self, value: int) -> None:
        if value == xe.DRM_XE_PXP_TYPE_NONE:
            return
        refuse_if(value != xe.DRM_XE_PXP_TYPE_HWDRM, errno.EINVAL, "PXP type")
        raise Refused(errno.ENODEV, "PXP is not enabled")

    def _hang_replay_state(self, value: int) -> None:
        refuse_if(self._queue.replay_state is not None, errno.EINVAL, "replay state set twice")
        self._queue.replay_state = self._call.task.mm.read(value, hang_replay_size(self._queue))

    def _multi_group(self, value: int) -> None:
        """exec_queue_set_multi_group(), xe_exec_queue_group_validate()."""
        queue, profile = self._queue, self._call.device.profile
        refuse_if(queue.engine_class not in profile.multi_queue, errno.ENODEV, "no groups on this class")
        refuse_if(queue.parallel, errno.EINVAL, "multi-queue group of a parallel queue")
        refuse_if(queue.group is not None, errno.EINVAL, "multi-queue group set twice")
        if value & xe.DRM_XE_MULTI_GROUP_CREATE:
            refuse_if(value & ~xe.DRM_XE_MULTI_GROUP_CREATE, errno.EINVAL, "MULTI_GROUP_CREATE with an id")
            queue.group = QueueGroup(queue)
            return
        refuse_if(value >> 32, errno.EINVAL, "upper half of the id of a primary queue")
        primary = self._call.file.queues.get(value)
        if primary is None:
            raise Refused(errno.ENOENT, "no such primary queue")
        group = primary.group
        if group is None or primary.is_secondary:
            raise Refused(errno.EINVAL, "not a primary queue")
        refuse_if(primary.vm is not queue.vm, errno.EINVAL, "primary queue of another VM")
        refuse_if(primary.logical_mask != queue.logical_mask, errno.EINVAL, "primary queue on other engines")
        queue.group = group

    def _multi_queue_priority(self, value: int) -> None:
        refuse_if(value > MULTI_QUEUE_PRIORITY_HIGH, errno.EINVAL, "multi-queue priority")
        self._queue.multi_queue_priority = value

    def _state_cache(self, value: int) -> None:
        refuse_if(
            self._queue.engine_class is not EngineClass.RENDER, errno.EOPNOTSUPP, "only for render queues"
        )


def destroy(call: Call, args: Any) -> None:
    """xe_exec_queue_destroy_ioctl(). Jobs in flight complete with an error."""
    refuse_if(args.pad, errno.EINVAL, "pad")
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    queue = call.file.queues.erase(args.exec_queue_id)
    if queue is None:
        raise Refused(errno.ENOENT, "no such exec queue")
    call.scheduler.discard(queue)


def get_property(call: Call, args: Any) -> None:
    """xe_exec_queue_get_property_ioctl()."""
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    queue = call.file.queues.get(args.exec_queue_id)
    if queue is None:
        raise Refused(errno.ENOENT, "no such exec queue")
    refuse_if(args.property != xe.DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN, errno.EINVAL, "property")
    args.value = int(queue.dead)


def set_property(call: Call, args: Any) -> None:
    """xe_exec_queue_set_property_ioctl()."""
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    refuse_if(
        args.property != xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_QUEUE_PRIORITY, errno.EINVAL, "property"
    )
    queue = call.file.queues.get(args.exec_queue_id)
    if queue is None:
        raise Refused(errno.ENOENT, "no such exec queue")
    refuse_if(args.value > MULTI_QUEUE_PRIORITY_HIGH, errno.EINVAL, "multi-queue priority")
    refuse_if(queue.group is None, errno.EINVAL, "not a queue of a multi-queue group")
    if not queue.dead:
        queue.multi_queue_priority = args.value
