# SPDX-License-Identifier: MIT
"""Dependencies between binds in flight that change the same page tables (xe_range_fence.c, xe_pt.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.driver.lib.fence import Fence

_PAGE_SHIFT, _LEVEL_SHIFT = 12, 9


class TableWriters:
    """The shape of a VM's page table tree, which decides which tables a bind changes.

    A bind that needs a new page table changes an entry of the table above it, and claims the whole range that is
    covered at that level (xe_pt_update_ops_rfence_interval).
    """

    def __init__(self, levels: int) -> None:
        self._levels = levels
        # For each level except the root: numbers of the tables that exist.
        self._tables: list[set[int]] = [set() for _ in range(levels - 1)]
        self._pending: list[tuple[int, int, Fence]] = []

    def claim(self, start: int, end: int, done: Fence) -> list[Fence]:
        """Claim the tables of a bind of [start, end); ``done`` signals when its entries are written.

        Returns the fences of earlier binds that change the same tables.
        """
        shift = _PAGE_SHIFT + _LEVEL_SHIFT * self._changed_level(start, end)
        first, last = start >> shift << shift, -(-end >> shift << shift) - 1
        self._pending = [pending for pending in self._pending if not pending[2].signaled]
        conflicts = [fence for low, high, fence in self._pending if low <= last and first <= high]
        self._pending.append((first, last, done))
        return conflicts

    def _changed_level(self, start: int, end: int) -> int:
        """The highest level at which a table gets a new entry. Adds the tables below."""
        changed = 0
        for level in reversed(range(self._levels - 1)):
            shift = _PAGE_SHIFT + _LEVEL_SHIFT * (level + 1)
            needed = {start >> shift, (end - 1) >> shift}
            if not needed <= self._tables[level] and not changed:
                changed = level + 1
            self._tables[level] |= needed
        return changed
