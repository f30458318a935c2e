# SPDX-License-Identifier: MIT
"""Exec queues and their jobs (xe_exec_queue_types.h, xe_sched_job_types.h, xe_guc_submit.c)."""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mock.driver.lib.errors import refuse_if
from mock.driver.lib.fence import Fence
from mock.driver.lib.timeline import Timeline
from mock.driver.platform import EngineClass

if TYPE_CHECKING:
    from mock.driver.device import Gt, HwEngine
    from mock.driver.vm.vm import Vm

MAX_JOBS = 1000
"""XE_MAX_JOB_COUNT_PER_EXEC_QUEUE"""

PRIORITY_NORMAL = 1
PRIORITY_HIGH = 2

# Defaults of xe_hw_engine.c: hw_engine_init_early().
JOB_TIMEOUT_S = 5.0
TIMESLICE_US = 1000
TIMESLICE_MIN_US = 1
TIMESLICE_MAX_US = 10_000_000

MULTI_QUEUE_PRIORITY_NORMAL = 1
MULTI_QUEUE_PRIORITY_HIGH = 2
MAX_GROUP_SIZE = 64
"""XE_MAX_GROUP_SIZE: queues of a multi-queue group, the primary included."""


@dataclass(eq=False)
class Job:
    """One EXEC: a batch for each unit of width, and the fences to signal.

    addresses    GPU addresses of the batches, one for each unit of the queue's width
    dependencies fences that must signal before the batches start
    user_fence   (GPU address, value) that the GPU stores at the end
    done         signals when the job ends; its error is -ETIME, -EIO or -ECANCELED if it failed
    """

    queue: ExecQueue
    addresses: list[int]
    dependencies: list[Fence] = field(default_factory=list)
    user_fence: tuple[int, int] | None = None
    done: Fence = field(default_factory=Fence)


class QueueGroup:
    """struct xe_exec_queue_group: a primary queue, and secondary queues that share its context.

    An engine reset bans all of them. The primary keeps the position of a destroyed secondary queue, so a group can only
    ever have MAX_GROUP_SIZE - 1 of them.
    """

    def __init__(self, primary: ExecQueue) -> None:
        self.primary = primary
        self.members = [primary]
        self._positions = 1

    def add(self, queue: ExecQueue) -> None:
        """xe_exec_queue_group_add(). Raises Refused(EINVAL) if the group is full."""
        refuse_if(self._positions == MAX_GROUP_SIZE, errno.EINVAL, "multi-queue group is full")
        self._positions += 1
        self.members.append(queue)


class ExecQueue(Timeline):
    """struct xe_exec_queue.

    engines      engines of one class that it may run on (the logical mask)
    width        batches of an EXEC
    timeslice    microseconds
    group        its multi-queue group, if any
    suspended    not scheduled for now: the engine group runs dma-fence jobs, or the VM rebinds
    """

    def __init__(
        self,
        gt: Gt,
        vm: Vm,
        engine_class: EngineClass,
        engines: list[HwEngine],
        width: int,
    ) -> None:
        super().__init__()
        self.gt = gt
        self.vm = vm
        self.engine_class = engine_class
        self.engines = engines
        self.width = width
        self.priority = PRIORITY_NORMAL
        self.timeslice = TIMESLICE_US
        self.job_timeout = JOB_TIMEOUT_S
        self.low_latency = False
        self.jobs: deque[Job] = deque()
        self.banned = False
        self.reset = False
        self.killed = False
        self.suspended = False
        self.replay_state: bytes | None = None
        self.group: QueueGroup | None = None
        self.multi_queue_priority = MULTI_QUEUE_PRIORITY_NORMAL

    @property
    def is_bind(self) -> bool:
        return self.engine_class is EngineClass.VM_BIND

    @property
    def parallel(self) -> bool:
        return self.width > 1

    @property
    def dead(self) -> bool:
        """Whether submissions are refused (guc_exec_queue_reset_status)."""
        if self.group is not None and self.is_secondary and self.group.primary.dead:
            return True
        return self.reset or self.killed or self.banned or self.vm.device.wedged

    @property
    def logical_mask(self) -> int:
        """Bit mask of the instances of its engines."""
        return sum(1 << instance for instance in {engine.instance for engine in self.engines})

    @property
    def is_secondary(self) -> bool:
        return self.group is not None and self.group.primary is not self

    @property
    def group_members(self) -> list[ExecQueue]:
        """The queues that fail together: those of its group, or itself alone."""
        return list(self.group.members) if self.group is not None else [self]

    @property
    def idle(self) -> bool:
        return not self.jobs
