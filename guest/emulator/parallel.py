# SPDX-License-Identifier: MIT
"""The work queue of a parallel context, whose rings the GuC moves on together.

Source: drivers/gpu/drm/xe/xe_guc_submit.c:wq_item_append, wq_noop_append (items), xe_guc_submit_types.h (their bits and
the descriptor).
"""

from __future__ import annotations

import struct

from guest.emulator.ggtt import GlobalTable

HEAD, TAIL, STATUS = 0, 4, 12
COMMAND_ERROR = 3
NOOP, MULTI_LRC = 4, 5


class WorkQueue:
    """A ring of ``size`` bytes at a GGTT address, with its descriptor."""

    def __init__(self, ggtt: GlobalTable, descriptor: int, base: int, size: int) -> None:
        self._ggtt = ggtt
        self._descriptor = descriptor
        self._base = base
        self._size = size

    def take(self, width: int) -> list[int] | None:
        """Take every item: the last tail of each of ``width`` rings (bytes). None if nothing came, or nothing sane."""
        ggtt = self._ggtt
        head, tail = struct.unpack("<II", ggtt.read(self._descriptor + HEAD, 8))
        tails: list[int] | None = None
        for _ in range(self._size // 4):
            if head == tail:
                break
            item = self._item(head)
            if item is None:
                ggtt.write_dword(self._descriptor + STATUS, COMMAND_ERROR)
                return None
            if item[0] & 0xFF == MULTI_LRC and len(item) >= width + 3:
                tails = [8 * (item[2] >> 18 & 0x7FF), *(8 * word for word in item[4 : width + 3])]
            head = (head + 4 * len(item)) % self._size
        ggtt.write_dword(self._descriptor + HEAD, head)
        return tails

    def _item(self, head: int) -> tuple[int, ...] | None:
        """The dwords of the item at an offset, None if there is none."""
        if head % 4 or head >= self._size:
            return None
        header = self._ggtt.read_dword(self._base + head)
        count = (header >> 16 & 0x7FF) + 1
        if header & 0xFF not in (NOOP, MULTI_LRC) or head + 4 * count > self._size:
            return None
        return struct.unpack(f"<{count}I", self._ggtt.read(self._base + head, 4 * count))
