# SPDX-License-Identifier: MIT
"""The global graphics translation table: the GPU addresses of the GuC's buffers, rings, contexts and fences.

Source: drivers/gpu/drm/xe/xe_ggtt.c (one 8-byte entry a 4 KiB page in the upper half of BAR 0) and
regs/xe_gtt_defs.h (entry bits). The table is memory the guest maps, so its updates are not trapped and
entries are read at each access: the GuC and its clients see a new entry as soon as the driver has written it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

from guest.emulator import atomics
from guest.emulator.memory import PAGE, Bus, Span, Vram

TABLE_OFFSET = 8 << 20
"""Offset of the table in BAR 0; its file has the same layout, so that a client can map it."""
TABLE_SIZE = 8 << 20
"""Bytes of entries: a 4 GiB address space."""
PRESENT = 1 << 0
LOCAL_MEMORY = 1 << 1
ADDRESS = 0x000F_FFFF_FFFF_F000


class GlobalTable:
    """The table itself and accesses through it.

    ``missing`` gets the address of an access whose entry is not there or leads nowhere; such reads give
    zeros and such writes are dropped, as behind a scratch page.
    """

    def __init__(self, vram: Vram, bus: Bus, missing: Callable[[int], None]) -> None:
        self.descriptor = os.memfd_create("ggtt", os.MFD_CLOEXEC)
        os.truncate(self.descriptor, TABLE_OFFSET + TABLE_SIZE)
        self.view = memoryview(mmap.mmap(self.descriptor, TABLE_SIZE, mmap.MAP_SHARED, offset=TABLE_OFFSET))
        self._entries = self.view.cast("Q")
        self._vram = vram
        self._bus = bus
        self._missing = missing

    def page(self, address: int) -> Span | None:
        """The 4 KiB page at a GGTT address."""
        index = address >> 12
        entry = self._entries[index] if index < len(self._entries) else 0
        if not entry & PRESENT:
            return None
        at = entry & ADDRESS
        if entry & LOCAL_MEMORY:
            return Span(self._vram.view[at : at + PAGE], self._vram, at) if at < self._vram.size else None
        return self._bus.resolve(at, PAGE)

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a GGTT address."""
        offset = address & PAGE - 1
        if offset + size <= PAGE:
            return self._read_page(address, offset, size)
        parts = []
        while size:
            offset = address & PAGE - 1
            part = min(size, PAGE - offset)
            parts.append(self._read_page(address, offset, part))
            address += part
            size -= part
        return b"".join(parts)

    def _read_page(self, address: int, offset: int, size: int) -> bytes:
        if (page := self.page(address)) is None:
            self._missing(address)
            return bytes(size)
        return bytes(page.view[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        """Store bytes at a GGTT address."""
        at = 0
        while at < len(data):
            offset = address & PAGE - 1
            part = min(len(data) - at, PAGE - offset)
            if (page := self.page(address)) is None:
                self._missing(address)
            else:
                page.view[offset : offset + part] = data[at : at + part]
            address += part
            at += part

    def atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        """Read, modify and write one integer of ``size`` bytes; returns the old value."""
        if (page := self.page(address)) is None:
            self._missing(address)
            return 0
        offset = address & PAGE - 1
        return atomics.update(page.view[offset : offset + size], size, operation)

    def read_dword(self, address: int) -> int:
        """One 32-bit integer."""
        return int.from_bytes(self.read(address, 4), "little")

    def write_dword(self, address: int, value: int) -> None:
        """Store one 32-bit integer."""
        self.write(address, (value & 0xFFFF_FFFF).to_bytes(4, "little"))
