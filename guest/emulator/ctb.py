# SPDX-License-Identifier: MIT
"""The command transport: two ring buffers in system memory between the driver and the GuC.

Source: drivers/gpu/drm/xe/abi/guc_communication_ctb_abi.h (descriptors and headers), xe_guc_ct.c:h2g_write,
g2h_read (wrapping, order of stores, accounting of space).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence

from guest.emulator.checks import Checks
from guest.emulator.ggtt import GlobalTable

HEAD, TAIL, STATUS = 0, 4, 8
STATUS_OVERFLOW, STATUS_UNDERFLOW = 1, 2
MAX_LENGTH = 0xFF


class Transport:
    """Both directions, by the GGTT addresses that the driver registered: buffer, descriptor, size in bytes of
    each.
    """

    def __init__(self, name: str, ggtt: GlobalTable, checks: Checks, notify: Callable[[], None]) -> None:
        self.h2g = (0, 0, 0)
        self.g2h = (0, 0, 0)
        self.enabled = False
        self._name = name
        self._ggtt = ggtt
        self._checks = checks
        self._notify = notify
        self._waiting: deque[bytes] = deque()

    def enable(self, on: bool) -> None:
        """CONTROL_CTB; disabling the transport drops its messages."""
        self.enabled = on
        self._waiting.clear()

    def receive(self) -> tuple[int, list[int]] | None:
        """The next message of the driver, None without one: its fence and the dwords of its HXG part."""
        if not self.enabled:
            return None
        buffer, descriptor, size = self.h2g
        ggtt = self._ggtt
        words = size // 4
        head, tail = struct.unpack("<II", ggtt.read(descriptor + HEAD, 8))
        if head >= words or tail >= words:
            self._broken(descriptor, "h2g", head, tail)
            return None
        while head != tail:
            header = ggtt.read_dword(buffer + 4 * head)
            if not header:  # the driver filled the end of the buffer and continued at its start
                head = (head + 1) % words
                continue
            length = header & MAX_LENGTH
            if head + 1 + length > words:
                self._broken(descriptor, "h2g", head, tail)
                return None
            payload = ggtt.read(buffer + 4 * (head + 1), 4 * length)
            ggtt.write_dword(descriptor + HEAD, (head + 1 + length) % words)
            return header >> 16, list(struct.unpack(f"<{length}I", payload))
        ggtt.write_dword(descriptor + HEAD, head)
        return None

    def send(self, fence: int, message: Sequence[int]) -> None:
        """Send the driver a message, now or as soon as its buffer has room."""
        if not self.enabled:
            return
        self._waiting.append(struct.pack(f"<{len(message) + 1}I", fence << 16 | len(message), *message))
        self.flush()

    def flush(self) -> None:
        """Write the pending messages that fit."""
        if not self._waiting or not self.enabled:
            return
        buffer, descriptor, size = self.g2h
        ggtt = self._ggtt
        head, tail = struct.unpack("<II", ggtt.read(descriptor + HEAD, 8))
        words = size // 4
        if head >= words or tail >= words:
            self._broken(descriptor, "g2h", head, tail)
            self._waiting.clear()
            return
        first = tail
        while self._waiting:
            message = self._waiting[0]
            if (head - tail - 1) % words < len(message) // 4:
                break
            to_end = 4 * (words - tail)
            ggtt.write(buffer + 4 * tail, message[:to_end])
            if len(message) > to_end:
                ggtt.write(buffer, message[to_end:])
            tail = (tail + len(message) // 4) % words
            self._waiting.popleft()
        if tail != first:
            ggtt.write_dword(descriptor + TAIL, tail)
            self._notify()

    def _broken(self, descriptor: int, direction: str, head: int, tail: int) -> None:
        self._checks.report("ctb", self._name, direction=direction, head=head, tail=tail)
        self._ggtt.write_dword(descriptor + STATUS, STATUS_OVERFLOW)
        self.enabled = False
