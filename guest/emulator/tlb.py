# SPDX-License-Identifier: MIT
"""The translation cache: the GPU may use a translation until the driver invalidates it.

Hardware may keep a translation indefinitely, and may fetch the neighbours of an entry with it. So this keeps
every translation, and takes all present entries of a table at once. Entries that are not present are never kept
(xe_pt.c invalidates after a bind only where scratch pages were mapped before).

Directory entries are kept, too, and a walk begins at the last of them that is known. One that leads to a table for 2
MiB is dropped only by an invalidation of all the 2 MiB: the driver aligns its invalidations to what the
entries that it removes lead to (xe_pt.c:xe_pt_update_ops_rfence_interval), and does not skip them "if we are removing
PTEs that span more than the range" (xe_pt.c:xe_pt_op_check_range_skip_invalidation).

Each engine has a cache of its own: a flush in a ring reaches the cache of that ring's engine, an invalidation by the
GuC reaches all of them. Hardware may also hold a large page in pieces, so an invalidation of a part of one leaves the
rest of it in place: a driver has to invalidate all that it changed.

Source: xe_guc_tlb_inval.c (kinds of invalidation, ranges), xe_ring_ops.c (flushes in rings), both in
drivers/gpu/drm/xe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from guest.emulator.memory import PAGE, Clock, Span, Tables
from guest.emulator.page_tables import (
    ATOMIC,
    LOCAL_MEMORY,
    NULL,
    PRESENT,
    TABLE_ADDRESS,
    TOP_LEVEL,
    WRITABLE,
    Found,
    Table,
    page_address,
    reach,
)

BOUND = 1 << 12
"""Most tables of one address space: no driver can rely on it, but a broken one must not fill the host's memory."""
WITHDRAWN = 1 << 10
"""Invalidations of one address space that are remembered."""
OVERDUE = 5.0
"""Seconds that a driver may need from changing an entry to invalidating it; its own limit is 2.25 s."""

_PAGE, _TABLE, _HUGE = 12, 21, 30
_PIECES = 1 << _TABLE - _PAGE
_PERMISSIONS = PRESENT | WRITABLE | ATOMIC
_MEANING = TABLE_ADDRESS | LOCAL_MEMORY | NULL


@dataclass(frozen=True, slots=True)
class _Origin:
    """The page table entry that a piece of a page was taken from: its place, the size of its page."""

    qword: int
    shift: int

    def piece(self, entry: int, address: int) -> int:
        """The part of ``entry`` for the 4 KiB at ``address``, as an entry of its own."""
        if self.shift == _PAGE or not entry & PRESENT:
            return entry
        flags = entry & ~TABLE_ADDRESS
        return flags | page_address(entry, self.shift) + (address & (1 << self.shift) - PAGE)


