# SPDX-License-Identifier: MIT
"""Read-modify-write of memory that the guest's processors change at the same time.

Python cannot do this by itself; the compiler's run-time library (libatomic.so.1) can. Without it updates by the guest
would be lost, so the emulator does not start (``check``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

_SEQ_CST = 5
_TYPES: dict[int, type[ctypes.c_uint32] | type[ctypes.c_uint64]] = {4: ctypes.c_uint32, 8: ctypes.c_uint64}


def check() -> None:
    """Raises OSError, with what to do, where the library is missing."""
    try:
        for size in _TYPES:
            _compare_exchange(size)
    except (OSError, AttributeError) as error:
        raise OSError(
            f"GPU atomics need libatomic.so.1 (Debian: apt-get install libatomic1): {error}"
        ) from error


@cache
def _compare_exchange(size: int) -> Callable[..., bool]:
    function = ctypes.CDLL("libatomic.so.1")[f"__atomic_compare_exchange_{size}"]
    word = ctypes.POINTER(_TYPES[size])
    function.argtypes = [word, word, _TYPES[size], ctypes.c_int, ctypes.c_int]
    function.restype = ctypes.c_bool
    return function


def update(view: memoryview, size: int, operation: Callable[[int], int]) -> int:
    """Replace the aligned integer of ``size`` bytes (4 or 8) at the start of ``view``; returns the old value."""
    exchange = _compare_exchange(size)
    word = _TYPES[size].from_buffer(view)
    expected = _TYPES[size](word.value)
    mask = (1 << 8 * size) - 1
    while not exchange(word, expected, operation(expected.value) & mask, _SEQ_CST, _SEQ_CST):
        pass  # `expected` now holds what is there
    return expected.value
