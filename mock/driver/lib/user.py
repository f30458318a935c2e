# SPDX-License-Identifier: MIT
"""copy_from_user and copy_to_user of whole structures and arrays."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mock.kernel import Mm

S = TypeVar("S", bound=ctypes.Structure)


def get(mm: Mm, address: int, kind: type[S]) -> S:
    """Read one structure. Raises OSError(EFAULT)."""
    return kind.from_buffer_copy(mm.read(address, ctypes.sizeof(kind)))


def get_array(mm: Mm, address: int, kind: type[S], count: int) -> list[S]:
    size = ctypes.sizeof(kind)
    data = mm.read(address, size * count) if count else b""
    return [kind.from_buffer_copy(data, index * size) for index in range(count)]


def get_ints(mm: Mm, address: int, size: int, count: int) -> list[int]:
    """Read ``count`` unsigned integers of ``size`` bytes each."""
    data = mm.read(address, size * count) if count else b""
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]


def put(mm: Mm, address: int, item: ctypes.Structure) -> None:
    """Write one structure. Raises OSError(EFAULT)."""
    mm.write(address, bytes(item))