class Cached:
    """The entries of one table, or of one large page, as they were when they were read; 0 where none is kept."""

    __slots__ = ("born", "changed", "entries", "offset", "overdue", "shift", "spans", "start", "unmapped")

    def __init__(self, start: int, found: Found, entries: list[int], moment: int) -> None:
        self.start = start
        self.shift = found.shift
        self.offset = found.offset
        self.entries = entries
        self.born = [moment] * len(entries)
        """When (see ``owners``) each entry was read."""
        self.spans: dict[int, Span | None] = {}
        """The memory behind entries that were used."""
        self.changed: dict[int, float] = {}
        self.overdue: set[int] = set()
        """Entries that have changed in memory, longer ago than any invalidation takes."""
        self.unmapped: dict[int, int] = {}
        """Pages of the bus (numbers) that were unmapped in an IOMMU since they were cached, and the entry of each."""

    def refresh(self, found: Found, entries: list[int], moment: int) -> bool:
        """Read again: entries that are kept stay as they are, others are taken from memory.

        Returns False, and does nothing, if what was found has pages of another size.
        """
        if self.shift != found.shift or len(self.entries) != len(entries):
            return False
        self.offset = found.offset
        for index, entry in enumerate(entries):
            if entry & PRESENT and not self.entries[index]:
                self.entries[index] = entry
                self.born[index] = moment
        return True

    def now(self, memory: Tables) -> list[int]:
        """The same entries as they are in memory now."""
        first = self.offset >> 3
        return memory.qwords[first : first + len(self.entries)].tolist()

    def in_pieces(self) -> Pieces:
        """The same translations, of up to 2 MiB, each for 4 KiB."""
        pieces = Pieces(self.start >> _TABLE << _TABLE)
        each = 1 << self.shift - _PAGE
        for index, entry in enumerate(self.entries):
            if entry:
                origin = _Origin((self.offset >> 3) + index, self.shift)
                pieces.put(range(index * each, (index + 1) * each), entry, origin, self.born[index])
        return pieces

    def drop(self, first: int, last: int) -> int:
        """Drop the entries first to last; returns how many were cached."""
        count = 0
        for index in range(max(first, 0), min(last, len(self.entries) - 1) + 1):
            if self.entries[index]:
                count += 1
                self.entries[index] = 0
                self.spans.pop(index, None)
                self.changed.pop(index, None)
                self.overdue.discard(index)
        if count and self.unmapped:
            self.unmapped = {page: at for page, at in self.unmapped.items() if self.entries[at]}
        return count

    def unmap(self, pages: Collection[int]) -> int | None:
        """Pages of the bus (numbers) are unmapped in an IOMMU: the first entry that leads to one of them, if any.

        It is kept: only the driver's invalidations drop translations.
        """
        hit = None
        each = 1 << self.shift - _PAGE
        for index, entry in enumerate(self.entries):
            if not entry or entry & (LOCAL_MEMORY | NULL):
                continue
            first = page_address(entry, self.shift) >> _PAGE
            found = [first] if each == 1 and first in pages else []
            if each > 1:
                found = [page for page in pages if first <= page < first + each]
            if found:
                self.unmapped |= dict.fromkeys(found, index)
                hit = index if hit is None else hit
        return hit

    def run(self, index: int, most: int) -> int:
        """Number of entries from ``index``, at most ``most``, of one contiguous piece with the same permissions."""
        entries, born = self.entries, self.born
        entry, moment = entries[index], born[index]
        step = 0 if entry & NULL else 1 << self.shift
        count = 1
        for at in range(index + 1, min(index + most, len(entries))):
            entry += step
            if entries[at] != entry or born[at] != moment:
                break
            count += 1
        return count

    def kept(self) -> int:
        """Number of translations."""
        return len(self.entries) - self.entries.count(0)


class Pieces(Cached):
    """2 MiB of translations that were read from pages of several sizes, or of which a part was invalidated."""

    __slots__ = ("origins",)

    def __init__(self, start: int) -> None:
        super().__init__(start, Found(0, _PIECES, _PAGE, ()), [0] * _PIECES, 0)
        self.origins: list[_Origin | None] = [None] * _PIECES

    def put(self, indices: range, entry: int, origin: _Origin, moment: int) -> None:
        """Keep what an entry says of these 4 KiB pages, where nothing is kept yet."""
        for index in indices:
            if not self.entries[index]:
                self.entries[index] = origin.piece(entry, self.start + (index << _PAGE))
                self.origins[index] = origin
                self.born[index] = moment

    def refresh(self, found: Found, entries: list[int], moment: int) -> bool:
        """Read again, from pages of any size up to 2 MiB."""
        each = 1 << found.shift - _PAGE
        for index, entry in enumerate(entries):
            if entry & PRESENT:
                origin = _Origin((found.offset >> 3) + index, found.shift)
                self.put(range(index * each, (index + 1) * each), entry, origin, moment)
        return True

    def now(self, memory: Tables) -> list[int]:
        """The same entries as they are in memory now."""
        return [
            origin.piece(memory.qwords[origin.qword], self.start + (index << _PAGE))
            if kept and origin is not None
            else 0
            for index, (kept, origin) in enumerate(zip(self.entries, self.origins, strict=True))
        ]

    def in_pieces(self) -> Pieces:
        return self


