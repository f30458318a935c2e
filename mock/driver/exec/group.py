# SPDX-License-Identifier: MIT
"""Engine groups: jobs with dma-fences and faulting long-running queues do not run together (xe_hw_engine_group.c)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from mock.driver.lib.blocking import Blocking, Interruptible, Thread
from mock.driver.platform import EngineClass

if TYPE_CHECKING:
    from collections.abc import Callable

    from mock.driver.device import Gt, HwEngine
    from mock.driver.exec.queue import ExecQueue
    from mock.driver.exec.sync import SyncEntry
    from mock.kernel import Services


class Mode(Enum):
    LR = 0
    DMA_FENCE = 1


class EngineGroup:
    """Engines of a GT that share execution units, and the queues created on them."""

    def __init__(self, services: Services, wake: Callable[[], None]) -> None:
        self._services = services
        self._wake = wake
        self.mode = Mode.LR
        self.queues: list[ExecQueue] = []
        self._resuming = False

    def add(self, queue: ExecQueue) -> None:
        """A queue was created (xe_hw_engine_group_add_exec_queue)."""
        if queue.vm.preempt_fence_mode:
            return
        if queue.vm.fault_mode and self.mode is Mode.DMA_FENCE:
            queue.suspended = True
            self.resume_faulting()
        self.queues.append(queue)

    def remove(self, queue: ExecQueue) -> None:
        if queue in self.queues:
            self.queues.remove(queue)

    def enter_dma_fence_mode(self, syncs: list[SyncEntry]) -> Blocking[None]:
        """Before a dma-fence job: suspend faulting queues; their pages may depend on this job's fence.

        syncs: those of the exec if any needs a wait. It waits here, before it suspends a queue, as a job with unmet
        dependencies must not keep faulting queues off the hardware (xe_hw_engine_group_get_mode).
        """
        if self.mode is Mode.DMA_FENCE:
            return
        faulting = [queue for queue in self.queues if queue.vm.fault_mode]
        if faulting:
            for sync in syncs:
                if sync.needs_wait and sync.fence is not None:
                    yield Interruptible(sync.fence)
        suspended = False
        for queue in faulting:
            queue.gt.stats.add("hw_engine_group_suspend_lr_queue_count")
            if not queue.dead:
                queue.suspended = True
                suspended = True
        self.mode = Mode.DMA_FENCE
        if suspended:
            self.resume_faulting()

    def resume_faulting(self) -> None:
        """Let faulting queues run again once the dma-fence jobs in flight are done."""
        if not self._resuming:
            self._resuming = True
            self._services.loop.call_soon(Thread(self._resume(), lambda _: None, self._failed).run)

    def _resume(self) -> Blocking[None]:
        try:
            if self.mode is Mode.LR:
                return
            for queue in list(self.queues):
                if not queue.vm.lr_mode:
                    queue.gt.stats.add("hw_engine_group_wait_dma_queue_count")
                    while not queue.last_fence.signaled:
                        yield queue.last_fence
            self.mode = Mode.LR
            for queue in self.queues:
                if queue.vm.fault_mode:
                    queue.suspended = False
            self._wake()
        finally:
            self._resuming = False

    def _failed(self, error: BaseException) -> None:
        self._services.internal_error("resume of faulting queues", error)


_SHARED = (
    {EngineClass.RENDER, EngineClass.COMPUTE},
    {EngineClass.COPY},
    {EngineClass.VIDEO_DECODE, EngineClass.VIDEO_ENHANCE},
)


def make_groups(gt: Gt, services: Services, wake: Callable[[], None]) -> dict[HwEngine, EngineGroup]:
    """The group of each engine (xe_hw_engine_setup_groups)."""
    groups = {}
    for classes in _SHARED:
        group = EngineGroup(services, wake)
        for engine in gt.engines:
            if engine.engine_class in classes:
                groups[engine] = group
    return groups
