# SPDX-License-Identifier: MIT
"""The machine of the measurements, and its load."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks.sample import Spread

_STEPS = 2000


def describe() -> dict[str, Any]:
    """The machine, without its name."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class Noise:
    """The same small computation, repeated between the measurements: on an idle machine its time is constant."""

    def __init__(self) -> None:
        self._took: list[float] = []

    def look(self, times: int = 20) -> None:
        """Compute it some times."""
        for _ in range(times):
            start = time.perf_counter_ns()
            sum(range(_STEPS))
            self._took.append((time.perf_counter_ns() - start) / 1e3)

    def to_dict(self) -> dict[str, Any]:
        """Duration in microseconds."""
        return {"unit": "us", **vars(Spread.of(self._took))}

    def __str__(self) -> str:
        spread = Spread.of(self._took)
        return (
            f"noise: the same computation took {spread.median / spread.min:.2f} times its best as a rule and "
            f"{spread.max / spread.min:.1f} times at worst ({spread.count} times); load {os.getloadavg()[0]:.1f}"
        )
