# SPDX-License-Identifier: MIT
"""Delays: an emulated GPU may respond late, as hardware and firmware do.

A driver that does not wait for what it has asked for looks right on a device that answers at once. So a part of what
the driver asks for takes effect, and is acknowledged, after a while: until then the GPU continues as before. Whether,
and for how long, is drawn from the run's seed, the test and the event's number among those of its kind in that test,
so that a test that is run again with the same seed gets the same.

What must stay in order, and how long the driver waits at most: see ``Kind`` and ``MODES``.
"""

from __future__ import annotations

import enum
import hashlib
import heapq
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from guest.emulator.trace import Trace

MILLISECOND = 0.001


class Kind(enum.Enum):
    """Events that may be delayed."""

    FLUSH = "flush"
    """A TLB invalidation. They stay in order (xe_guc_tlb_inval.c: "The seqno algorithm relies on TLB invalidation
    being processed in order") and must be answered within 250 ms (xe_guc_tlb_inval.c: tlb_inval_timeout_delay).
    """
    CONTEXT = "context"
    """A context is enabled, disabled or deregistered; what is asked for one context stays in order. The driver waits
    for 5 s (xe_guc_submit.c: disable_scheduling_deregister).
    """


class Failure(enum.Enum):
    """Failures that a test may order; each happens once, during the test."""

    FLUSH_UNANSWERED = "flush-unanswered"
    """The next invalidation of pages takes effect and is never acknowledged."""
    KERNEL_RESET = "kernel-reset"
    """The engine of the kernel's next job is reset in the middle of it. The context that repeats the job then waits for
    a second, of the 5 s that the driver gives a job (xe_guc_submit.c: check_timeout).
    """
    PROGRAM_RESET = "program-reset"
    """The engine of a program's job that waits for a semaphore is reset: the one that has waited longest."""


class UnitFaults(enum.Enum):
    """Faults that come with those of a render or compute engine, if a test orders them."""

    ALL_UNITS = "all-units"
    """All other execution units, each on another page of the same 2 MiB."""
    PREFETCH = "prefetch"
    """A prefetch of the next page."""


@dataclass(frozen=True, slots=True)
class Mode:
    """Amount of delay: a share of the events (0 to 1), each by up to ``longest`` seconds."""

    share: float
    longest: Mapping[Kind, float]
    shuffled: bool
    """Whether the next context is a random ready one, not the one that has waited longest."""


MODES = {
    "off": Mode(0.0, {}, False),
    "mild": Mode(0.25, dict.fromkeys(Kind, 4 * MILLISECOND), True),
    "hard": Mode(
        0.5,
        {
            Kind.FLUSH: 40 * MILLISECOND,
            Kind.CONTEXT: 100 * MILLISECOND,
        },
        True,
    ),
}
"""All delays are far below the driver's timeouts."""
USUAL, STRONG = "mild", "hard"


class Adversary:
    """Draws the delayed events, for all GPUs of a process."""

    def __init__(
        self,
        mode: Mode = MODES["off"],
        trace: Trace | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.now = now
        """The clock of delayed events, in seconds."""
        self._mode = mode
        self._trace = trace or Trace()
        self._seed = 0
        self._test = ""
        self._drawn: dict[str, int] = {}
        self.unit_faults: set[UnitFaults] = set()
        """Those that come with each page fault of a render or compute engine."""
        self.failures: set[Failure] = set()
        """Those that are ordered, and have not happened yet."""
        self.ordered: set[Failure] = set()
        """Those that are ordered, whether they have happened or not, until the test ends them."""

    def begin(self, seed: int, test: str) -> None:
        """A test begins: draw from its own numbers."""
        self._seed, self._test = seed, test
        self.unit_faults.clear()
        self.end_failures()
        self._drawn.clear()
        if self._trace.adversary:
            self._trace.line("-", "adversary", f"seed {seed}, {test}")

    def order(self, failure: Failure) -> None:
        """A failure is to happen."""
        self.failures.add(failure)
        self.ordered.add(failure)

    def end_failures(self) -> None:
        """No failure happens any more, and what lasts of one ends."""
        self.failures.clear()
        self.ordered.clear()

    def fails(self, failure: Failure, device: str) -> bool:
        """Whether something ordered happens now. It does not happen again."""
        if failure not in self.failures:
            return False
        self.failures.remove(failure)
        if self._trace.adversary:
            self._trace.line(device, "adversary", f"{failure.value}, as ordered")
        return True

    def delay(self, kind: Kind, device: str) -> float:
        """Delay in seconds of the next event of a kind; mostly 0."""
        longest = self._mode.longest.get(kind, 0.0)
        if not longest:
            return 0.0
        chance, length = self._draw(kind.value)
        if chance >= self._mode.share:
            return 0.0
        if self._trace.adversary:
            number = self._drawn[kind.value]
            self._trace.line(
                device, "adversary", f"{kind.value} {number} late by {length * longest * 1000:.1f} ms"
            )
        return length * longest

    def pick(self, count: int) -> int:
        """Index of the next context of ``count`` ready ones, which are ordered by waiting time, longest first."""
        return int(self._draw("turn")[0] * count) if self._mode.shuffled and count > 1 else 0

    def _draw(self, what: str) -> tuple[float, float]:
        """Two numbers in [0, 1)."""
        number = self._drawn[what] = self._drawn.get(what, 0) + 1
        text = f"{self._seed} {self._test} {what} {number}"
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
        return (digest >> 32) / (1 << 32), (digest & 0xFFFF_FFFF) / (1 << 32)


@dataclass(order=True, slots=True)
class _Entry:
    due: float
    number: int
    line: Hashable = field(compare=False)
    act: Callable[[], None] = field(compare=False)


class Agenda:
    """Deferred work: entries of one line run in order, those of different lines when they are due."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._heap: list[_Entry] = []
        self._ends: dict[Hashable, float] = {}
        """For each line with pending entries: when its last one is due."""
        self._number = 0

    def put(self, line: Hashable, delay: float, act: Callable[[], None]) -> None:
        """Do something after ``delay`` seconds and after all pending work of the same line; at once if there is
        neither.
        """
        if not delay and line not in self._ends:
            act()
            return
        due = max(self._now() + delay, self._ends.get(line, 0.0))
        self._ends[line] = due
        self._number += 1
        heapq.heappush(self._heap, _Entry(due, self._number, line, act))

    def turn(self) -> float | None:
        """Run due work. Returns the seconds until the next is due, None if nothing is left."""
        while self._heap:
            left = self._heap[0].due - self._now()
            if left > 0:
                return left
            entry = heapq.heappop(self._heap)
            if not any(other.line == entry.line for other in self._heap):
                del self._ends[entry.line]
            entry.act()
        return None

    def clear(self) -> None:
        """Drop all of it."""
        self._heap.clear()
        self._ends.clear()

    def __len__(self) -> int:
        return len(self._heap)
