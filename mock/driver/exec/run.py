# SPDX-License-Identifier: MIT
"""A job on the hardware: the context that executes its batches step by step."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gpu import Engine, Execution, GpuFault, Reason, Stop
from gpu.address import translated
from mock.driver.vm.space import Stall

if TYPE_CHECKING:
    from mock.driver.device import HwEngine
    from mock.driver.exec.queue import Job
    from mock.kernel import Timer

CHUNK = 128
"""Instructions between two readings of the clock."""


class State(Enum):
    READY = "ready"
    WAITING = "waiting for a semaphore"
    FAULTED = "waiting for a page fault to be served"
    STALLED = "waiting for a process whose memory is being moved"
    HUNG = "hung on an illegal instruction"
    DONE = "done"


class Run:
    """One job on an engine. The batches of a parallel queue run in turn, as a gang.

    slice_left  seconds until the engine switches to the next context
    timer       expires if a dma-fence job takes too long
    in_the_way  it hangs while another context waits for its engine, and its preemption timeout is running
    started     seconds of CLOCK_MONOTONIC
    """

    def __init__(self, job: Job, engine: HwEngine, now: float) -> None:
        self.job = job
        self.engine = engine
        self.started = now
        self.slice_left = 0.0
        self.in_the_way = False
        self.timer: Timer | None = None
        self.state = State.READY
        self.fault: GpuFault | None = None
        self._done = 0
        self._space = job.queue.vm.space(job.queue.gt.tile)
        device = engine.gt.tile.device
        streamer = Engine(clock=device.timestamp, user_interrupt=device.ufence_wq.wake)
        self._executions = [Execution(self._space, address, engine=streamer) for address in job.addresses]

    @property
    def progress(self) -> tuple[int, int]:
        """Increases with every instruction, and with every part of one that takes more than a step."""
        parts = [execution.progress.done for execution in self._executions if execution.progress is not None]
        return self._done + sum(execution.retired for execution in self._executions), sum(parts)

    def step(self) -> None:
        """Execute some instructions of each batch, or store the user fence when all batches are done."""
        self.state = State.READY
        self.fault = None
        waiting = hung = False
        for execution in list(self._executions):
            stop: Stop = execution.run(CHUNK)
            if stop.reason is Reason.FINISHED:
                self._executions.remove(execution)
                self._done += execution.retired + 1
            elif stop.reason is Reason.FAULT:
                self.fault = stop.fault
            elif stop.reason is Reason.WAITING:
                waiting = True
            elif stop.reason is Reason.ILLEGAL:
                hung = True
        if not self._executions:
            self._store_user_fence()
        if self.fault is not None:
            self.state = State.STALLED if isinstance(self.fault, Stall) else State.FAULTED
        elif hung:
            self.state = State.HUNG
        elif waiting:
            self.state = State.WAITING

    def _store_user_fence(self) -> None:
        """The ring's store after the batches (xe_ring_ops.c: emit_store_imm_ppgtt_posted)."""
        if self.job.user_fence is not None:
            address, value = self.job.user_fence
            try:
                self._space.write(translated(address), value.to_bytes(8, "little"))
            except GpuFault as fault:
                self.fault = fault
                return
        self.state = State.DONE
