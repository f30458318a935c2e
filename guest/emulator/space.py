# SPDX-License-Identifier: MIT
"""A context's view of memory: PPGTT addresses, through the translation cache and the page tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpu import Access, GpuFault
from guest.emulator import page_tables
from guest.emulator.checks import Checks
from guest.emulator.memory import Bus, Span, Vram
from guest.emulator.owners import Clock, Owners
from guest.emulator.page_tables import Leaf, Missing
from guest.emulator.tlb import Translation, TranslationCache


@dataclass(frozen=True, slots=True)
class Memory:
    """What all address spaces of one GPU share."""

    name: str
    vram: Vram
    bus: Bus
    owners: Callable[[Vram], Owners]
    """The owners of any GPU's VRAM: a peer's is reached too."""
    cache: TranslationCache
    checks: Checks
    clock: Clock


class PageTableSpace:
    """The address space of one page table (`root` in VRAM) and ASID.

    ASID 0 is the driver's own migration context: what it writes changes owners. User contexts are checked.
    """

    def __init__(self, memory: Memory, asid: int, root: int) -> None:
        self.asid = asid
        self.root = root & page_tables.TABLE_ADDRESS
        self._memory = memory
        self._trusted = asid == 0

    def read(self, address: int, size: int) -> bytes:
        """The bytes at `address`."""
        translation = self._translate(address, Access.READ)
        if address + size <= translation.end:
            return self._load(translation, address, size)
        parts = []
        end = address + size
        while True:
            part = min(end, translation.end) - address
            parts.append(self._load(translation, address, part))
            address += part
            if address == end:
                return b"".join(parts)
            translation = self._translate(address, Access.READ)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes, nothing of them if any page is missing."""
        translation = self._translate(address, Access.WRITE)
        end = address + len(data)
        if end <= translation.end:
            self._store(translation, address, data)
            return
        pieces = [(translation, address)]
        while pieces[-1][0].end < end:
            at = pieces[-1][0].end
            pieces.append((self._translate(at, Access.WRITE), at))
        view = memoryview(data)
        for translation, at in pieces:
            self._store(translation, at, view[at - address : min(end, translation.end) - address])

    def atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        """Read, change and write back an integer."""
        translation = self._translate(address, Access.ATOMIC)
        old = int.from_bytes(self._load(translation, address, size), "little")
        new = operation(old) & (1 << 8 * size) - 1
        self._store(translation, address, new.to_bytes(size, "little"))
        return old

    def invalidate(self) -> None:
        """A flush in the ring with the invalidate bit: all translations of this address space."""
        self._memory.cache.invalidate(self.asid, 0, 1 << 64)

    def _translate(self, address: int, access: Access) -> Translation:
        cache, mixed = self._memory.cache.space(self.asid, self.root)
        if mixed:
            self._memory.checks.report("asid-reused", self._memory.name, asid=self.asid, root=self.root)
        translation = cache.find(address)
        if translation is None:
            translation = self._walk(address, access)
            cache.add(translation, translation.leaf.shift)
        if access is Access.READ or translation.null:
            return translation
        if not translation.writable or (access is Access.ATOMIC and not translation.atomic):
            # The answer to the fault is a new permission, so what was cached is dropped with it.
            cache.drop(translation.start, translation.end)
            raise GpuFault(address, access, 0, violation=True)
        return translation

    def _walk(self, address: int, access: Access) -> Translation:
        memory = self._memory
        found = page_tables.walk(memory.vram, self.root, address)
        if isinstance(found, Missing):
            if found.broken:
                memory.checks.report(
                    "table-outside-vram", memory.name, asid=self.asid, address=address, level=found.level
                )
            raise GpuFault(address, access, found.level)
        memory.owners(memory.vram).use_as_tables(found.tables)
        start = address & -(1 << found.shift)
        null = bool(found.entry & page_tables.NULL)
        return Translation(
            start=start,
            end=start + (1 << found.shift),
            span=None if null else self._resolve(found, address),
            null=null,
            writable=bool(found.entry & page_tables.WRITABLE),
            atomic=bool(found.entry & page_tables.ATOMIC),
            leaf=found,
            born=memory.clock.now,
        )

    def _resolve(self, leaf: Leaf, address: int) -> Span | None:
        memory = self._memory
        size = 1 << leaf.shift
        if leaf.entry & page_tables.LOCAL_MEMORY:
            if leaf.address + size <= memory.vram.size:
                view = memory.vram.view[leaf.address : leaf.address + size]
                return Span(view, memory.vram, leaf.address)
        elif (span := memory.bus.resolve(leaf.address, size)) is not None:
            return span
        memory.checks.report(
            "no-memory", memory.name, asid=self.asid, address=address, entry=leaf.entry, size=size
        )
        return None

    def _load(self, translation: Translation, address: int, size: int) -> bytes:
        span = translation.span
        if span is None:
            return bytes(size) if translation.null else b"\xff" * size
        at = address - translation.start
        if not self._trusted:
            self._check(translation, span, address, size, Access.READ)
        return bytes(span.view[at : at + size])

    def _store(self, translation: Translation, address: int, data: bytes | memoryview) -> None:
        span = translation.span
        if span is None:
            return
        at = address - translation.start
        size = len(data)
        if not self._trusted:
            self._check(translation, span, address, size, Access.WRITE)
        elif span.vram is not None:
            self._memory.owners(span.vram).give(span.offset + at, size)
        span.view[at : at + size] = data

    def _check(self, translation: Translation, span: Span, address: int, size: int, access: Access) -> None:
        memory = self._memory
        if translation.overdue:
            memory.checks.report(
                "stale-translation", memory.name, asid=self.asid, page=translation.start, access=access.name
            )
        if span.vram is None:
            return
        owners = memory.owners(span.vram)
        offset = span.offset + address - translation.start
        if owners.given_since(offset, size, translation.born):
            found = page_tables.walk(memory.vram, self.root, address)
            memory.checks.report(
                "stale-owner",
                memory.name,
                asid=self.asid,
                page=translation.start,
                vram=span.offset,
                access=access.name,
                still_in_page_table=isinstance(found, Leaf) and found.entry == translation.leaf.entry,
            )
        if access is Access.WRITE and owners.is_table(offset, size):
            memory.checks.report(
                "page-table-written", memory.name, asid=self.asid, page=translation.start, vram=span.offset
            )