class SpaceCache:
    """Cached translations of one ASID on one engine."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._tables: dict[int, Cached] = {}
        self._huge: dict[int, Cached] = {}
        self._passed: list[dict[int, Table]] = [{} for _ in range(TOP_LEVEL)]
        """The tables that walks went through, by level and by the piece of the address space that they are for."""

    def find(self, address: int) -> Cached | None:
        """The cached entries around an address; that of the address itself may be missing."""
        return self._tables.get(address >> _TABLE) or self._huge.get(address >> _HUGE)

    def add(self, address: int, found: Found, entries: list[int], moment: int) -> Cached:
        """Keep what a walk found."""
        span = _HUGE if found.shift == _HUGE else _TABLE
        table = self._huge if found.shift == _HUGE else self._tables
        key = address >> span
        known = table.get(key)
        if known is not None and span == _TABLE:
            # Entries of several sizes may stand next to each other until they are invalidated.
            if not known.refresh(found, entries, moment):
                known = table[key] = known.in_pieces()
                known.refresh(found, entries, moment)
            return known
        kept = [entry if entry & PRESENT else 0 for entry in entries]
        cached = table[key] = Cached(key << span, found, kept, moment)
        if len(table) > BOUND:
            del table[next(iter(table))]
        return cached

    def nearest(self, address: int) -> Table | None:
        """The table at which a walk may begin: the last one on the way that is cached."""
        for level, passed in enumerate(self._passed):
            if (table := passed.get(address >> reach(level))) is not None:
                return table
        return None

    def pass_through(self, address: int, table: Table) -> None:
        """Keep a directory entry that a walk has read: the table that it leads to."""
        passed = self._passed[table.level]
        passed[address >> reach(table.level)] = table
        if len(passed) > BOUND:
            del passed[next(iter(passed))]

    def drop(self, start: int, end: int) -> int:
        """Drop what overlaps the addresses start to end; returns the number of translations dropped.

        Directory entries are dropped only if all that they lead to lies between.
        """
        for level, passed in enumerate(self._passed):
            bits = reach(level)
            if end - start < 1 << bits:
                break
            for key in [key for key in passed if start <= key << bits and key + 1 << bits <= end]:
                del passed[key]
        return sum(
            self._drop(table, span, start, end)
            for table, span in ((self._tables, _TABLE), (self._huge, _HUGE))
        )

    def _drop(self, table: dict[int, Cached], span: int, start: int, end: int) -> int:
        first, last = start >> span, (end - 1) >> span
        if last - first < len(table):
            keys = [key for key in range(first, last + 1) if key in table]
        else:
            keys = [key for key in table if first <= key <= last]
        count = 0
        for key in keys:
            cached = table[key]
            low, high = max(start - cached.start, 0), min(end - cached.start, 1 << span)
            if span == _TABLE and (low | high) & (1 << cached.shift) - 1:
                cached = table[key] = cached.in_pieces()
            count += cached.drop(low >> cached.shift, high - 1 >> cached.shift)
            if not cached.kept():
                del table[key]
        return count

    def all(self) -> list[Cached]:
        """Everything that is cached."""
        return [*self._tables.values(), *self._huge.values()]

    def __len__(self) -> int:
        return sum(cached.kept() for cached in self.all())

    @property
    def empty(self) -> bool:
        """Whether nothing is cached, not even a directory entry."""
        return not len(self) and not any(self._passed)


class _Withdrawals:
    """Invalidations by the driver in one address space, with their times (see ``Clock``)."""

    __slots__ = ("_known_from", "_ranges")

    def __init__(self, known_from: int) -> None:
        self._known_from = known_from
        self._ranges: deque[tuple[int, int, int]] = deque()

    def add(self, moment: int, start: int, end: int) -> None:
        self._ranges.append((moment, start, end))
        if len(self._ranges) > WITHDRAWN:
            self._known_from = self._ranges.popleft()[0] + 1

    def since(self, address: int, moment: int) -> bool:
        """Whether the address was, or may have been, invalidated at ``moment`` or later."""
        if moment < self._known_from:
            return True
        return any(then >= moment and start <= address < end for then, start, end in self._ranges)


class TranslationCache:
    """The caches of one GT, by ASID and engine."""

    def __init__(self, memory: Tables, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._spaces: dict[int, dict[str, SpaceCache]] = {}
        self._withdrawn: dict[int, _Withdrawals] = {}
        self._all_withdrawn = -1
        self._swept = 0

    def space(self, asid: int, root: int, engine: str) -> tuple[SpaceCache, bool]:
        """The cache of an ASID on an engine, and whether the ASID has translations of another page table left."""
        engines = self._spaces.setdefault(asid, {})
        cache = engines.get(engine)
        if cache is None:
            others = [other for other in engines.values() if other.root != root and not other.empty]
            cache = engines[engine] = SpaceCache(root)
            return cache, bool(others)
        if cache.root == root:
            return cache, False
        cache.root = root
        return cache, not cache.empty

    def forget(self, asid: int, engine: str) -> None:
        """Drop what an engine has cached of one ASID, as hardware does between jobs: the driver took nothing back."""
        cache = self._spaces.get(asid, {}).get(engine)
        if cache is not None:
            cache.drop(0, 1 << 64)

    def _all(self) -> list[SpaceCache]:
        return [cache for engines in self._spaces.values() for cache in engines.values()]

    def invalidate_all(self) -> int:
        """The driver invalidates everything; returns the number of translations dropped."""
        self._all_withdrawn = self._clock.tick()
        self._withdrawn.clear()
        count = sum(map(len, self._all()))
        self._spaces.clear()
        return count

    def invalidate(self, asid: int, start: int, end: int) -> int:
        """The driver invalidates the addresses start to end of one ASID; returns the number of translations dropped."""
        withdrawn = self._withdrawn.get(asid)
        if withdrawn is None:
            withdrawn = self._withdrawn[asid] = _Withdrawals(self._all_withdrawn + 1)
        withdrawn.add(self._clock.tick(), start, end)
        return sum(cache.drop(start, end) for cache in self._spaces.get(asid, {}).values())

    def unmap(self, pages: Collection[int]) -> Iterator[tuple[int, int]]:
        """Pages of the bus are unmapped in an IOMMU: ASIDs and addresses whose translations lead there still."""
        for asid, engines in self._spaces.items():
            for space in engines.values():
                for cached in space.all():
                    if (index := cached.unmap(pages)) is not None:
                        yield asid, cached.start + (index << cached.shift)

    def withdrawn_since(self, asid: int, address: int, moment: int) -> bool:
        """Whether the driver invalidated, or may have invalidated, an address at ``moment`` or later."""
        if moment <= self._all_withdrawn:
            return True
        withdrawn = self._withdrawn.get(asid)
        return withdrawn is not None and withdrawn.since(address, moment)

    def sweep(self, now: float, most: int = 200) -> None:
        """Compare up to ``most`` cached tables with memory, and mark the entries long out of date."""
        everything = (cached for space in self._all() for cached in space.all())
        seen = 0
        for cached in islice(everything, self._swept, self._swept + most):
            seen += 1
            self._compare(cached, now)
        self._swept = self._swept + seen if seen == most else 0

    def _compare(self, cached: Cached, now: float) -> None:
        current = cached.now(self._memory)
        if current == cached.entries and not cached.changed:
            return
        for index, (kept, entry) in enumerate(zip(cached.entries, current, strict=True)):
            if not kept or _still_true(kept, entry):
                cached.changed.pop(index, None)
                cached.overdue.discard(index)
            elif now - cached.changed.setdefault(index, now) > OVERDUE:
                cached.overdue.add(index)


def _still_true(kept: int, entry: int) -> bool:
    """Whether an entry in memory allows all that a kept one does; more permissions change nothing.

    What was a null page is left out: the driver maps over scratch pages and flushes at the next job only.
    """
    if kept == entry or kept & NULL:
        return True
    return not (kept & ~entry & _PERMISSIONS) and not ((kept ^ entry) & _MEANING)
