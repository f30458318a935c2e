# SPDX-License-Identifier: MIT
"""The walk through a GPU page table, as the hardware does it on a translation miss.

Source: drivers/gpu/drm/xe/regs/xe_gtt_defs.h (entry bits), xe_pt.c and xe_vm.c (levels, compact 64 KiB tables,
where tables live). Five levels of 512 entries; tables are in VRAM, without VRAM in system memory, and directory entries
carry no memory type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from guest.emulator.memory import PAGE, Tables

PRESENT = 1 << 0
WRITABLE = 1 << 1
COMPACT = 1 << 6
"""In a directory entry of level 1: the table below has 32 entries of 64 KiB each."""
HUGE = 1 << 7
PAGE_OF_64K = 1 << 8
"""In an entry for 4 KiB: it and its 15 neighbours are for 64 KiB of contiguous and aligned memory (PS64)."""
NULL = 1 << 9
ATOMIC = 1 << 10
LOCAL_MEMORY = 1 << 11

TOP_LEVEL = 4
TABLE_ADDRESS = 0x000F_FFFF_FFFF_F000

SHIFTS = (12, 21, 30, 39, 48)
"""Bits of the piece of the address space that an entry of each level is for."""


@dataclass(frozen=True, slots=True)
class Found:
    """End of a walk: ``count`` entries at ``offset``, each for a page of 1 << ``shift`` bytes.

    For pages up to 64 KiB that is the whole table (and any of its entries may still be missing), for larger ones
    the one entry. ``tables`` are the places of the tables on the way, from the root down.
    """

    offset: int
    count: int
    shift: int
    tables: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """No translation: the level of the entry that is not present, and whether the walk left the memory of tables."""

    level: int
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A page table: the tables on the way to it, from the root down, itself as the last one."""

    tables: tuple[int, ...]
    compact: bool = False
    """Whether it has 32 entries of 64 KiB."""

    @property
    def level(self) -> int:
        """The level of its entries; 0 is the last."""
        return TOP_LEVEL + 1 - len(self.tables)


def root_table(root: int) -> Table:
    """The table at which walks begin."""
    return Table((root & TABLE_ADDRESS,))


def reach(level: int) -> int:
    """A table of ``level`` is for an aligned piece of the address space, of this many bits."""
    return SHIFTS[level + 1]


def walk(
    memory: Tables, start: Table, address: int, passed: Callable[[Table], None] = lambda _: None
) -> Found | Missing:
    """Translate a masked virtual address, from the table ``start`` on. ``passed`` gets each table below it."""
    qwords = memory.qwords
    here = start
    while True:
        level, table = here.level, here.tables[-1]
        if table >= memory.size:
            return Missing(level, broken=True)
        if not level:
            break
        at = table + ((address >> SHIFTS[level]) & 511) * 8
        entry = qwords[at >> 3]
        if not entry & PRESENT:
            return Missing(level)
        if entry & HUGE and level <= 2:
            return Found(at, 1, SHIFTS[level], here.tables)
        here = Table((*here.tables, entry & TABLE_ADDRESS), level == 1 and bool(entry & COMPACT))
        passed(here)
    if here.compact:
        return Found(table, 32, 16, here.tables)
    return Found(table, PAGE // 8, 12, here.tables)


def page_address(entry: int, shift: int) -> int:
    """The physical address in a leaf entry; below the page's own bits it carries attributes (PAT index)."""
    return entry & TABLE_ADDRESS & -(1 << shift)
