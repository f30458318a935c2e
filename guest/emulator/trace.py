# SPDX-License-Identifier: MIT
"""The debug trace: one line for each event of the kinds asked for, with the time since start.

Kinds: ``register`` (trapped accesses), ``guc`` (every GuC message), ``command`` (instructions executed),
``context`` (scheduling), ``fault``, ``tlb`` (invalidations), ``pci`` (configuration, memory map, interrupts),
``adversary`` (what comes late).
A kind that is off costs one attribute test: callers write ``if trace.guc: trace.line(...)``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TextIO

KINDS = ("register", "guc", "command", "context", "fault", "tlb", "pci", "adversary")


class Trace:
    """Kinds to trace, and the destination of their lines."""

    def __init__(self, kinds: Iterable[str] = (), sink: TextIO | None = None) -> None:
        chosen = set(kinds)
        if "all" in chosen:
            chosen = set(KINDS)
        if unknown := chosen - set(KINDS):
            raise ValueError(f"no trace kind {sorted(unknown)[0]!r}; there are: {', '.join(KINDS)}, all")
        self.register = "register" in chosen
        self.guc = "guc" in chosen
        self.command = "command" in chosen
        self.context = "context" in chosen
        self.fault = "fault" in chosen
        self.tlb = "tlb" in chosen
        self.pci = "pci" in chosen
        self.adversary = "adversary" in chosen
        self._sink = sink
        self._start = time.monotonic()

    def line(self, device: str, kind: str, text: str) -> None:
        """Write one line."""
        if self._sink is not None:
            print(f"{time.monotonic() - self._start:10.6f} {device} {kind:8} {text}", file=self._sink)
