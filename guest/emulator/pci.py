# SPDX-License-Identifier: MIT
"""PCI configuration space of the emulated GPU: identity, BARs, MSI and PCI Express capabilities.

Source: PCI Local Bus 3.0 and PCI Express Base (register layout), drivers/gpu/drm/xe/xe_pci.c:pciidlist
(identity). No SR-IOV, MSI-X, power management or resizable BAR capability: the driver of a virtual function
needs none of them.
"""

from __future__ import annotations

import struct

VENDOR_INTEL = 0x8086
CLASS_DISPLAY_OTHER = 0x038000
"""Any display class binds xe; not VGA, so that no VGA arbiter and no firmware console takes it."""

SIZE = 4096
COMMAND = 0x04
COMMAND_WRITABLE = 0x0547  # I/O, memory, bus master, parity, SERR, INTx disable
COMMAND_MEMORY, COMMAND_MASTER = 0x2, 0x4
STATUS_CAPABILITIES = 0x10
BAR0 = 0x10
BARS = 6
BAR_64BIT = 0x4
BAR_PREFETCHABLE = 0x8
CAPABILITIES = 0x34
INTERRUPT_LINE = 0x3C
MSI = 0x40
MSI_64BIT = 0x80
EXPRESS = 0x70
EXPRESS_LENGTH = 0x3C
LINK_GEN4_X8 = 0x84


class ConfigSpace:
    """The 4 KiB of configuration space: what can be read, and which bits a write changes.

    ``device`` is its identity. ``bars`` gives the size in bytes of each 64-bit memory BAR by its number, and whether it
    is prefetchable.
    """

    def __init__(self, device: int, bars: dict[int, tuple[int, bool]]) -> None:
        self._device = device
        self._bars = bars
        self.reset()

    def reset(self) -> None:
        """Function level reset: BARs and enables back to their first values."""
        data = self._data = bytearray(SIZE)
        self._writable = bytearray(SIZE)
        struct.pack_into("<HH", data, 0x00, VENDOR_INTEL, self._device)
        struct.pack_into("<HH", data, COMMAND, 0, STATUS_CAPABILITIES)
        struct.pack_into("<I", data, 0x08, CLASS_DISPLAY_OTHER << 8)
        struct.pack_into("<HH", data, 0x2C, VENDOR_INTEL, 0x1100)
        data[CAPABILITIES] = MSI
        data[INTERRUPT_LINE + 1] = 1  # INTA
        self._allow(COMMAND, struct.pack("<H", COMMAND_WRITABLE))
        self._allow(INTERRUPT_LINE, b"\xff")
        for number, (size, prefetchable) in self._bars.items():
            at = BAR0 + 4 * number
            flags = BAR_64BIT | (BAR_PREFETCHABLE if prefetchable else 0)
            struct.pack_into("<Q", data, at, flags)
            self._allow(at, struct.pack("<Q", ~(size - 1) & (1 << 64) - 1))
        # Message signalled interrupts: one vector, 64-bit address, no masking.
        struct.pack_into("<BBH", data, MSI, 0x05, EXPRESS, MSI_64BIT)
        self._allow(MSI + 2, struct.pack("<H", 0x0001))
        self._allow(MSI + 4, struct.pack("<IIH", 0xFFFFFFFC, 0xFFFFFFFF, 0xFFFF))
        # PCI Express endpoint, version 2, with a link that is up.
        struct.pack_into("<BBHI", data, EXPRESS, 0x10, 0, 0x0002, 0x8000)
        struct.pack_into("<I", data, EXPRESS + 0x0C, LINK_GEN4_X8)
        struct.pack_into("<H", data, EXPRESS + 0x12, LINK_GEN4_X8)
        struct.pack_into("<H", data, EXPRESS + 0x30, LINK_GEN4_X8 & 0xF)
        self._allow(EXPRESS + 0x08, struct.pack("<H", 0x7FFF))
        self._allow(EXPRESS + 0x28, struct.pack("<H", 0x041F))

    def _allow(self, offset: int, mask: bytes) -> None:
        self._writable[offset : offset + len(mask)] = mask

    def read(self, offset: int, size: int) -> bytes:
        """Bytes at ``offset``; what is beyond the end reads zero."""
        return bytes(self._data[offset : offset + size]).ljust(size, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """A write by the host: read-only bits keep their values."""
        for at, byte in enumerate(data, offset):
            if at < SIZE:
                mask = self._writable[at]
                self._data[at] = self._data[at] & ~mask & 0xFF | byte & mask

    @property
    def masters_bus(self) -> bool:
        """Whether the device may reach memory."""
        return bool(self._data[COMMAND] & COMMAND_MASTER)

    def bar_window(self, number: int) -> tuple[int, int] | None:
        """Location of a BAR (bus address, size in bytes), None if there is none, while memory decoding is off, or if
        it is not set.
        """
        if number not in self._bars:
            return None
        size, _ = self._bars[number]
        (command,) = struct.unpack_from("<H", self._data, COMMAND)
        (value,) = struct.unpack_from("<Q", self._data, BAR0 + 4 * number)
        address = value & ~0xF
        if not command & COMMAND_MEMORY or not address or address == ~(size - 1) & (1 << 64) - 1:
            return None
        return address, size
