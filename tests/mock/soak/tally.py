# SPDX-License-Identifier: MIT
"""Numbers that the processes of a soak share."""

from __future__ import annotations

import ctypes
import mmap


class Tally(ctypes.Structure):
    """Made before the processes are forked; each field has one kind of client as its writer, in slots of its own."""

    _fields_ = (
        ("ioctls", ctypes.c_uint64 * 32),
        ("batches", ctypes.c_uint64 * 32),
        ("rounds", ctypes.c_uint64 * 32),
        ("children", ctypes.c_uint64),
        ("killed", ctypes.c_uint64),
        ("stopped", ctypes.c_uint64),
        ("hurt", ctypes.c_uint64),
        ("longest_us", ctypes.c_uint64 * 32),
        ("over", ctypes.c_uint64),
    )

    @classmethod
    def shared(cls) -> Tally:
        return cls.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))
