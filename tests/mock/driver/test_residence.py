# SPDX-License-Identifier: MIT
"""Parts of a process's memory in VRAM, compared with single pages."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mock.driver.lib.sizes import SZ_4K
from mock.driver.pagemap.devmem import Stretch
from mock.driver.pagemap.residence import Residence
from mock.spans import joined, runs


class Allocation:
    """The part of a DevMem that a Residence uses."""

    def __init__(self) -> None:
        self.stretches: dict[Stretch, None] = {}
        self.released = 0

    def release(self) -> None:
        self.released += 1


def stretch(start: int, pages: int, devmem: Any, offset: int = 0) -> Stretch:
    """In pages."""
    return Stretch(start * SZ_4K, (start + pages) * SZ_4K, devmem, offset * SZ_4K)


def pages_of(stretches: Any) -> dict[int, tuple[Any, int]]:
    """Page to its place."""
    return {
        (one.start + at) // SZ_4K: (one.devmem, (one.offset + at) // SZ_4K)
        for one in stretches
        for at in range(0, one.size, SZ_4K)
    }


def test_what_is_taken_out_of_the_middle_leaves_both_sides() -> None:
    home, residence = Allocation(), Residence()
    residence.add(stretch(100, 10, home, offset=3))
    (taken,) = residence.take(104 * SZ_4K, 106 * SZ_4K)
    assert (taken.start, taken.size, taken.offset) == (104 * SZ_4K, 2 * SZ_4K, 7 * SZ_4K)
    left = {page: (home, page - 100 + 3) for page in (*range(100, 104), *range(106, 110))}
    assert pages_of(residence) == pages_of(home.stretches) == left
    assert residence.at(104 * SZ_4K) is None
    assert residence.at(106 * SZ_4K) is not None


def test_an_allocation_is_released_with_its_last_page_and_not_before() -> None:
    home, residence = Allocation(), Residence()
    residence.add(stretch(0, 2, home))
    residence.add(stretch(8, 2, home, offset=2))
    residence.drop(0, 9 * SZ_4K)
    assert home.released == 0
    residence.take(9 * SZ_4K, 10 * SZ_4K)
    assert home.released == 0, "what is taken continues somewhere else"
    residence.add(stretch(20, 1, home))
    residence.drop(0, 1 << 64)
    assert home.released == 1


def test_two_homes_of_one_page_are_a_fault() -> None:
    residence: Residence = Residence()
    residence.add(stretch(0, 4, Allocation()))
    with pytest.raises(AssertionError, match="overlaps"):
        residence.add(stretch(3, 1, Allocation()))


@pytest.mark.parametrize("seed", range(8))
def test_any_changes_are_those_of_single_pages(seed: int) -> None:
    rng = random.Random(seed)
    residence, pages = Residence(), dict[int, tuple[Any, int]]()
    homes = [Allocation() for _ in range(3)]
    for _ in range(300):
        start, count = rng.randrange(64), rng.randrange(1, 16)
        low, high = start * SZ_4K, (start + count) * SZ_4K
        inside = {page: where for page, where in pages.items() if start <= page < start + count}
        assert pages_of(residence.within(low, high)) == inside
        if not inside and rng.random() < 0.7:
            home, offset = rng.choice(homes), rng.randrange(100)
            residence.add(stretch(start, count, home, offset))
            pages |= {start + number: (home, offset + number) for number in range(count)}
        elif rng.random() < 0.3:
            taken = residence.take(low, high)
            assert pages_of(taken) == inside
            for one in taken:
                residence.add(one.moved(1000 * SZ_4K).moved(-1000 * SZ_4K))
        else:
            residence.drop(low, high)
            pages = {page: where for page, where in pages.items() if page not in inside}
        assert pages_of(residence) == pages
        for home in homes:
            assert pages_of(home.stretches) == {p: where for p, where in pages.items() if where[0] is home}


def test_ranges_that_touch_are_joined() -> None:
    assert list(joined([])) == []
    assert list(joined([(0, 2), (2, 3), (5, 6), (6, 9), (10, 11)])) == [(0, 3), (5, 9), (10, 11)]
    assert list(runs([0, SZ_4K, 3 * SZ_4K])) == [(0, 2 * SZ_4K), (3 * SZ_4K, 4 * SZ_4K)]
