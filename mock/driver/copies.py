# SPDX-License-Identifier: MIT
"""What migration counts: volume and time of copies, by direction and size (xe_svm.c: xe_svm_copy)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mock.driver.devmem import runs
from mock.driver.platform import SZ_4K, MiB

if TYPE_CHECKING:
    from mock.driver.device import Gt

SIZES = {4: "4K", 64: "64K", 2048: "2M"}
"""KiB -> how the names of counters say it."""
_LARGEST = 8 * MiB // SZ_4K
"""Pages of one copy job (XE_MIGRATE_CHUNK_SIZE)."""


def count(gt: Gt, direction: str, pages: list[int]) -> None:
    """Pages were copied; `direction` is "device" or "cpu". One copy a stretch without a gap, of 8 MiB at most."""
    for _, length in runs(sorted(pages), SZ_4K):
        for left in range(length, 0, -_LARGEST):
            kib = min(left, _LARGEST) * SZ_4K // 1024
            gt.stats.add(f"svm_{direction}_copy_kb", kib)
            if kib in SIZES:
                gt.stats.add(f"svm_{SIZES[kib]}_{direction}_copy_kb", kib)


@contextlib.contextmanager
def timed(gt: Gt, direction: str, pages: int) -> Iterator[None]:
    """Count the microseconds of a copy of this many pages."""
    start = time.monotonic_ns()
    yield
    elapsed = (time.monotonic_ns() - start) // 1000
    gt.stats.add(f"svm_{direction}_copy_us", elapsed)
    if pages * SZ_4K // 1024 in SIZES:
        gt.stats.add(f"svm_{SIZES[pages * SZ_4K // 1024]}_{direction}_copy_us", elapsed)
