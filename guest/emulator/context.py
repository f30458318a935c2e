# SPDX-License-Identifier: MIT
"""A logical ring context: its image in memory, and its execution.

Source: drivers/gpu/drm/xe/xe_lrc.c (layout of the object), regs/xe_lrc_layout.h (dwords of the register
state), The context's address names its status page; the register state is the page after it, and
ring and image are reached through the GGTT.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

import gpu
from gpu import Command, Execution, Ring
from guest.emulator.engines import Engine
from guest.emulator.ggtt import GlobalTable
from guest.emulator.space import Memory, PageTableSpace

STATE_OFFSET = 4096
RING_HEAD, RING_TAIL, RING_START, RING_CTL = 0x05, 0x07, 0x09, 0x0B
TIMESTAMP, TIMESTAMP_UDW = 0x23, 0x25
ASID = 0x2F
PDP0_UDW, PDP0_LDW = 0x31, 0x33
INT_STATUS_PTR, INT_SOURCE_PTR = 0x57, 0x59
STATE_DWORDS = 0x60

DESCRIPTOR_PPGTT = 1 << 8
"""In the low dword of a context descriptor: the context has a page table of its own."""
DESCRIPTOR_ADDRESS = 0xFFFF_F000

CLOCK_HZ = 19_200_000
WATCHDOG_DATA = 0xDEAD
"""Value in its status page that the driver's fake watchdog waits for (xe_ring_ops.c:emit_fake_watchdog)."""


def ticks() -> int:
    """The GPU's clock, 19.2 MHz."""
    return time.monotonic_ns() * 12 // 625


class Condition(enum.Enum):
    """State of a context."""

    IDLE = "idle"  # its ring is empty
    RUNNABLE = "runnable"
    WAITING = "waiting"  # a semaphore is not satisfied
    FAULTED = "faulted"  # a page fault has not been answered
    HUNG = "hung"  # it hit a command that the engine cannot execute
    DEAD = "dead"  # it will never run again


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Environment of a context: memory by both kinds of address, and the receiver of its interrupts."""

    memory: Memory
    ggtt: GlobalTable
    interrupt: Callable[[int, int, int], None]
    """Source and status address in the context image, offset of the engine's interrupt."""
    show_command: Callable[[str], None] | None = None
    """Gets each instruction as text."""


@dataclass(slots=True)
class Unserved:
    """Faults at a page that were all acknowledged as served, while it is still missing."""

    page: int
    moment: int
    """Moment of the first answer, see ``Clock``."""
    since: float
    """Its time in seconds."""
    answers: int = 1
    reported: bool = False


