# SPDX-License-Identifier: MIT
"""System memory of a client behind GPU mappings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.kernel import Mm


@dataclass(frozen=True)
class CpuPages:
    """Pages of a client's address space from ``address`` on."""

    mm: Mm
    address: int

    def read(self, offset: int, size: int) -> bytes:
        return self.mm.gpu_read(self.address + offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self.mm.gpu_write(self.address + offset, data)

    def atomic(self, offset: int, size: int, operation: Callable[[int], int]) -> int:
        return self.mm.gpu_atomic(self.address + offset, size, operation)
