# SPDX-License-Identifier: MIT
"""Scheduling of contexts.

Contexts run in slices, round robin; one that waits for a semaphore or for the answer to a page fault is
parked, and never stops the driver's messages, which are handled between slices. A context that waits for the answer to
a page fault may occupy its group of engines (``occupied``): the others of the group stop until the answer, or until it
is disabled. Source of the
states: drivers/gpu/drm/xe/xe_guc_submit.c (what the driver expects after registration, enable, disable and
reset).
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gpu import Access, GpuFault, Reason, Stop
from guest.emulator import hxg
from guest.emulator.adversary import Adversary, Failure, UnitFaults
from guest.emulator.checks import Checks
from guest.emulator.context import Condition, Context
from guest.emulator.engines import RENDER, Engine
from guest.emulator.faults import Faults, Source
from guest.emulator.hxg import Action
from guest.emulator.klv import EXECUTION_UNITS
from guest.emulator.memory import PAGE
from guest.emulator.parallel import WorkQueue
from guest.emulator.trace import Trace

SLICE_INSTRUCTIONS = 50
SLICE_SECONDS = 0.002
KERNEL = 0
"""Address space of the kernel's own jobs."""
RESET_AFTER_INSTRUCTIONS, RESET_SECONDS = 8, 1.0
"""Instructions of a job of the kernel before its engine is reset, and how long the next one is ready before it runs."""
SPIN_INSTRUCTIONS, SPIN_PAUSE = 20_000, 0.001
"""Seconds of the host's processor that a context which never stops leaves to the guest after each slice."""
POLL_FIRST, POLL_LAST = 0.0002, 0.002
"""Seconds between two looks at unsatisfied semaphores: the first, and the longest after many without success."""
_REACH = 2 << 20
LOOK_SECONDS = 1.0
"""Between two looks at faults that are not answered."""
UNSERVED, UNSERVED_SECONDS = 8, 1.0
"""Answers to one fault, and time from the first of them, with the page still missing, before that is reported.

A fault on a bo whose bind has yet to run is answered at once (xe_pagefault_handle_vma), so it is repeated until the
bind is complete, as often as the host is fast.
"""
HANG_SECONDS = 0.64
"""Time an engine may hang before it is reset: the driver's default preemption timeout (XE_SCHED preempt 640
ms).
"""


@dataclass(slots=True)
class _Group:
    """A registered context: one ring, or several that a work queue advances."""

    members: list[Context]
    queue: WorkQueue | None
    enabled: bool = False
    ran: bool = False
    """Whether it has been enabled before."""


