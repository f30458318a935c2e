# SPDX-License-Identifier: MIT
"""System calls by their numbers, with unmodified results."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_ioctl = _libc.ioctl
_ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64)
for _name in ("munmap", "madvise", "mprotect"):
    getattr(_libc, _name).argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.mremap.restype = ctypes.c_void_p
_libc.mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)
_FIXED = 0x10

munmap, madvise, mprotect, mremap = _libc.munmap, _libc.madvise, _libc.mprotect, _libc.mremap


def ioctl(fd: int, number: int, argument: int) -> int:
    """The result, or a negative errno."""
    result: int = _ioctl(fd, number, argument)
    return -ctypes.get_errno() if result < 0 else result


def call(fd: int, request: Any, argument: ctypes.Structure) -> int:
    """The same with a structure; repeated after a signal."""
    while (result := ioctl(fd, request.number, ctypes.addressof(argument))) == -4:
        pass
    return result


def map_at(address: int, size: int, protection: int = mmap.PROT_READ | mmap.PROT_WRITE) -> int:
    """Fresh anonymous memory there, whatever was there before; 0 for any place."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (_FIXED if address else 0)
    found = _mmap(address or None, size, protection, flags, -1, 0)
    if found == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    return int(found)
