# SPDX-License-Identifier: MIT
"""A map of disjoint intervals of an address space, ordered by start."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


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
