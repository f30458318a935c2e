# SPDX-License-Identifier: MIT
"""The DRM scheduler, GuC and the engines of a GPU.

Jobs of a queue run one after the other once their dependencies have signalled. Contexts share an engine in time
slices, higher priorities first. A context that waits for a semaphore or a page fault leaves the engine to others.
An idle GPU takes no CPU time.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING

from mock.driver.exec.group import EngineGroup, make_groups
from mock.driver.exec.run import Run, State
from mock.driver.lib.blocking import Thread
from mock.driver.lib.fence import FenceArray
from mock.driver.lib.ids import CyclicIds
from mock.driver.svm import fault
from mock.driver.vm import rebind
from mock.driver.vm.space import Stall

if TYPE_CHECKING:
    from mock.driver.device import Device, HwEngine
    from mock.driver.exec.queue import ExecQueue, Job
    from mock.driver.vm.vm import Vm
    from mock.kernel import Timer

MAX_ASID = 1 << 20
"""All address space ids are lower (XE_MAX_ASID)."""

PREEMPT_TIMEOUT_S = 0.64
"""CONFIG_DRM_XE_PREEMPT_TIMEOUT: a context that has not left the engine by then is reset."""

POLL_MIN_S, POLL_MAX_S = 50e-6, 2e-3
"""Polling interval of a semaphore that only the CPU can satisfy; it grows while nothing happens."""

TURN_S = 1e-3
"""The longest time that the GPU runs before system calls and faults of clients are handled."""


class Scheduler:
    """The engines of one device. Implements mock.driver.vm.vm.Engines.

    vms  VMs of the device, by address space id
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.vms: CyclicIds[Vm] = CyclicIds(MAX_ASID)
        self._groups = {
            engine: group
            for gt in device.gts
            for engine, group in make_groups(gt, device.services, self.wake).items()
        }
        self._queues: dict[Vm, list[ExecQueue]] = {}
        self._faults: dict[Vm, deque[Run]] = {}
        self._loop = device.services.loop
        self._running: dict[ExecQueue, Run] = {}
        self._on_engine: dict[HwEngine, deque[Run]] = {}
        self._turn_queued = False
        self._poll: Timer | None = None
        self._poll_delay = POLL_MIN_S

    # Queues

    def add(self, queue: ExecQueue) -> None:
        """A queue was created on engines (xe_vm_add_compute_exec_queue, xe_hw_engine_group_add_exec_queue)."""
        self._queues.setdefault(queue.vm, []).append(queue)
        self.group(queue).add(queue)

    def discard(self, queue: ExecQueue) -> None:
        """Stop a queue and remove it from all lists (xe_exec_queue_kill)."""
        if not queue.is_bind:
            self.group(queue).remove(queue)
        self.kill(queue)
        if queue.group is not None and queue.is_secondary:
            queue.group.members.remove(queue)
        queues = self._queues.get(queue.vm, [])
        if queue in queues:
            queues.remove(queue)
            if not queues:
                del self._queues[queue.vm]

    def group(self, queue: ExecQueue) -> EngineGroup:
        """The engine group of a queue."""
        return self._groups[queue.engines[0]]

    def queues(self, vm: Vm) -> list[ExecQueue]:
        """The queues of a VM, without its bind queues."""
        return list(self._queues.get(vm, ()))

    # Jobs

    def submit(self, job: Job) -> None:
        """Queue a job behind the earlier ones of its queue (xe_sched_job_push)."""
        queue = job.queue
        queue.jobs.append(job)
        FenceArray(job.dependencies).then(lambda: self._start_next(queue))

    def _start_next(self, queue: ExecQueue) -> None:
        """Start the queue's oldest job on an engine if it is ready."""
        if queue.dead:
            self._cancel_jobs(queue, errno.ECANCELED)
            return
        if not queue.jobs or queue in self._running:
            return
        job = queue.jobs[0]
        if any(not fence.signaled for fence in job.dependencies):
            return
        engine = min(queue.engines, key=lambda engine: len(self._on_engine.get(engine, ())))
        run = Run(job, engine, self._loop.time())
        run.slice_left = queue.timeslice / 1e6
        self._running[queue] = run
        self._on_engine.setdefault(engine, deque()).append(run)
        if not queue.vm.lr_mode:
            run.timer = self._loop.call_at(run.started + queue.job_timeout, lambda: self._timed_out(run))
        self.wake()

    def _finish(self, run: Run, error: int = 0) -> None:
        """The job ended: signal its fence with the error."""
        job, queue = run.job, run.job.queue
        self._remove(run)
        queue.jobs.popleft()
        job.done.signal(error)
        self.device.ufence_wq.wake()
        self._start_next(queue)

    def _remove(self, run: Run) -> None:
        if run.timer is not None:
            run.timer.cancel()
        self._running.pop(run.job.queue, None)
        self._on_engine[run.engine].remove(run)

    def _cancel_jobs(self, queue: ExecQueue, first: int) -> None:
        """Complete all jobs of a dead queue: the oldest with ``first``, the others with ECANCELED."""
        run = self._running.get(queue)
        if run is not None:
            self._remove(run)
        error = first
        while queue.jobs:
            queue.jobs.popleft().done.signal(-error)
            error = errno.ECANCELED
        self.device.ufence_wq.wake()
        self.wake()

    # Queues that fail

    def kill(self, queue: ExecQueue) -> None:
        """Take a queue off the hardware permanently (guc_exec_queue_kill)."""
        queue.killed = True
        self._cancel_group(queue)

    def reset(self, queue: ExecQueue, why: str) -> None:
        """An engine reset or memory error hit the queue (xe_guc_exec_queue_reset_trigger_cleanup): it is banned."""
        self.device.services.log(f"{queue.engine_class.name} queue reset: {why}")
        for member in queue.group_members:
            member.reset = member.banned = True
            self._cancel_jobs(member, errno.EIO)

    def _timed_out(self, run: Run) -> None:
        """A dma-fence job did not end in time (guc_exec_queue_timedout_job)."""
        queue = run.job.queue
        self.device.services.log(f"{queue.engine_class.name} job timed out")
        queue.banned = True
        self._cancel_group(queue)

    def _cancel_group(self, queue: ExecQueue) -> None:
        """Complete all jobs of a dead queue. If it had any, this bans the busy queues of its group, too."""
        busy = [member for member in queue.group_members if member is not queue and member.jobs]
        had_jobs = bool(queue.jobs)
        self._cancel_jobs(queue, errno.ETIME)
        for member in busy if had_jobs else ():
            member.banned = True
            self._cancel_jobs(member, errno.ETIME)

    # Time

    def wake(self) -> None:
        """A context may be able to run now."""
        if not self._turn_queued:
            self._turn_queued = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Run one context on every engine for a while."""
        self._turn_queued = False
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None
        progress = False
        for runs in list(self._on_engine.values()):
            progress |= self._run_engine(runs)
        if progress:
            self._poll_delay = POLL_MIN_S
            self.wake()
        elif self._polls():
            self._poll = self._loop.call_at(self._loop.time() + self._poll_delay, self.wake)
            self._poll_delay = min(self._poll_delay * 2, POLL_MAX_S)

    def _polls(self) -> bool:
        """Whether a context waits for memory that only a client's CPU can change, without any notification."""
        return any(
            run.state is State.WAITING and not run.job.queue.suspended for run in self._running.values()
        )

    def _run_engine(self, runs: deque[Run]) -> bool:
        """Run the context whose turn it is. Returns whether any context made progress."""
        candidates = [
            run
            for run in runs
            if run.state in (State.READY, State.WAITING, State.HUNG) and not run.job.queue.suspended
        ]
        if not candidates:
            return False
        hung = next((run for run in candidates if run.state is State.HUNG), None)
        if hung is not None:
            if len(candidates) > 1 and not hung.in_the_way:
                hung.in_the_way = True
                self._loop.call_at(self._loop.time() + PREEMPT_TIMEOUT_S, lambda: self._preempt_timeout(hung))
            return False
        # Highest priority first, then round robin; the sort is stable.
        candidates.sort(key=lambda run: -run.job.queue.priority)
        progress = False
        for run in candidates:
            before = run.progress
            self._run_slice(run)
            progress |= run.progress != before
            if run.state is State.READY and run in runs:
                break
        return progress

    def _run_slice(self, run: Run) -> None:
        """Run one context until it stops, or until its time slice or the turn ends."""
        start = now = self._loop.time()
        end = start + min(TURN_S, run.slice_left)
        while True:
            run.step()
            now = self._loop.time()
            if run.state is not State.READY or now >= end:
                break
        run.slice_left -= now - start
        if run.state is State.DONE:
            self._finish(run)
        elif run.state is State.FAULTED:
            self._fault(run)
        elif isinstance(run.fault, Stall):
            run.fault.mm.when_settled(lambda: self._resume(run))
        elif run.slice_left <= 0 or run.state is State.WAITING:
            run.slice_left = run.job.queue.timeslice / 1e6
            runs = self._on_engine[run.engine]
            runs.remove(run)
            runs.append(run)

    def _resume(self, run: Run) -> None:
        """The context can continue: its fault or stall was resolved."""
        if self._running.get(run.job.queue) is run:
            run.state = State.READY
            self.wake()

    def _preempt_timeout(self, run: Run) -> None:
        """A hanging context was not preempted in time: reset the engine."""
        if self._running.get(run.job.queue) is run:
            self.reset(run.job.queue, "did not leave the engine")

    # Faults

    def _fault(self, run: Run) -> None:
        vm = run.job.queue.vm
        assert run.fault is not None
        if not vm.fault_mode:
            self.reset(run.job.queue, f"memory error: {run.fault}")
            return
        pending = self._faults.setdefault(vm, deque())
        pending.append(run)
        if len(pending) == 1:
            self._loop.call_soon(lambda: self._serve(vm))

    def _serve(self, vm: Vm) -> None:
        """Handle the oldest fault of a VM; one at a time, as the kernel's handler holds the VM's lock."""
        pending = self._faults[vm]
        run = pending[0]
        queue = run.job.queue
        assert run.fault is not None
        page_fault = fault.PageFault.of(queue.gt, vm, run.fault)

        def done(error: int) -> None:
            pending.popleft()
            if self._running.get(queue) is run:
                if error:
                    self.reset(queue, f"{run.fault}: {errno.errorcode[-error]}")
                else:
                    self._resume(run)
            if pending:
                self._loop.call_soon(lambda: self._serve(vm))
            else:
                del self._faults[vm]

        def failed(problem: BaseException) -> None:
            self.device.services.internal_error(f"service of {run.fault}", problem)
            done(-errno.EIO)

        Thread(fault.handle(page_fault, self.vms), done, failed).run()

    # VMs with preempt fences

    def preempt(self, vm: Vm) -> None:
        """Pages of a preempt-fence VM moved: stop its queues until it is rebound (xe_preempt_fence.c)."""
        for queue in self.queues(vm):
            if not queue.dead:
                queue.suspended = True
        self._queue_rebind(vm)

    def reactivate_rebind(self, vm: Vm) -> None:
        """A batch was submitted to a VM whose rebind was put off while it was idle (xe_vm_reactivate_rebind)."""
        if vm.rebind_deactivated:
            vm.rebind_deactivated = False
            self._queue_rebind(vm)

    def _queue_rebind(self, vm: Vm) -> None:
        if not vm.rebind_queued:
            vm.rebind_queued = True
            self._loop.call_soon(lambda: self._rebind(vm))

    def _rebind(self, vm: Vm) -> None:
        """preempt_rebind_work_func()."""
        vm.rebind_queued = False
        if vm.closed_or_banned:
            return
        try:
            vm.userptr.pin_all()
            if all(queue.idle for queue in self.queues(vm)):
                vm.rebind_deactivated = True
                return
            rebind.validate_and_rebind(vm)
        except OSError as error:
            self.device.services.log(f"VM worker error: {error}")
            vm.banned = True
            for queue in self.queues(vm):
                self.kill(queue)
            return
        for queue in self.queues(vm):
            queue.suspended = False
        self.wake()
