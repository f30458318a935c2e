# SPDX-License-Identifier: MIT
"""Selection of subtests."""

from __future__ import annotations

import pytest

from guest import GuestError
from guest.igt.selection import SETTINGS, choose, matching

PROGRAM = "xe_exec_system_allocator"
MANY = [f"many-{kind}-{what}" for kind in ("large", "stride") for what in "abcdefgh"]
SINGLE = ["once-malloc", "twice-mmap", "evict-malloc", "madvise-atomic-inc", "fault", "prefetch-benchmark"]


def test_once_twice_and_single_ones_are_all_run() -> None:
    assert set(SINGLE) <= set(choose(PROGRAM, SINGLE + MANY, 1, seed=1))


def test_a_family_is_sampled() -> None:
    chosen = choose(PROGRAM, MANY, 3, seed=1)
    assert sorted(name.split("-")[1] for name in chosen) == ["large"] * 3 + ["stride"] * 3


def test_a_sample_depends_on_its_seed_alone() -> None:
    assert choose(PROGRAM, MANY, 3, seed=1) == choose(PROGRAM, MANY, 3, seed=1)
    assert any(
        choose(PROGRAM, MANY, 3, seed=1) != choose(PROGRAM, MANY, 3, seed=seed) for seed in range(2, 9)
    )


def test_the_order_is_the_program_s() -> None:
    assert choose(PROGRAM, SINGLE, 1, seed=1) == SINGLE


def test_without_a_sample_everything_is_run() -> None:
    assert choose(PROGRAM, MANY, None, seed=1) == MANY


def test_other_programs_are_not_sampled() -> None:
    assert choose("xe_exec_basic", MANY, 1, seed=1) == MANY


def test_patterns_choose_programs_in_the_listed_order() -> None:
    assert matching([*SETTINGS, "xe_pat"], ["xe_*m"]) == ["xe_vm", "xe_multigpu_svm"]
    assert matching([*SETTINGS, "xe_pat"], ["xe_pat"]) == ["xe_pat"]
    assert matching([*SETTINGS, "xe_pat"], []) == list(SETTINGS)


def test_a_pattern_without_a_match_is_refused() -> None:
    with pytest.raises(GuestError, match="xe_none"):
        matching(list(SETTINGS), ["xe_none"])
