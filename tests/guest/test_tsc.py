# SPDX-License-Identifier: MIT
"""The time stamp counter's rate."""

from __future__ import annotations

import platform

import pytest

from guest.tsc import Measure


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the counter of x86")
def test_the_rate_is_that_of_the_clock() -> None:
    """Two measurements of different length agree, also on a busy machine."""

    def spin(steps: int) -> int:
        measure = Measure()
        for _ in range(steps):
            measure._sample()
        return measure.khz()

    one, other = spin(500), spin(2000)
    assert one > 100_000
    assert abs(one - other) * 100 < one
