# SPDX-License-Identifier: MIT
"""Object ids, allocated as the kernel's allocating xarrays do (lib/xarray.c)."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class IdMap(Generic[T]):
    """Objects by id; the lowest free id is used first (lib/xarray.c: xa_alloc with XA_FLAGS_ALLOC1)."""

    def __init__(self, limit: int = 0xFFFFFFFF) -> None:
        self._objects: dict[int, T] = {}
        self._free: list[int] = []
        self._next = 1
        self._limit = limit

    def add(self, item: T) -> int | None:
        """Store an object. Returns its id, or None if all ids up to the limit are in use."""
        if self._free:
            number = heapq.heappop(self._free)
        elif self._next <= self._limit:
            number = self._next
            self._next += 1
        else:
            return None
        self._objects[number] = item
        return number

    def get(self, number: int) -> T | None:
        return self._objects.get(number)

    def pop(self, number: int) -> T | None:
        item = self._objects.pop(number, None)
        if item is not None:
            heapq.heappush(self._free, number)
        return item

    def erase(self, number: int) -> T | None:
        """Like ``pop``, without checking whether the id is in use (xa_erase).

        Erasing 0, which is never allocated, makes it the next id: only a missing mark says that 0 is not free, and
        storing NULL there sets the mark. An empty array has no node to hold marks.
        """
        if number == 0 and self._objects and 0 not in self._objects and 0 not in self._free:
            heapq.heappush(self._free, 0)
        return self.pop(number)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._objects.values()))

    def items(self) -> list[tuple[int, T]]:
        return list(self._objects.items())

    def __len__(self) -> int:
        return len(self._objects)


class CyclicIds(Generic[T]):
    """Objects by id, from 1 up to the limit and then from 1 again (xa_alloc_cyclic)."""

    def __init__(self, limit: int) -> None:
        self._objects: dict[int, T] = {}
        self._numbers = itertools.cycle(range(1, limit))

    def add(self, item: T) -> int:
        """Store an object. Returns its id."""
        number = next(number for number in self._numbers if number not in self._objects)
        self._objects[number] = item
        return number

    def get(self, number: int) -> T | None:
        return self._objects.get(number)

    def pop(self, number: int) -> T | None:
        return self._objects.pop(number, None)

    def __len__(self) -> int:
        return len(self._objects)
