# SPDX-License-Identifier: MIT
"""Interrupts of a virtual function: bytes in a page of system memory, then one message signalled interrupt.

Source: drivers/gpu/drm/xe/xe_memirq.c (layout of the page, who writes what, order of the writes).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from guest.emulator.ggtt import GlobalTable

FIRED = b"\xff"
GUC_TO_HOST = 15
"""Offset of the GuC's own interrupt within its status vector."""
USER_INTERRUPT = 0
STATUS_VECTOR = 16
"""Bytes of a status vector."""


class Interrupts:
    """The interrupt page, as the driver placed it, and the vector's event descriptor, as QEMU gave it."""

    def __init__(self, ggtt: GlobalTable, trace: Callable[[str], None] | None) -> None:
        self.status = 0
        """GGTT address of the GuC's status vector."""
        self.source = 0
        """GGTT address of the GuC's source byte."""
        self._ggtt = ggtt
        self._trace = trace
        self._event = -1

    def connect(self, descriptor: int) -> None:
        """The event descriptor to signal, -1 for none; this object owns it."""
        if self._event >= 0:
            os.close(self._event)
        self._event = descriptor

    def forget(self) -> None:
        """The driver reset the function: no page any more."""
        self.status = self.source = 0

    def guc(self) -> None:
        """There are messages from the GuC."""
        if self.source and self.status:
            self._ggtt.write(self.source, FIRED)
            self._ggtt.write(self.status + GUC_TO_HOST, FIRED)
            self._signal("guc")

    def engine(self, source: int, status: int, irq_offset: int) -> None:
        """A user interrupt of an engine; ``source`` and ``status`` are the addresses in its context image."""
        self._ggtt.write(status + irq_offset * STATUS_VECTOR + USER_INTERRUPT, FIRED)
        self._ggtt.write(source + irq_offset, FIRED)
        self._signal(f"engine {irq_offset}")

    def _signal(self, who: str) -> None:
        if self._trace is not None:
            self._trace(f"interrupt of {who}")
        if self._event >= 0:
            os.eventfd_write(self._event, 1)
