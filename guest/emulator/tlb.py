# SPDX-License-Identifier: MIT
"""The translation cache: what the GPU has once translated it may use until the driver invalidates it.

Hardware may keep a translation as long as it likes, so this keeps all of them, up to a bound no driver can
rely on. Only present translations are kept (xe_pt.c invalidates after a bind only where scratch pages were
mapped before). Source: drivers/gpu/drm/xe/xe_guc_tlb_inval.c (kinds of invalidation, ranges), xe_ring_ops.c
(flushes in rings).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from guest.emulator import page_tables
from guest.emulator.memory import Span, Vram
from guest.emulator.page_tables import Leaf

SHIFTS = (12, 16, 21, 30)
BOUND = 1 << 18
"""Most translations of one address space."""
OVERDUE = 5.0
"""Seconds that a driver may need from changing an entry to invalidating it; its own limit is 2.25 s."""


@dataclass(slots=True, eq=False)
class Translation:
    """One page: virtual addresses start to end, what is behind (None: a null page, or nothing), and
    permissions.
    """

    start: int
    end: int
    span: Span | None
    null: bool
    writable: bool
    atomic: bool
    leaf: Leaf
    born: int
    """Moment (see `owners`) of the walk."""
    changed_at: float | None = None
    overdue: bool = False
    """The page table entry has changed, and that is longer ago than any invalidation takes."""


class SpaceCache:
    """Cached translations of one ASID."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._by_shift: tuple[dict[int, Translation], ...] = ({}, {}, {}, {})

    def find(self, address: int) -> Translation | None:
        """The translation that covers an address."""
        small, medium, large, huge = self._by_shift
        return (
            small.get(address >> 12)
            or large.get(address >> 21)
            or medium.get(address >> 16)
            or huge.get(address >> 30)
        )

    def add(self, translation: Translation, shift: int) -> None:
        """Remember a translation."""
        table = self._by_shift[SHIFTS.index(shift)]
        if len(table) >= BOUND:
            del table[next(iter(table))]
        table[translation.start >> shift] = translation

    def drop(self, start: int, end: int) -> int:
        """Forget what overlaps the addresses start to end; gives how many there were."""
        count = 0
        for shift, table in zip(SHIFTS, self._by_shift, strict=True):
            first, last = start >> shift, (end - 1) >> shift
            if not table:
                continue
            keys = (
                [key for key in range(first, last + 1) if key in table]
                if last - first < len(table)
                else [key for key in table if first <= key <= last]
            )
            for key in keys:
                del table[key]
            count += len(keys)
        return count

    def translations(self) -> list[Translation]:
        """All of them, in order of size and age."""
        return [translation for table in self._by_shift for translation in table.values()]

    def __len__(self) -> int:
        return sum(map(len, self._by_shift))


class TranslationCache:
    """The cache of one GPU, by ASID."""

    def __init__(self, vram: Vram) -> None:
        self._vram = vram
        self._spaces: dict[int, SpaceCache] = {}
        self._sweep_position = 0

    def space(self, asid: int, root: int) -> tuple[SpaceCache, bool]:
        """The cache of an ASID, and whether it had translations of another page table (which are still
        there).
        """
        cache = self._spaces.get(asid)
        if cache is None:
            cache = self._spaces[asid] = SpaceCache(root)
        mixed = cache.root != root and len(cache) > 0
        cache.root = root
        return cache, mixed

    def invalidate_all(self) -> int:
        """Forget everything; gives how many translations there were."""
        count = sum(map(len, self._spaces.values()))
        for cache in self._spaces.values():
            cache.drop(0, 1 << 64)
        return count

    def invalidate(self, asid: int, start: int, end: int) -> int:
        """Forget what overlaps the addresses start to end of one ASID."""
        cache = self._spaces.get(asid)
        return cache.drop(start, end) if cache is not None else 0

    def forget_memory(self) -> None:
        """Memory behind translations goes away: drop every reference to it."""
        self._spaces.clear()

    def sweep(self, now: float, most: int = 2000) -> None:
        """Compare up to `most` cached translations with their page table entries, and mark those long out of
        date.
        """
        everything = (t for cache in list(self._spaces.values()) for t in cache.translations())
        seen = 0
        for translation in islice(everything, self._sweep_position, self._sweep_position + most):
            seen += 1
            if self._still_true(translation.leaf):
                translation.changed_at, translation.overdue = None, False
            elif translation.changed_at is None:
                translation.changed_at = now
            elif now - translation.changed_at > OVERDUE:
                translation.overdue = True
        self._sweep_position = self._sweep_position + seen if seen == most else 0

    def _still_true(self, leaf: Leaf) -> bool:
        """Whether the entry in memory allows what the translation does. More permissions than that change
        nothing.
        """
        entry = self._vram.qwords[leaf.entry_offset >> 3]
        if entry == leaf.entry or leaf.entry & page_tables.NULL:
            return True
        kept = page_tables.PRESENT | page_tables.WRITABLE | page_tables.ATOMIC
        same = ~kept & (page_tables.TABLE_ADDRESS | page_tables.LOCAL_MEMORY | page_tables.NULL)
        return not (leaf.entry & kept & ~entry) and not ((leaf.entry ^ entry) & same)
