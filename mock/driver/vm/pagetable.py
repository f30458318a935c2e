# SPDX-License-Identifier: MIT
"""The page tables of one VM on one tile.

The driver writes them (binds, fault service, zaps), the GPU reads them. They are separate from the VMAs, as in the
real driver: a VMA may exist without being mapped (fault mode), and a stale mapping stays visible to the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from mock.driver.lib.interval import IntervalMap


class Backing(Protocol):
    """Memory that a page table entry points to; ``offset`` is in bytes from its start."""

    def read(self, offset: int, size: int) -> bytes: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def atomic(self, offset: int, size: int, operation: Callable[[int], int]) -> int: ...


@dataclass
class Mapping:
    """A run of page table entries with the same backing and rights.

    start, end   GPU addresses, half-open, multiples of 4 KiB
    backing      what is mapped; None: a NULL entry (reads give zero, writes are dropped)
    offset       of ``start`` within the backing, in bytes
    writable     XE_PAGE_RW
    atomic       XE_USM_PPGTT_PTE_AE, or hardware where atomics always work on this memory
    present      False: the entries were zapped. An access faults, even if the VM has a scratch page
    """

    start: int
    end: int
    backing: Backing | None
    offset: int
    writable: bool = True
    atomic: bool = True
    present: bool = True


class PageTable:
    """The leaf entries of one page table tree, as runs."""

    def __init__(self) -> None:
        self._runs: IntervalMap[Mapping] = IntervalMap()

    def map(self, mapping: Mapping) -> None:
        """Write entries, replacing the old ones."""
        self.clear(mapping.start, mapping.end)
        self._runs.insert(mapping)

    def zap(self, start: int, end: int) -> bool:
        """Make the entries of [start, end) not present. Returns whether there were any (xe_pt_zap_ptes)."""
        hit = [run for run in self._runs.overlapping(start, end) if run.present]
        for run in hit:
            low, high = max(run.start, start), min(run.end, end)
            self.map(Mapping(low, high, None, 0, present=False))
        return bool(hit)

    def clear(self, start: int, end: int) -> None:
        """Clear the entries of [start, end): unmapped, or the scratch page if the VM has one."""
        hit = list(self._runs.overlapping(start, end))
        for run in hit:
            self._runs.remove(run)
            if run.start < start:
                self._runs.insert(replace(run, end=start))
            if run.end > end:
                self._runs.insert(replace(run, start=end, offset=run.offset + end - run.start))

    def lookup(self, address: int) -> Mapping | None:
        """The run that translates an address."""
        return self._runs.at(address)

    def runs(self, start: int, end: int) -> Iterator[Mapping]:
        return self._runs.overlapping(start, end)
