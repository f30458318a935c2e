# SPDX-License-Identifier: MIT
"""The page fault protocol between GPU and driver.

Source: drivers/gpu/drm/xe/xe_guc_fwif.h:xe_guc_pagefault_desc, xe_guc_pagefault_reply; xe_guc_pagefault.c
(who echoes what). Each fault carries a number (PDATA) that its answer repeats, so that one answer resumes one
context.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gpu import Access, GpuFault
from guest.emulator import hxg
from guest.emulator.checks import Checks

Who = TypeVar("Who")

NUMBERS = 1 << 16
UNANSWERED = 60.0
"""Seconds after which an answer counts as missing: tests delay one for a few."""
REMEMBERED = 4096
"""Answered faults whose numbers are not used again soon, so that a second answer is recognised."""
NOT_PRESENT, WRITE_VIOLATION, ATOMIC_VIOLATION = 0, 1, 2
VALID = 1 << 0
UNSUCCESSFUL = 1 << 1
"""The bit's name in the driver is SUCCESS; it is set when the fault was *not* served."""
PREFETCH = 1 << 6
"""In the second dword; repeated where a prefetch was not served (guc_ack_fault)."""


@dataclass(frozen=True, slots=True)
class Source:
    """The engine that faulted: its hardware class, its instance, and the address space.

    With ``prefetch``, it fetches ahead, and continues if the fault is not served (Xe3 and later).
    """

    engine_class: int
    instance: int
    asid: int
    prefetch: bool = False


def describe(number: int, source: Source, fault: GpuFault) -> list[int]:
    """The four dwords of a fault message."""
    if not fault.violation:
        kind = NOT_PRESENT
    else:
        kind = ATOMIC_VIOLATION if fault.access is Access.ATOMIC else WRITE_VIOLATION
    page = fault.address & ~0xFFF
    return [
        fault.level & 7 | source.instance << 19 | source.engine_class << 25 | (number & 0xF) << 28,
        number >> 4 & 0xFFF | source.asid << 12,
        fault.access.value | kind << 2 | source.prefetch << 11 | page & 0xFFFF_F000,
        page >> 32,
    ]


class Faults(Generic[Who]):
    """Unanswered faults, each with its context (``Who``)."""

    def __init__(self, name: str, checks: Checks, send: Callable[[list[int]], None]) -> None:
        self._name = name
        self._checks = checks
        self._send = send
        self._pending: dict[int, tuple[Who, Source, GpuFault]] = {}
        self._since: dict[int, float] = {}
        """When the faults were reported that are pending and not overdue."""
        self._answered: deque[int] = deque(maxlen=REMEMBERED)
        self._dropped: set[int] = set()
        self._next = 0

    def report(self, who: Who, source: Source, fault: GpuFault) -> int:
        """Report a fault to the driver; returns its number."""
        while self._next in self._pending or self._next in self._dropped:
            self._next = (self._next + 1) % NUMBERS
        number = self._next
        self._next = (number + 1) % NUMBERS
        self._pending[number] = (who, source, fault)
        self._since[number] = time.monotonic()
        self._send([hxg.event(hxg.Action.REPORT_PAGE_FAULT), *describe(number, source, fault)])
        return number

    def answer(self, first: int, second: int) -> tuple[Who, GpuFault, bool] | None:
        """The two dwords of an answer: who it is for, the fault, and whether it was served; None for a wrong
        one.
        """
        number = second >> 16
        if number in self._dropped:
            self._dropped.remove(number)
            return None
        if (waiting := self._pending.pop(number, None)) is None:
            check = "fault-answered-twice" if number in self._answered else "fault-unknown"
            self._checks.report(check, self._name, number=number)
            return None
        self._answered.append(number)
        self._since.pop(number, None)
        who, source, fault = waiting
        served = not first & UNSUCCESSFUL
        asid, instance, engine_class = first >> 12, second >> 7 & 0x3F, second >> 13 & 7
        prefetch = bool(second & PREFETCH)
        if Source(engine_class, instance, asid, prefetch or (served and source.prefetch)) != source:
            self._checks.report(
                "message-unknown",
                self._name,
                "an answer to a page fault with another ASID, engine or prefetch bit than the fault had",
                asid=asid,
                number=number,
            )
        return who, fault, served

    def look(self, now: float) -> None:
        """Report faults that were not answered for too long, each once."""
        for number in [number for number, since in self._since.items() if now - since > UNANSWERED]:
            del self._since[number]
            _, source, fault = self._pending[number]
            self._checks.report(
                "fault-unanswered", self._name, address=fault.address, asid=source.asid, number=number
            )

    def clear(self) -> None:
        """The function was reset: nothing waits any more.

        Answers may still come, one for each: the driver continues with the fault that it serves while it drops
        those behind it (xe_pagefault.c: xe_pagefault_queue_reset).
        """
        self._dropped |= self._pending.keys()
        self._pending.clear()
        self._since.clear()
        self._answered.clear()

    def __len__(self) -> int:
        return len(self._pending)
