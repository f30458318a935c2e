# SPDX-License-Identifier: MIT
"""A set of addresses, kept as intervals."""

from __future__ import annotations


class Intervals:
    """Few and long intervals: every operation walks them all."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, int]] = []

    def add(self, start: int, end: int) -> None:
        self.remove(start, end)
        self._parts.append((start, end))

    def remove(self, start: int, end: int) -> None:
        if not self.overlaps(start, end):
            return
        kept = []
        for low, high in self._parts:
            if low < start:
                kept.append((low, min(high, start)))
            if end < high:
                kept.append((max(low, end), high))
        self._parts = kept

    def overlaps(self, start: int, end: int) -> bool:
        """Whether an address of [start, end) is in the set."""
        return any(low < end and start < high for low, high in self._parts)

    def copy(self) -> Intervals:
        """An independent one."""
        other = Intervals()
        other._parts = list(self._parts)
        return other
