# SPDX-License-Identifier: MIT
"""Intervals of an address space: a map of disjoint intervals ordered by start, and functions that merge neighbours."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from mock.driver.lib.sizes import SZ_4K


class Interval(Protocol):
    """Half-open range of addresses: start <= address < end."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


I = TypeVar("I", bound=Interval)  # noqa: E741


class IntervalMap(Generic[I]):
    """Intervals that never overlap. Their start must not change while they are in the map.

    Two plain lists: there are hundreds of intervals, not millions, and only lookups need to be fast.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._items: list[I] = []

    def insert(self, item: I) -> None:
        """Add an interval. Raises AssertionError if it overlaps another."""
        assert item.start < item.end, "empty interval"
        assert self.first(item.start, item.end) is None, "interval overlaps another"
        index = bisect_left(self._starts, item.start)
        self._starts.insert(index, item.start)
        self._items.insert(index, item)

    def remove(self, item: I) -> None:
        index = bisect_left(self._starts, item.start)
        assert self.at(item.start) is item, "interval is not in the map"
        del self._starts[index], self._items[index]

    def at(self, address: int) -> I | None:
        """The interval that holds an address."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return None
        item = self._items[index]
        return item if address < item.end else None

    def first(self, start: int, end: int) -> I | None:
        """The lowest interval that overlaps [start, end)."""
        return next(self.overlapping(start, end), None)

    def overlapping(self, start: int, end: int) -> Iterator[I]:
        """Intervals that overlap [start, end), lowest first. Take a list before changing the map."""
        items = self._items
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(items):
            item = items[index]
            if item.start >= end:
                return
            if item.end > start:
                yield item
            index += 1

    def __iter__(self) -> Iterator[I]:
        return iter(list(self._items))

    def __len__(self) -> int:
        return len(self._items)


def joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Merge [start, end) that touch; they are ascending and disjoint."""
    first = last = None
    for start, end in ranges:
        if start == last:
            last = end
            continue
        if first is not None and last is not None:
            yield first, last
        first, last = start, end
    if first is not None and last is not None:
        yield first, last


def runs(pages: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending addresses of pages, merged into contiguous [start, end)."""
    return joined((page, page + SZ_4K) for page in pages)
