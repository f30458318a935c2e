# SPDX-License-Identifier: MIT
"""GPU addresses, and the interface of memory behind them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

PAGE_SIZE = 4096

_LOW_48 = (1 << 48) - 1
_LOW_57 = (1 << 57) - 1


class Access(enum.Enum):
    """Kind of a GPU memory access, with the numbers of the page fault descriptor (xe_guc_fwif.h
    PFD_ACCESS_TYPE).
    """

    READ = 0
    WRITE = 1
    ATOMIC = 2


class GpuFault(Exception):  # noqa: N818 - a fault is an event that is served, not an error
    """The page at ``address`` does not allow this access.

    ``address`` is the first byte that cannot be accessed; ``level`` the page table level where the walk ended (0:
    PTE, 1: PDE, ...). ``violation`` is False for a page that is not present, True for one that is present but
    does not allow the access (a write to a read-only page, an atomic where atomics are not enabled).
    """

    def __init__(self, address: int, access: Access, level: int = 0, violation: bool = False) -> None:
        super().__init__(address, access, level, violation)
        self.address = address
        self.access = access
        self.level = level
        self.violation = violation

    def __str__(self) -> str:
        what = "not allowed" if self.violation else "not present"
        return f"{self.access.name.lower()} of {self.address:#x}: {what} (level {self.level})"


class AddressSpace(Protocol):
    """A GPU's view of memory: a PPGTT (one VM) or the GGTT.

    Addresses are those of ``translated()``: up to 57 bits; an address that nothing maps is a GpuFault, whatever its
    value. Accesses may cross pages and be large. Each raises GpuFault *before* it has stored anything, and names the
    first byte that cannot be accessed: the Execution then stores what comes before it, and continues from there when it
    runs again. So nothing is stored twice, and every served fault is progress.
    """

    def read(self, address: int, size: int) -> bytes:
        """The ``size`` bytes at ``address``."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Store ``data`` at ``address``."""
        ...

    def atomic(self, address: int, size: int, operation: Callable[[int], int]) -> int:
        """Replace the little-endian integer of ``size`` bytes (4 or 8) by ``operation(it)``, and return the old one.

        ``address`` is a multiple of ``size``. ``operation`` has no side effects.
        """
        ...


def translated(address: int) -> int:
    """The address that the page tables are walked for, from the 64 bits of a command.

    Commands carry canonical addresses of 48 bits (xe_device.h:xe_device_canonicalize_addr); the sign
    extension is dropped. A non-canonical address stays above 2^48, where no VM maps anything: it faults and
    aliases nothing.
    """
    top = address >> 47
    if top in (0, 0x1FFFF):
        return address & _LOW_48
    return address & _LOW_57


def canonical(address: int) -> int:
    """``address`` (48 bits) with bit 47 extended to bit 63, as commands carry it."""
    if address >> 47 == 1:
        return address | 0xFFFF_0000_0000_0000
    return address
