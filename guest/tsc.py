# SPDX-License-Identifier: MIT
"""Frequency of the machine's time stamp counter.

Under TCG the guest's counter is the machine's own. A kernel that measures it while its virtual processors wait for
a real one gets it wrong, sometimes by a factor of ten, and then all its times are wrong. So it gets the frequency as a
parameter.
"""

from __future__ import annotations

import ctypes
import mmap
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")
TRIES = 20


def measure() -> Measure | None:
    """Start a measurement; None where a process may not execute memory that it has written."""
    try:
        return Measure()
    except OSError:
        return None


class Measure:
    """Measures from its construction to ``khz()``; longer is better, a tenth of a second is enough."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._read = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
        self._start = self._sample()

    def _sample(self) -> tuple[int, int]:
        """(nanoseconds, ticks) at one moment: the least interrupted of several readings."""
        samples = []
        for _ in range(TRIES):
            before = time.monotonic_ns()
            ticks = self._read()
            after = time.monotonic_ns()
            samples.append((after - before, (before + after) // 2, ticks))
        _, moment, ticks = min(samples)
        return moment, ticks

    def khz(self) -> int:
        """Thousands of ticks a second."""
        moment, ticks = self._sample()
        nanoseconds = moment - self._start[0]
        return round((ticks - self._start[1]) * 1_000_000 / nanoseconds)
