# SPDX-License-Identifier: MIT
"""A context's view of memory: PPGTT addresses, through the translation cache and the page tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gpu import Access, GpuFault
from guest.emulator import atomics, page_tables
from guest.emulator.checks import Checks
from guest.emulator.memory import PAGE, Bus, Clock, Span, Tables, Vram
from guest.emulator.owners import Owners, User
from guest.emulator.page_tables import ATOMIC, NULL, WRITABLE, Missing, Table
from guest.emulator.tlb import Cached, SpaceCache, TranslationCache

CLEAR = 16384
ZEROS = bytes(1 << 20)
"""Stores of zeros from CLEAR bytes on are how memory is cleared."""


@dataclass(frozen=True, slots=True)
class Memory:
    """State that all address spaces of one GPU share."""

    name: str
    vram: Vram
    tables: Tables
    """The place of page tables: the VRAM, or system memory."""
    bus: Bus
    owners: Callable[[Vram], Owners]
    """The owners of any GPU's VRAM: a peer's is reached too."""
    cache: TranslationCache
    checks: Checks
    clock: Clock


class _Piece:
    """A contiguous part of an access: ``size`` bytes at ``offset`` of what ``span`` is (None: nothing, or a null
    page).
    """

    __slots__ = ("address", "cached", "index", "offset", "size", "span")

    def __init__(
        self, address: int, size: int, cached: Cached, index: int, span: Span | None, unit: int
    ) -> None:
        self.address = address
        self.size = size
        self.cached = cached
        self.index = index
        self.span = span
        self.offset = address & unit - 1

    @property
    def entry(self) -> int:
        return self.cached.entries[self.index]


class PageTableSpace:
    """The address space of one page table (``root``) and ASID, as one engine sees it.

    ASID 0 is the driver's own migration context: what it writes changes owners. User contexts are checked.
    """

    def __init__(self, memory: Memory, asid: int, root: int, engine: str) -> None:
        self.asid = asid
        self.root = root & page_tables.TABLE_ADDRESS
        self._top = page_tables.root_table(root)
        self._memory = memory
        self._engine = engine
        self._trusted = asid == 0
        self._loaded = b""

    def read(self, address: int, size: int) -> bytes:
        """The bytes at ``address``."""
        piece = self._piece(address, size, Access.READ, 0)
        if piece.size == size:
            self._loaded = self._load(piece)
            return self._loaded
        parts = []
        end = address + size
        while True:
            parts.append(self._load(piece))
            address += piece.size
            if address == end:
                self._loaded = b"".join(parts)
                return self._loaded
            piece = self._piece(address, end - address, Access.READ, 0)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes, nothing of them if any page is missing."""
        size = len(data)
        piece = self._piece(address, size, Access.WRITE, WRITABLE)
        zeros = size >= PAGE and data == ZEROS[:size]
        clears = zeros and data is not self._loaded
        if piece.size == size:
            self._store(piece, data, zeros=zeros, clears=clears)
            return
        pieces = [piece]
        at = address + piece.size
        while at < address + size:
            pieces.append(self._piece(at, address + size - at, Access.WRITE, WRITABLE))
            at += pieces[-1].size
        view = memoryview(data)
        for piece in pieces:
            at = piece.address - address
            self._store(piece, view[at : at + piece.size], zeros=zeros, clears=clears)

    def atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        """Read, modify and write an integer."""
        piece = self._piece(address, size, Access.ATOMIC, WRITABLE | ATOMIC)
        if (span := piece.span) is None or not self._may_write(piece, span):
            return int.from_bytes(self._load(piece), "little")
        self._before_store(piece, span, clears=False)
        return atomics.update(span.view[piece.offset : piece.offset + size], size, operation)

    def invalidate(self) -> None:
        """A flush in the ring with the invalidate bit: all translations of this address space on this engine."""
        self._memory.cache.forget(self.asid, self._engine)

    def maps(self, address: int) -> bool:
        """Whether a walk by this engine finds an entry for an address now, whatever translations are cached."""
        cache = self._memory.cache.space(self.asid, self.root, self._engine)[0]
        return bool(self._entry(cache.nearest(address) or self._top, address) & page_tables.PRESENT)

    def moment(self) -> int:
        """The moment of what happens now."""
        return self._memory.clock.tick()

    def withdrawn_since(self, address: int, moment: int) -> bool:
        """Whether the driver invalidated, or may have invalidated, an address at ``moment`` or later."""
        return self._memory.cache.withdrawn_since(self.asid, address, moment)

    def _piece(self, address: int, size: int, access: Access, needed: int) -> _Piece:
        """The longest contiguous piece at the start of an access that needs these entry bits. Raises GpuFault."""
        cache, mixed = self._memory.cache.space(self.asid, self.root, self._engine)
        if mixed:
            self._memory.checks.report("asid-reused", self._memory.name, asid=self.asid, root=self.root)
        cached = cache.find(address)
        index = -1
        if cached is not None:
            index = address - cached.start >> cached.shift
        if cached is None or not cached.entries[index]:
            cached = self._walk(cache, address, access)
            index = address - cached.start >> cached.shift
        entry = cached.entries[index]
        if entry & needed != needed and not entry & NULL:
            # The answer to the fault is a new permission, so what was cached is dropped with it.
            cached.drop(index, index)
            raise GpuFault(address, access, 0, violation=True)
        if self._memory.bus.in_pages and not entry & (page_tables.LOCAL_MEMORY | NULL):
            return self._scattered(address, size, cached, index)
        page = 1 << cached.shift
        room = page - (address & page - 1)
        if size <= room:
            return _Piece(address, size, cached, index, self._span(cached, index, 1), page)
        most = (size - room + page - 1 >> cached.shift) + 1
        count = cached.run(index, most)
        size = min(size, room + (count - 1 << cached.shift))
        return _Piece(address, size, cached, index, self._span(cached, index, count), page)

    def _scattered(self, address: int, size: int, cached: Cached, index: int) -> _Piece:
        """The part of an access in one page of system memory, behind an IOMMU: it maps each page on its own."""
        memory = self._memory
        page = page_tables.page_address(cached.entries[index], cached.shift)
        page += address & (1 << cached.shift) - PAGE
        if page >> 12 in cached.unmapped:
            memory.checks.report(
                "translation-outlives-dma", memory.name, asid=self.asid, page=address & -PAGE, bus=page
            )
        span = memory.bus.resolve(page, PAGE)
        if span is None:
            self._no_memory(address & -PAGE, cached.entries[index])
        return _Piece(address, min(size, PAGE - (address & PAGE - 1)), cached, index, span, PAGE)

    def _no_memory(self, page: int, entry: int) -> None:
        memory = self._memory
        memory.checks.report("no-memory", memory.name, asid=self.asid, page=page, entry=entry)

    def _walk(self, cache: SpaceCache, address: int, access: Access) -> Cached:
        memory = self._memory
        start = cache.nearest(address) or self._top
        found = page_tables.walk(memory.tables, start, address, partial(cache.pass_through, address))
        if isinstance(found, Missing):
            if found.broken:
                memory.checks.report(
                    "table-outside-vram", memory.name, asid=self.asid, address=address, level=found.level
                )
            raise GpuFault(address, access, found.level)
        first = found.offset >> 3
        entries = memory.tables.qwords[first : first + found.count].tolist()
        index = address >> found.shift & found.count - 1
        if not entries[index] & page_tables.PRESENT:
            raise GpuFault(address, access, 0)
        if memory.tables is memory.vram:
            memory.owners(memory.vram).use_as_tables(found.tables)
        return cache.add(address, found, entries, memory.clock.now)

    def _span(self, cached: Cached, index: int, count: int) -> Span | None:
        """The memory behind ``count`` contiguous pages; None if they are null pages, or nothing answers there."""
        entry = cached.entries[index]
        if entry & NULL:
            return None
        if count > 1:
            return self._resolve(cached, entry, count, index)
        if index not in cached.spans:
            cached.spans[index] = self._resolve(cached, entry, 1, index)
        return cached.spans[index]

    def _resolve(self, cached: Cached, entry: int, count: int, index: int) -> Span | None:
        memory = self._memory
        size = count << cached.shift
        address = page_tables.page_address(entry, cached.shift)
        span: Span | None
        if not entry & page_tables.LOCAL_MEMORY:
            span = memory.bus.resolve(address, size)
        elif address + size <= memory.vram.size:
            span = Span(memory.vram.view[address : address + size], memory.vram, address)
        else:
            span = None
        virtual = cached.start + (index << cached.shift)
        if span is None:
            self._no_memory(virtual, entry)
        if entry & page_tables.PAGE_OF_64K and cached.shift == 12 and (address ^ virtual) & 0xF000:
            memory.checks.report("hint-64k", memory.name, asid=self.asid, page=virtual, entry=entry)
        return span

    def _load(self, piece: _Piece) -> bytes:
        span = piece.span
        if span is None:
            return bytes(piece.size) if piece.entry & NULL else b"\xff" * piece.size
        if not self._trusted:
            self._check(piece, span, Access.READ)
        return bytes(span.view[piece.offset : piece.offset + piece.size])

    def _store(self, piece: _Piece, data: bytes | memoryview, *, zeros: bool, clears: bool) -> None:
        if (span := piece.span) is None or not self._may_write(piece, span):
            return
        self._before_store(piece, span, clears=clears)
        if span.vram is not None and zeros and piece.size >= CLEAR:
            span.vram.clear(span.offset + piece.offset, piece.size)
        else:
            span.view[piece.offset : piece.offset + piece.size] = data

    def _may_write(self, piece: _Piece, span: Span) -> bool:
        """Whether the IOMMU lets a store pass."""
        if not span.writable:
            memory = self._memory
            memory.checks.report(
                "dma-read-only", memory.name, asid=self.asid, page=piece.address & -PAGE, bus=span.offset
            )
        return span.writable

    def _before_store(self, piece: _Piece, span: Span, *, clears: bool) -> None:
        if not self._trusted:
            self._check(piece, span, Access.WRITE)
        elif span.vram is not None:
            self._memory.owners(span.vram).give(span.offset + piece.offset, piece.size, cleared=clears)

    def _check(self, piece: _Piece, span: Span, access: Access) -> None:
        memory, cached = self._memory, piece.cached
        page = piece.address & -(1 << cached.shift)
        if cached.overdue and piece.index in cached.overdue:
            memory.checks.report(
                "stale-translation", memory.name, asid=self.asid, page=page, access=access.name
            )
        if span.vram is None:
            return
        owners = memory.owners(span.vram)
        offset = span.offset + piece.offset
        if owners.given_since(offset, piece.size, cached.born[piece.index]):
            memory.checks.report(
                "stale-owner",
                memory.name,
                asid=self.asid,
                page=page,
                vram=span.offset,
                access=access.name,
                still_in_page_table=self._in_page_table(page) == piece.entry,
            )
        for at in range(offset & -PAGE, offset + piece.size, PAGE):
            user = User(memory.cache, self.asid, (piece.address & -PAGE) + at - (offset & -PAGE))
            if (other := owners.use(at, user)) is not None:
                memory.checks.report(
                    "two-owners",
                    memory.name,
                    vram=at,
                    asid=user.asid,
                    page=user.page,
                    other_asid=other.asid,
                    other_page=other.page,
                )
        if access is Access.WRITE and owners.is_table(offset, piece.size):
            memory.checks.report(
                "page-table-written", memory.name, asid=self.asid, page=page, vram=span.offset
            )

    def _in_page_table(self, address: int) -> int:
        """The entry that a walk from the root finds now."""
        return self._entry(self._top, address)

    def _entry(self, start: Table, address: int) -> int:
        found = page_tables.walk(self._memory.tables, start, address)
        if isinstance(found, Missing):
            return 0
        index = address >> found.shift & found.count - 1
        return self._memory.tables.qwords[(found.offset >> 3) + index]
