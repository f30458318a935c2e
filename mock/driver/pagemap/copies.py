# SPDX-License-Identifier: MIT
"""Statistics of migration: volume and time of copies, by direction and size (xe_svm.c: xe_svm_copy)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mock.driver.lib.sizes import MiB
from mock.spans import joined

if TYPE_CHECKING:
    from mock.driver.stats import GtStats

SIZES = {4: "4K", 64: "64K", 2048: "2M"}
"""KiB, and how counter names spell it."""
_LARGEST = 8 * MiB
"""Bytes of one copy job (XE_MIGRATE_CHUNK_SIZE)."""


def count(stats: GtStats, direction: str, ranges: Iterable[tuple[int, int]]) -> None:
    """Count copies of ascending ranges to "device" or "cpu". Each contiguous run is one copy, up to 8 MiB."""
    for start, end in joined(ranges):
        for at in range(start, end, _LARGEST):
            kib = min(end - at, _LARGEST) // 1024
            stats.add(f"svm_{direction}_copy_kb", kib)
            if kib in SIZES:
                stats.add(f"svm_{SIZES[kib]}_{direction}_copy_kb", kib)


@contextlib.contextmanager
def timed(stats: GtStats, direction: str, size: int) -> Iterator[None]:
    """Count the microseconds of a copy of this many bytes."""
    start = time.monotonic_ns()
    yield
    elapsed = (time.monotonic_ns() - start) // 1000
    stats.add(f"svm_{direction}_copy_us", elapsed)
    if size // 1024 in SIZES:
        stats.add(f"svm_{SIZES[size // 1024]}_{direction}_copy_us", elapsed)
