# SPDX-License-Identifier: MIT
"""Disjoint intervals of an address space, ordered by start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from sortedcontainers import SortedDict  # type: ignore[import-untyped]


class Interval(Protocol):
    """Half-open range of addresses: start <= address < end."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


I = TypeVar("I", bound=Interval)  # noqa: E741


class IntervalMap(Generic[I]):
    """Intervals that never overlap. Their start must not change while they are inside."""

    def __init__(self) -> None:
        self._by_start: SortedDict = SortedDict()

    def insert(self, item: I) -> None:
        """Add an interval; AssertionError when it overlaps one that is there."""
        assert item.start < item.end, "empty interval"
        assert self.first(item.start, item.end) is None, "interval overlaps another"
        self._by_start[item.start] = item

    def remove(self, item: I) -> None:
        assert self._by_start.pop(item.start) is item, "interval is not in the map"

    def at(self, address: int) -> I | None:
        """The interval that holds an address."""
        index = self._by_start.bisect_right(address) - 1
        if index < 0:
            return None
        item: I = self._by_start.peekitem(index)[1]
        return item if address < item.end else None

    def first(self, start: int, end: int) -> I | None:
        """The lowest interval that overlaps [start, end)."""
        return next(self.overlapping(start, end), None)

    def overlapping(self, start: int, end: int) -> Iterator[I]:
        """Intervals that overlap [start, end), lowest first. Take a list before changing the map."""
        index = max(self._by_start.bisect_right(start) - 1, 0)
        keys = self._by_start.keys()
        while index < len(keys):
            item: I = self._by_start[keys[index]]
            if item.start >= end:
                return
            if item.end > start:
                yield item
            index += 1

    def __iter__(self) -> Iterator[I]:
        return iter(list(self._by_start.values()))

    def __len__(self) -> int:
        return len(self._by_start)
