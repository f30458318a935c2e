# SPDX-License-Identifier: MIT
"""Choice of the next kernel, and the final result."""

from __future__ import annotations

import itertools

import pytest

from reports.bisect.judge import Verdict
from reports.bisect.search import ContradictionError, following, span, steps_left

WORKS, FAILS, CANNOT_TELL = Verdict.WORKS, Verdict.FAILS, Verdict.CANNOT_TELL
KERNELS = [f"6.{minor}.0" for minor in range(12)]


def search(truth: dict[str, Verdict], old: Verdict = WORKS):
    """Try kernels until none are left. Returns the result, and the kernels in the order of trying."""
    tried = [KERNELS[0], KERNELS[-1]]
    while True:
        seen = {kernel: truth[kernel] for kernel in tried}
        found = span(KERNELS, seen, old)
        kernel = following(found, seen)
        if kernel is None:
            return found, tried
        tried.append(kernel)


@pytest.mark.parametrize("first", range(1, len(KERNELS)))
@pytest.mark.parametrize("old", [WORKS, FAILS])
def test_every_first_new_kernel_is_found_in_a_few_steps(first: int, old: Verdict) -> None:
    new = FAILS if old is WORKS else WORKS
    truth = {kernel: new if index >= first else old for index, kernel in enumerate(KERNELS)}
    found, tried = search(truth, old)
    assert (found.last_old, found.first_new, found.exact) == (KERNELS[first - 1], KERNELS[first], True)
    assert len(tried) - 2 <= 4


@pytest.mark.parametrize("gap", [*itertools.combinations(range(1, 11), 2)])
def test_kernels_that_cannot_tell_are_stepped_around(gap: tuple[int, int]) -> None:
    truth = {kernel: FAILS if index >= 6 else WORKS for index, kernel in enumerate(KERNELS)}
    for index in gap:
        truth[KERNELS[index]] = CANNOT_TELL
    found, tried = search(truth)
    assert set(found.between) <= {KERNELS[index] for index in gap}
    assert KERNELS.index(found.last_old) < 6 <= KERNELS.index(found.first_new)
    assert len(set(tried)) == len(tried)


def test_all_that_is_left_may_be_unknown() -> None:
    truth = dict.fromkeys(KERNELS, CANNOT_TELL) | {KERNELS[0]: WORKS, KERNELS[-1]: FAILS}
    found, tried = search(truth)
    assert found.between == tuple(KERNELS[1:-1])
    assert not found.exact
    assert sorted(tried) == sorted(KERNELS)


def test_two_changes_are_told() -> None:
    seen = {KERNELS[0]: WORKS, KERNELS[4]: FAILS, KERNELS[8]: WORKS, KERNELS[-1]: FAILS}
    with pytest.raises(
        ContradictionError, match=r"6\.4\.0 is as the newer kernels and 6\.8\.0 as the older ones"
    ):
        span(KERNELS, seen, WORKS)


def test_the_steps_that_are_left_are_estimated() -> None:
    seen = {KERNELS[0]: WORKS, KERNELS[-1]: FAILS}
    assert steps_left(span(KERNELS, seen, WORKS), seen) == 4
