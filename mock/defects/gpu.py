# SPDX-License-Identifier: MIT
"""Defects of the GPU and its scheduling."""

from __future__ import annotations

from collections.abc import Callable

from gpu import Execution, Reason, Stop
from mock.defects.migration import freed_vram_stays
from mock.defects.patch import replace
from mock.driver.exec.queue import ExecQueue
from mock.driver.exec.scheduler import Scheduler
from mock.driver.vm.pagetable import PageTable
from mock.driver.vm.space import VmSpace


def gpu_idle() -> None:
    """The GPU executes nothing, but batches complete and their fences are written."""

    def run(self: Execution, budget: int) -> Stop:
        return Stop(Reason.FINISHED, self.pc)

    replace(Execution, "run", run)


def atomics_lost() -> None:
    """GPU atomics return the old value and store nothing."""
    sound = VmSpace.atomic

    def atomic(self: VmSpace, address: int, size: int, operation: Callable[[int], int]) -> int:
        return sound(self, address, size, lambda old: old)

    replace(VmSpace, "atomic", atomic)


def stale_tlb() -> None:
    """Entries that the driver zaps stay valid for the GPU."""
    freed_vram_stays()

    def zap(self: PageTable, start: int, end: int) -> bool:
        return any(run.present for run in self.runs(start, end))

    replace(PageTable, "zap", zap)


def reset_spreads() -> None:
    """A batch that fails bans all queues of its VM, not only its own."""
    sound = Scheduler.reset

    def reset(self: Scheduler, queue: ExecQueue, why: str) -> None:
        for victim in self.queues(queue.vm):
            sound(self, victim, why)

    replace(Scheduler, "reset", reset)


DEFECTS = {
    "gpu-idle": gpu_idle,
    "atomics-lost": atomics_lost,
    "stale-tlb": stale_tlb,
    "reset-spreads": reset_spreads,
}
