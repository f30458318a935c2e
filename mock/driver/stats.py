# SPDX-License-Identifier: MIT
"""GT statistics: the counters, their names and their text (xe_gt_stats.c)."""

from __future__ import annotations

import functools
import re

from mock.driver.level import V6_17, V6_18, V7_0, V7_2, Level

_SIZES = ("4K", "64K", "2M")


def _by_size(pattern: str) -> list[str]:
    return [pattern.format(size) for size in _SIZES]


# Order and spelling are those of stat_description[] in Linux 7.3.
NAMES: tuple[str, ...] = (
    "svm_pagefault_count",
    "tlb_inval_count",
    "svm_tlb_inval_count",
    "svm_tlb_inval_us",
    "vma_pagefault_count",
    "vma_pagefault_kb",
    "invalid_prefetch_pagefault_count",
    *_by_size("svm_{}_pagefault_count"),
    *_by_size("svm_{}_valid_pagefault_count"),
    *_by_size("svm_{}_pagefault_us"),
    *_by_size("svm_{}_migrate_count"),
    *_by_size("svm_{}_migrate_us"),
    "svm_device_copy_us",
    *_by_size("svm_{}_device_copy_us"),
    "svm_cpu_copy_us",
    *_by_size("svm_{}_cpu_copy_us"),
    "svm_device_copy_kb",
    *_by_size("svm_{}_device_copy_kb"),
    "svm_cpu_copy_kb",
    *_by_size("svm_{}_cpu_copy_kb"),
    *_by_size("svm_{}_get_pages_us"),
    *_by_size("svm_{}_bind_us"),
    "hw_engine_group_suspend_lr_queue_count",
    "hw_engine_group_skip_lr_queue_count",
    "hw_engine_group_wait_dma_queue_count",
    "hw_engine_group_suspend_lr_queue_us",
    "hw_engine_group_wait_dma_queue_us",
    "prl_4k_entry_count",
    "prl_64k_entry_count",
    "prl_2m_entry_count",
    "prl_issued_count",
    "prl_aborted_count",
)


def _since(name: str) -> Level:
    """The kernel version that added a counter."""
    if name.startswith(("hw_engine_group_", "prl_")):
        return V7_0
    if name == "invalid_prefetch_pagefault_count" or re.fullmatch(r"svm_\d+[KM]_(device|cpu)_copy_kb", name):
        return V7_2
    return V6_18 if name.startswith("svm_") and name != "svm_pagefault_count" else V6_17


@functools.cache
def _names(level: Level) -> tuple[str, ...]:
    """The counters of a kernel, in order."""
    return tuple(name for name in NAMES if _since(name) <= level)


class GtStats:
    """The counters of one GT. Times are microseconds, volumes KiB."""

    def __init__(self) -> None:
        self._values = dict.fromkeys(NAMES, 0)

    def add(self, name: str, amount: int = 1) -> None:
        self._values[name] += amount

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def clear(self) -> None:
        """Zero all counters (xe_gt_stats_clear)."""
        self._values = dict.fromkeys(NAMES, 0)

    def text(self, level: Level) -> str:
        """One ``name: value`` line for every counter of a kernel (xe_gt_stats_print_info)."""
        return "".join(f"{name}: {self._values[name]}\n" for name in _names(level))
