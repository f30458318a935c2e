# SPDX-License-Identifier: MIT
"""Read-modify-write of memory that the guest's processors change at the same time.

Python cannot do this by itself; the compiler's run-time library (libatomic.so.1) can. Without it an update is a load
and a store, and an update of the guest in between is lost.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

_SEQ_CST = 5
_TYPES: dict[int, type[ctypes.c_uint32] | type[ctypes.c_uint64]] = {4: ctypes.c_uint32, 8: ctypes.c_uint64}


@cache
def _compare_exchange(size: int) -> Callable[..., bool] | None:
    try:
        function = ctypes.CDLL("libatomic.so.1")[f"__atomic_compare_exchange_{size}"]
    except (OSError, AttributeError):
        return None
    word = ctypes.POINTER(_TYPES[size])
    function.argtypes = [word, word, _TYPES[size], ctypes.c_int, ctypes.c_int]
    function.restype = ctypes.c_bool
    return function


def update(view: memoryview, size: int, operation: Callable[[int], int]) -> int:
    """Replace the integer of `size` bytes (4 or 8) at the start of `view`, which is aligned; gives what it was."""
    exchange = _compare_exchange(size)
    word = _TYPES[size].from_buffer(view)
    expected = _TYPES[size](word.value)
    mask = (1 << 8 * size) - 1
    if exchange is None:
        word.value = operation(expected.value) & mask
        return expected.value
    while not exchange(word, expected, operation(expected.value) & mask, _SEQ_CST, _SEQ_CST):
        pass  # `expected` now holds what is there
    return expected.value