class Scheduler:
    """All contexts of one GPU."""

    def __init__(
        self,
        name: str,
        make: Callable[[int, Engine, int], Context],
        send: Callable[[Sequence[int]], None],
        checks: Checks,
        trace: Trace,
        adversary: Adversary,
        masters_bus: Callable[[], bool],
        occupied: bool,
    ) -> None:
        self._name = name
        self._make = make
        self._send = send
        self._checks = checks
        self._trace = trace
        self._adversary = adversary
        self._masters_bus = masters_bus
        self._occupied = occupied
        self._groups: dict[int, _Group] = {}
        self._faults: Faults[Context | None] = Faults(name, checks, send)
        self._ready: deque[Context] = deque()
        self._waiting: list[Context] = []
        self._hung: list[Context] = []
        self._stuck: list[Context] = []
        """Contexts that wait for the answer to a page fault."""
        self._faulting: set[int] = set()
        """Address spaces that had a fault served."""
        self._kernel_waits = False
        """The engine of a job of the kernel was reset, and none has run since."""
        self._kernel_next: Context | None = None
        self._kernel_from = 0.0
        """The context that runs next in place of that job, and when."""
        self._poll_at = 0.0
        self._poll_step = POLL_FIRST

    # Requests from the GuC.

    def reset(self) -> None:
        """Drop every context; running ones stop immediately."""
        self._groups.clear()
        self._ready.clear()
        self._waiting.clear()
        self._hung.clear()
        self._stuck.clear()
        self._faulting.clear()
        self._faults.clear()

    def knows(self, identity: int) -> bool:
        """Whether a context is registered."""
        return identity in self._groups

    def asid_of(self, identity: int) -> int | None:
        """The ASID of a registered context."""
        group = self._groups.get(identity)
        return group.members[0].asid if group is not None else None

    def has_faults(self, asid: int) -> bool:
        """Whether an address space had a fault served: its contexts run on while the driver changes its memory."""
        return asid in self._faulting

    def register(
        self, identity: int, members: Sequence[tuple[Engine, int]], queue: WorkQueue | None = None
    ) -> None:
        """A new context, disabled: an engine and a descriptor, or several of them that a work queue moves on."""
        if identity in self._groups:
            self._misplaced("a context is registered twice", identity)
            self._retire(self._groups[identity])
        contexts = [self._make(identity, engine, descriptor) for engine, descriptor in members]
        self._groups[identity] = _Group(contexts, queue)
        for context in contexts:
            self._show(context, f"registered at {context.address:#x}")

    def deregister(self, identity: int) -> None:
        """Drop a context."""
        group = self._groups.pop(identity, None)
        if group is None:
            self._misplaced("a context is deregistered that is not registered", identity)
            return
        self._retire(group)
        self._show(group.members[0], "deregistered")

    def enable(self, identity: int) -> None:
        """Let a context run, and run what is in its ring."""
        if (group := self._known(identity, "enabled")) is not None:
            resumes = group.ran and not group.enabled and not self._runs(group.members[0].asid)
            group.enabled = group.ran = True
            self._take_up(group)
            if resumes:
                # All that the driver relies on, after it has rebound memory of a long-running VM all of whose contexts
                # it had disabled for that (xe_pt.c:bind_op_prepare). A context that is new, or one of several that run,
                # need not reload anything; nor does a VM with page faults, whose entries are invalidated when they
                # are zapped.
                for context in group.members:
                    context.forget_translations()

    def _runs(self, asid: int) -> bool:
        """Whether any context of an address space is enabled, or has had a fault served."""
        return asid in self._faulting or any(
            group.enabled and group.members[0].asid == asid for group in self._groups.values()
        )

    def submit(self, identity: int) -> None:
        """A context's ring has new commands."""
        if (group := self._known(identity, "submitted to")) is not None and group.enabled:
            self._take_up(group)

    def disable(self, identity: int) -> None:
        """Stop a context between two instructions; it keeps its place, also in a wait or a fault.

        One that hangs has no such place: its engine is reset, as when preemption has taken too long.
        """
        if (group := self._known(identity, "disabled")) is not None:
            group.enabled = False
            if hung := [context for context in group.members if context.condition is Condition.HUNG]:
                self._reset(hung[0])
            for context in group.members:
                self._leave_queues(context)
                context.occupies_engine(False)
                context.save()
                self._show(context, f"disabled while {context.condition.value}")

    def fault_answered(self, first: int, second: int) -> None:
        """The driver's answer to a page fault: its two dwords."""
        if (answer := self._faults.answer(first, second)) is None:
            return
        context, fault, served = answer
        if context is None:  # of a unit that only faults, see _fault_in_units
            return
        if self._trace.fault:
            self._trace.line(
                self._name, "fault", f"{context}: {fault} {'served' if served else 'NOT served'}"
            )
        if context.condition is not Condition.FAULTED:
            return
        group = self._groups[context.identity]
        if served:
            self._faulting.add(context.asid)
            now = time.monotonic()
            unserved = context.unserved(fault.address, now)
            if (
                unserved is not None
                and not unserved.reported
                and unserved.answers >= UNSERVED
                and now - unserved.since >= UNSERVED_SECONDS
            ):
                unserved.reported = True
                self._checks.report("fault-not-served", self._name, address=fault.address, asid=context.asid)
            context.condition = Condition.RUNNABLE
            self._stuck.remove(context)
            if group.enabled:
                self._ready.append(context)
        else:
            self._retire(group)
            self._send([hxg.event(Action.MEMORY_CAT_ERROR), context.identity])

    # Scheduling.

    def turn(self) -> float | None:
        """Run one slice of one context. Returns the seconds until it should be called again, None for
        never.
        """
        now = time.monotonic()
        if self._waiting and now >= self._poll_at:
            self._poll(now)
        self._reset_waiting()
        stuck = self._stuck_groups()
        held = self._kernel_waits and self._kernel_is_held(now)
        free = [
            context
            for context in self._ready
            if context.engine.group not in stuck and not (held and context.asid == KERNEL)
        ]
        if free:
            context = free[self._adversary.pick(len(free))]
            self._ready.remove(context)
            if not self._masters_bus():
                self._checks.report("no-bus-master", self._name, context=context.identity)
            self._slice(context, now)
            return SPIN_PAUSE if self._ready and all(map(_spins, self._ready)) else 0.0
        wanted: list[float] = []
        if held:
            wanted.append(self._kernel_from - now)
        if self._hung:
            self._reset_hung(now)
            wanted.append(HANG_SECONDS / 4)
        if self._waiting:
            wanted.append(max(0.0, self._poll_at - now))
        if len(self._faults):
            self._faults.look(now)
            wanted.append(LOOK_SECONDS)
        return min(wanted, default=None)

    def _stuck_groups(self) -> set[str]:
        """The groups of engines that make no progress because of a page fault."""
        if not self._occupied:
            return set()
        return {context.engine.group for context in self._stuck if self._groups[context.identity].enabled}

    def _take_up(self, group: _Group) -> None:
        tails: Sequence[int | None] | None = [None]
        if group.queue is not None:
            tails = group.queue.take(len(group.members))
        for index, context in enumerate(group.members):
            # With nothing new in a work queue, contexts that were off continue where they were.
            if not context.load(tails[index] if tails is not None else context.tail):
                self._checks.report("ring-tail", self._name, context=context.identity, tail=context.tail)
            match context.condition:
                case Condition.RUNNABLE:
                    context.occupies_engine(True)
                    if context not in self._ready:
                        self._ready.append(context)
                case Condition.WAITING:
                    context.occupies_engine(True)
                    if context not in self._waiting:
                        self._waiting.append(context)
                        self._poll_soon()

    def _poll_soon(self) -> None:
        self._poll_step = POLL_FIRST
        self._poll_at = time.monotonic()

    def _poll(self, now: float) -> None:
        """Look at all semaphores that are waited for; contexts whose semaphore is satisfied resume."""
        before = len(self._waiting)
        waiting, self._waiting = self._waiting, []
        for context in waiting:
            self._run(context, 1)
        if len(self._waiting) < before:
            self._poll_step = POLL_FIRST
        else:
            self._poll_step = min(self._poll_step * 1.2, POLL_LAST)
        self._poll_at = now + self._poll_step

    def _slice(self, context: Context, now: float) -> None:
        if context.asid == KERNEL and Failure.KERNEL_RESET in self._adversary.failures:
            self._reset_kernel(context)
            return
        end = now + SLICE_SECONDS
        while self._run(context, SLICE_INSTRUCTIONS):
            if time.monotonic() >= end:
                self._ready.append(context)
                return

    def _run(self, context: Context, budget: int) -> bool:
        """Run a context and handle the reason why it stopped. Returns whether it could continue at once."""
        execution = context.execution
        assert execution is not None
        try:
            stop = execution.run(budget)
        except Exception:
            self._checks.report("emulator-error", self._name, traceback=traceback.format_exc())
            stop = Stop(Reason.ILLEGAL, execution.pc, "the emulator failed")
        if self._trace.command:
            self._trace.line(self._name, "command", f"{context}: {stop}, {execution.retired} done")
        match stop.reason:
            case Reason.BUDGET:
                if context.condition is Condition.WAITING:
                    context.condition = Condition.RUNNABLE
                    self._ready.append(context)
                return True
            case Reason.FINISHED:
                context.condition = Condition.IDLE
                context.occupies_engine(False)
                context.save()
            case Reason.WAITING:
                assert stop.wait is not None
                if context.waits_for_watchdog(stop.wait):
                    execution.satisfied = True
                    return True
                context.condition = Condition.WAITING
                if not self._waiting:
                    self._poll_soon()
                self._waiting.append(context)
            case Reason.FAULT:
                self._fault(context, stop)
            case Reason.ILLEGAL:
                context.condition = Condition.HUNG
                context.hung_since = time.monotonic()
                self._hung.append(context)
                self._show(context, f"hangs: {stop}")
        return False

    def _fault(self, context: Context, stop: Stop) -> None:
        assert stop.fault is not None
        context.condition = Condition.FAULTED
        self._stuck.append(context)
        engine = context.engine
        source = Source(engine.hw_class, engine.instance, context.asid)
        number = self._faults.report(context, source, stop.fault)
        if engine.group == RENDER:
            self._fault_in_units(source, stop.fault)
        if self._trace.fault:
            self._trace.line(self._name, "fault", f"{context}: {stop} (number {number})")

    def _fault_in_units(self, source: Source, fault: GpuFault) -> None:
        """The faults that come with another one, as ordered. No context waits for them."""
        if UnitFaults.ALL_UNITS in self._adversary.unit_faults:
            for other in _of_other_units(fault):
                self._faults.report(None, source, other)
        if UnitFaults.PREFETCH in self._adversary.unit_faults:
            ahead = GpuFault(fault.address + PAGE, Access.READ, fault.level)
            self._faults.report(None, replace(source, prefetch=True), ahead)

    def _reset_hung(self, now: float) -> None:
        """Engines that have hung too long are reset, with their contexts."""
        for context in [c for c in self._hung if now - c.hung_since >= HANG_SECONDS]:
            self._reset(context)

    def _reset_kernel(self, context: Context) -> None:
        """Reset the engine of the kernel's job, as ordered, in the middle of it."""
        if self._run(context, RESET_AFTER_INSTRUCTIONS) and self._adversary.fails(
            Failure.KERNEL_RESET, self._name
        ):
            self._kernel_waits = True
            self._reset(context)

    def _kernel_is_held(self, now: float) -> bool:
        """Whether jobs of the kernel wait after that, each new context from its start."""
        context = next((one for one in self._ready if one.asid == KERNEL), None)
        if context is None:
            return False
        if Failure.KERNEL_RESET not in self._adversary.ordered:
            self._kernel_waits = False
            return False
        if context is not self._kernel_next:
            self._kernel_next, self._kernel_from = context, now + RESET_SECONDS
        self._kernel_waits = now < self._kernel_from
        return self._kernel_waits

    def _reset_waiting(self) -> None:
        """Reset the engine of a program's job, if that is ordered and one waits."""
        if Failure.PROGRAM_RESET not in self._adversary.failures:
            return
        context = next((one for one in self._waiting if one.asid != KERNEL), None)
        if context is not None and self._adversary.fails(Failure.PROGRAM_RESET, self._name):
            self._reset(context)

    def _reset(self, context: Context) -> None:
        self._retire(self._groups[context.identity])
        self._show(context, "reset")
        self._send([hxg.event(Action.CONTEXT_RESET_NOTIFICATION), context.identity])

    def _retire(self, group: _Group) -> None:
        for context in group.members:
            self._leave_queues(context)
            if context in self._stuck:
                self._stuck.remove(context)
            context.occupies_engine(False)
            context.condition = Condition.DEAD

    def _leave_queues(self, context: Context) -> None:
        for queue in (self._ready, self._waiting, self._hung):
            if context in queue:
                queue.remove(context)

    def _known(self, identity: int, what: str) -> _Group | None:
        group = self._groups.get(identity)
        if group is None:
            self._misplaced(f"a context is {what} that is not registered", identity)
        return group

    def _misplaced(self, message: str, identity: int) -> None:
        self._checks.report("message-order", self._name, message, context=identity)

    def _show(self, context: Context, what: str) -> None:
        if self._trace.context:
            self._trace.line(self._name, "context", f"{context}: {what}")


def _of_other_units(fault: GpuFault) -> Iterator[GpuFault]:
    """Faults of all execution units but one, each on another page of the same 2 MiB."""
    start, step = fault.address & -_REACH, _REACH // EXECUTION_UNITS
    for unit in range(1, EXECUTION_UNITS):
        yield GpuFault(start + (fault.address + unit * step) % _REACH, fault.access, fault.level)


def _spins(context: Context) -> bool:
    return context.instructions_running() > SPIN_INSTRUCTIONS