class Context:
    """A context that the driver registered. Its image is read when it is scheduled for the first time."""

    def __init__(self, identity: int, engine: Engine, descriptor: int, surroundings: Surroundings) -> None:
        self.identity = identity
        self.engine = engine
        self.address = descriptor & DESCRIPTOR_ADDRESS
        self.condition = Condition.IDLE
        self.asid = 0
        self.hung_since = 0.0
        self.execution: Execution | None = None
        self._has_page_table = bool(descriptor & DESCRIPTOR_PPGTT)
        self._ggtt = surroundings.ggtt
        self._surroundings = surroundings
        self._state_address = self.address + STATE_OFFSET
        self._ran = 0  # ticks on the engine until it was last switched away from
        self._running_since: int | None = None
        self._idle_at = 0  # instructions done when it was idle last
        self._space: PageTableSpace | None = None
        self._unserved: Unserved | None = None

    def load(self, tail: int | None = None) -> bool:
        """Read what the driver wrote into the image: first everything, later the ring's tail.

        A parallel context's tails do not come from its images: ``tail`` is what came instead, in bytes. Returns False
        if the tail has moved backwards, so that submitted work is lost.
        """
        if begins := self.execution is None:
            self._start()
        assert self.execution is not None
        ring = self.execution.ring
        assert ring is not None
        if tail is None:
            tail = self._ggtt.read_dword(self._state_address + 4 * RING_TAIL)
        before, ring.tail = ring.tail, tail % ring.size & ~3
        forward = begins or (ring.tail - ring.head) % ring.size >= (before - ring.head) % ring.size
        if self.condition is Condition.IDLE and ring.available:
            self.condition = Condition.RUNNABLE
            self._idle_at = self.execution.retired
        return forward

    def unserved(self, address: int, now: float) -> Unserved | None:
        """A fault at an address is acknowledged as served: those it belongs to, if there is still no page.

        Not what was taken away again: the driver invalidates that.
        """
        space, before = self._space, self._unserved
        if space is None or space.maps(address):
            self._unserved = None
        elif before is None or before.page != address >> 12 or space.withdrawn_since(address, before.moment):
            self._unserved = Unserved(address >> 12, space.moment(), now)
        else:
            before.answers += 1
        return self._unserved

    def _start(self) -> None:
        state = memoryview(self._ggtt.read(self._state_address, 4 * STATE_DWORDS)).cast("I")
        size = (state[RING_CTL] & 0x1F_F000) + 4096
        ring = Ring(start=state[RING_START], size=size, head=(state[RING_HEAD] & 0x1F_FFFC) % size)
        self._ran = state[TIMESTAMP] | state[TIMESTAMP_UDW] << 32
        if self._has_page_table:
            self.asid = state[ASID] & 0xF_FFFF
            root = state[PDP0_UDW] << 32 | state[PDP0_LDW]
            self._space = PageTableSpace(self._surroundings.memory, self.asid, root, self.engine.name)
        source, status = state[INT_SOURCE_PTR], state[INT_STATUS_PTR]
        engine = gpu.Engine(
            kind=self.engine.kind,
            base=self.engine.base,
            clock=ticks,
            context_clock=self.ticks_run,
            user_interrupt=lambda: self._surroundings.interrupt(source, status, self.engine.irq_offset),
            invalidate_tlb=self.forget_translations,
            watch=self._show_command if self._surroundings.show_command is not None else None,
        )
        self.execution = Execution.on_ring(
            ring, self._ggtt, self._space, engine=engine, status_page=self.address
        )

    def _show_command(self, pc: int, command: Command) -> None:
        if self._surroundings.show_command is not None:
            self._surroundings.show_command(f"{self}: {pc:#014x}  {command}")

    def forget_translations(self) -> None:
        """Drop what is cached of its address space, as a flush in its ring and a switch to it do."""
        if self._space is not None:
            self._space.invalidate()

    @property
    def tail(self) -> int:
        """The ring's tail as it was taken up last, in bytes."""
        ring = self.execution.ring if self.execution is not None else None
        return ring.tail if ring is not None else 0

    def save(self) -> None:
        """Write back what the driver may read while the context is off: head and time on the engine."""
        if self.execution is None or self.execution.ring is None:
            return
        ggtt, state = self._ggtt, self._state_address
        ggtt.write_dword(state + 4 * RING_HEAD, self.execution.ring.head)
        ran = self.ticks_run()
        ggtt.write_dword(state + 4 * TIMESTAMP, ran)
        ggtt.write_dword(state + 4 * TIMESTAMP_UDW, ran >> 32)

    def occupies_engine(self, on: bool) -> None:
        """The context is switched in (or stays on its engine), or out."""
        if on and self._running_since is None:
            self._running_since = ticks()
        elif not on and self._running_since is not None:
            self._ran += ticks() - self._running_since
            self._running_since = None

    def instructions_running(self) -> int:
        """Number of instructions the context has executed since it was idle."""
        return self.execution.retired - self._idle_at if self.execution is not None else 0

    def ticks_run(self) -> int:
        """Time that the context has been on an engine."""
        return self._ran + (ticks() - self._running_since if self._running_since is not None else 0)

    def waits_for_watchdog(self, wait: gpu.Wait) -> bool:
        """Whether a semaphore is the driver's test of a watchdog that this GPU does not need."""
        return wait.where == "ggtt" and wait.data == WATCHDOG_DATA and wait.address == self.address

    def __str__(self) -> str:
        return f"context {self.identity} on {self.engine.name} (asid {self.asid})"
