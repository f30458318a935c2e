# SPDX-License-Identifier: MIT
"""Number of passes after which a kernel counts as good, from the failure rate on a bad one."""

from __future__ import annotations

import math

DOUBT = 0.01
"""Accepted chance that a bad kernel counts as good, at each step."""
_Z = 1.645
"""Standard deviations by which the true rate is below the measured one, with a probability of 5 %."""


def lower_bound(failures: int, runs: int) -> float:
    """The rate of failures that the true one is above with 95 %, from the failures in a number of runs (Wilson)."""
    share, spread = failures / runs, _Z * _Z / runs
    centre = share + spread / 2
    margin = _Z * math.sqrt(share * (1 - share) / runs + spread / (4 * runs))
    return max(0.0, (centre - margin) / (1 + spread))


def runs_needed(failures: int, runs: int) -> int:
    """Passes in a row that a kernel needs to count as good; 1 if the test has failed in every run.

    Raises ValueError if it never failed.
    """
    if not 0 < failures <= runs:
        raise ValueError(f"{failures} failures in {runs} runs: there is nothing to search for")
    if failures == runs:
        return 1
    return max(1, math.ceil(math.log(DOUBT) / math.log(1 - lower_bound(failures, runs))))
