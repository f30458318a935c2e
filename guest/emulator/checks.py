# SPDX-License-Identifier: MIT
"""Reports of driver errors that real hardware would not report.

A report is one JSON line: {"check": name, "device": name, "time": seconds since start, "message": one
sentence, and the numbers}. Equal reports are counted, not repeated: a broken driver causes many.
"""

from __future__ import annotations

import json
import time
from typing import TextIO

LIMIT = 1000
"""Limit of reports of one run: enough for any diagnosis, too few to fill a disk."""

NAMES = {
    "stale-translation": "memory was accessed through a translation whose page table entry changed long ago",
    "stale-owner": "VRAM was accessed through an address whose page has since been given to another owner",
    "two-owners": "a page of VRAM is used by its new owner and still through an address of the old one",
    "page-table-written": "a user's address reaches a page that is in use as a page table",
    "no-bus-master": "a context has work to do while the device may not reach memory (bus mastering is off)",
    "ring-tail": "the tail of a ring moved backwards, or over its head",
    "asid-reused": "an ASID came back with another page table and cached translations were never invalidated",
    "table-outside-vram": "a page table entry leads outside VRAM",
    "translation-outlives-dma": "memory was unmapped for DMA, and the GPU could still reach it by a cached translation",
    "dma-read-only": "a store to memory that is mapped for reads by the device only",
    "table-missing": "a page table entry leads to a bus address where nothing answers",
    "hint-64k": "a page table entry says that it is one of a 64 KiB page, and its memory is not aligned as such",
    "no-memory": "a translation leads to a bus address where nothing answers",
    "ggtt-missing": "an access through a GGTT entry that is not present",
    "fault-answered-twice": "a page fault was answered more than once",
    "fault-unanswered": "a page fault was not answered for a minute",
    "fault-not-served": "a fault was answered as served repeatedly, and the page is still not there",
    "fault-unknown": "an answer to a page fault that was never reported",
    "message-length": "a message of the wrong length",
    "message-unknown": "a message of an unknown kind, or with a value that the interface does not have",
    "message-order": "a message that does not fit the state it arrives in",
    "emulator-error": "the emulator itself failed while it ran a context: a defect of the emulator",
    "ctb": "a command transport buffer descriptor with impossible offsets",
    "invalidation-length": "a page-selective invalidation of 4 MiB or 8 MiB, which the interface does not have",
    "invalidation-mode": "an invalidation that is waited for, but does not wait for accesses or flush caches",
    "invalidation-seqno": "an invalidation whose number is 0, or not above that of the one before it",
    "order-unknown": "an unknown order to the emulator: a bug of its sender",
    "invalidation-range": "a page-selective invalidation whose address is not a multiple of its length",
}


class Checks:
    """Destination of reports, and their number."""

    def __init__(self, sink: TextIO | None = None) -> None:
        self._sink = sink
        self._start = time.monotonic()
        self._seen: dict[tuple[object, ...], int] = {}
        self.reports: list[dict[str, object]] = []

    def report(self, check: str, device: str, message: str = "", **numbers: int | str | bool) -> None:
        """Say that ``check`` (a key of NAMES) failed; ``numbers`` tell one occurrence from another."""
        key = (check, device, message, *sorted(numbers.items()))
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] > 1 or len(self.reports) >= LIMIT:
            return
        shown = {
            k: hex(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in numbers.items()
        }
        entry: dict[str, object] = {
            "check": check,
            "device": device,
            "time": round(time.monotonic() - self._start, 6),
            "message": message or NAMES[check],
            **shown,
        }
        self.reports.append(entry)
        if self._sink is not None:
            print(json.dumps(entry), file=self._sink, flush=True)
