# SPDX-License-Identifier: MIT
"""Number of passes that a good kernel needs."""

from __future__ import annotations

import pytest

from reports.bisect.rate import DOUBT, lower_bound, runs_needed


def test_a_test_that_always_fails_has_to_pass_once() -> None:
    assert runs_needed(3, 3) == 1


@pytest.mark.parametrize(("failures", "runs"), [(1, 20), (2, 20), (10, 20), (19, 20)])
def test_the_chance_to_take_a_bad_kernel_for_a_good_one_is_small(failures: int, runs: int) -> None:
    needed = runs_needed(failures, runs)
    rate = lower_bound(failures, runs)
    assert rate < failures / runs
    assert (1 - rate) ** needed <= DOUBT
    assert (1 - rate) ** (needed - 1) > DOUBT


def test_rarer_failures_need_more_runs() -> None:
    needed = [runs_needed(failures, 20) for failures in range(1, 21)]
    assert needed == sorted(needed, reverse=True)
    assert len(set(needed)) > 5


@pytest.mark.parametrize(("failures", "runs"), [(0, 20), (2, 1)])
def test_nothing_to_search_for(failures: int, runs: int) -> None:
    with pytest.raises(ValueError, match="nothing to search for"):
        runs_needed(failures, runs)
