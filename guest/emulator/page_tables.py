# SPDX-License-Identifier: MIT
"""The walk through a GPU page table, as the hardware does it on a translation miss.

Source: drivers/gpu/drm/xe/regs/xe_gtt_defs.h (entry bits), xe_pt.c and xe_vm.c (levels, compact 64 KiB
tables, where tables live). Five levels of 512 entries; tables are in VRAM and directory entries carry no
memory type.
"""

from __future__ import annotations

from dataclasses import dataclass

from guest.emulator.memory import Vram

PRESENT = 1 << 0
WRITABLE = 1 << 1
COMPACT = 1 << 6
"""In a directory entry of level 1: the table below has 32 entries of 64 KiB each."""
HUGE = 1 << 7
NULL = 1 << 9
ATOMIC = 1 << 10
LOCAL_MEMORY = 1 << 11

TOP_LEVEL = 4
ADDRESS_BITS = 48
"""User addresses are canonical: the upper 16 bits repeat bit 47."""
TABLE_ADDRESS = 0x000F_FFFF_FFFF_F000

_SHIFTS = (12, 21, 30, 39, 48)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A translation found: the entry, where it is in VRAM, and the page it maps (physical address, size as a
    shift).
    """

    entry: int
    entry_offset: int
    address: int
    shift: int
    tables: tuple[int, ...]
    """VRAM offsets of the tables the walk went through, from the root down."""


@dataclass(frozen=True, slots=True)
class Missing:
    """No translation: the level of the entry that is not present, and whether the table itself was outside
    VRAM.
    """

    level: int
    broken: bool = False


def walk(vram: Vram, root: int, address: int) -> Leaf | Missing:
    """Translate a masked virtual address with the page table at VRAM offset `root`."""
    qwords = vram.qwords
    table = root & TABLE_ADDRESS
    tables = []
    for level in range(TOP_LEVEL, -1, -1):
        tables.append(table)
        at = table + ((address >> _SHIFTS[level]) & 511) * 8
        if at >= vram.size:
            return Missing(level, broken=True)
        entry = qwords[at >> 3]
        if not entry & PRESENT:
            return Missing(level)
        if level == 0 or (entry & HUGE and level <= 2):
            return _leaf(entry, at, _SHIFTS[level], tables)
        if level == 1 and entry & COMPACT:
            table = entry & TABLE_ADDRESS
            tables.append(table)
            at = table + ((address >> 16) & 31) * 8
            if at >= vram.size:
                return Missing(0, broken=True)
            entry = qwords[at >> 3]
            return _leaf(entry, at, 16, tables) if entry & PRESENT else Missing(0)
        table = entry & TABLE_ADDRESS
    raise AssertionError("level 0 is always a leaf")


def _leaf(entry: int, at: int, shift: int, tables: list[int]) -> Leaf:
    # Below the page's own bits an entry carries attributes (PAT index), not address.
    return Leaf(entry, at, entry & TABLE_ADDRESS & -(1 << shift), shift, tuple(tables))
