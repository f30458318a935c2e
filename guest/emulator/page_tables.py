# SPDX-License-Identifier: MIT
"""The walk through a GPU page table, as the hardware does it on a translation miss.

Source: drivers/gpu/drm/xe/regs/xe_gtt_defs.h (entry bits), xe_pt.c and xe_vm.c (levels, compact 64 KiB tables,
where tables live). Five levels of 512 entries; tables are in VRAM and directory entries carry no memory type.
"""

from __future__ import annotations

from dataclasses import dataclass

from guest.emulator.memory import PAGE, Vram

PRESENT = 1 << 0
WRITABLE = 1 << 1
COMPACT = 1 << 6
"""In a directory entry of level 1: the table below has 32 entries of 64 KiB each."""
HUGE = 1 << 7
NULL = 1 << 9
ATOMIC = 1 << 10
LOCAL_MEMORY = 1 << 11

TOP_LEVEL = 4
TABLE_ADDRESS = 0x000F_FFFF_FFFF_F000

_SHIFTS = (12, 21, 30, 39, 48)


@dataclass(frozen=True, slots=True)
class Found:
    """End of a walk: ``count`` entries in VRAM at ``offset``, each for a page of 1 << ``shift`` bytes.

    For pages up to 64 KiB that is the whole table (and any of its entries may still be missing), for larger ones
    the one entry. ``tables`` are the VRAM offsets of the tables on the way, from the root down.
    """

    offset: int
    count: int
    shift: int
    tables: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """No translation: the level of the entry that is not present, and whether the walk left VRAM."""

    level: int
    broken: bool = False


def walk(vram: Vram, root: int, address: int) -> Found | Missing:
    """Translate a masked virtual address with the page table at VRAM offset ``root``."""
    qwords = vram.qwords
    table = root & TABLE_ADDRESS
    tables = [table]
    for level in range(TOP_LEVEL, 0, -1):
        if table >= vram.size:
            return Missing(level, broken=True)
        at = table + ((address >> _SHIFTS[level]) & 511) * 8
        entry = qwords[at >> 3]
        if not entry & PRESENT:
            return Missing(level)
        if entry & HUGE and level <= 2:
            return Found(at, 1, _SHIFTS[level], tuple(tables))
        table = entry & TABLE_ADDRESS
        tables.append(table)
        compact = level == 1 and entry & COMPACT
    if table >= vram.size:
        return Missing(0, broken=True)
    if compact:
        return Found(table, 32, 16, tuple(tables))
    return Found(table, PAGE // 8, 12, tuple(tables))


def page_address(entry: int, shift: int) -> int:
    """The physical address in a leaf entry; below the page's own bits it carries attributes (PAT index)."""
    return entry & TABLE_ADDRESS & -(1 << shift)
