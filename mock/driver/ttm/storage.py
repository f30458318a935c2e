# SPDX-License-Identifier: MIT
"""Storage of buffer objects: the memfd that a client has open as its node, at the BO's fake offset.

mmap(2) of a BO is therefore native: the fake offset is a real offset of the file.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mock.driver.lib.errors import refuse_if

if TYPE_CHECKING:
    from mock.kernel import File

# DRM_FILE_PAGE_OFFSET_START (include/drm/drm_vma_manager.h) for pages of 4 KiB.
FIRST_OFFSET = 1 << 32
# XE_PCI_BARRIER_MMAP_OFFSET (xe_bo.h).
PCI_BARRIER_OFFSET = 0x50 << 12

# DRM_FILE_PAGE_OFFSET_SIZE.
OFFSET_SPACE = ((0xFFFFFFFF >> 12) * 256) << 12

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Memory:
    """The sparse memfd of one open file, kept as long as BOs are in it: they may outlive the file."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.fd = os.dup(file.fileno())
        self._users = 1

    def get(self) -> None:
        """Take a reference for a BO."""
        self._users += 1

    def put(self) -> None:
        """The file was released, or a BO was freed: the last reference closes the memfd."""
        self._users -= 1
        if not self._users:
            os.close(self.fd)
            self.fd = -1


class Storage:
    """The bytes of one BO: [base, base + size) of a memfd."""

    def __init__(self, memory: Memory, base: int, size: int) -> None:
        self.memory = memory
        self.base = base
        self.size = size

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the BO; zero where nothing was written."""
        return os.pread(self.memory.fd, size, self.base + offset)

    def write(self, offset: int, data: bytes) -> None:
        os.pwrite(self.memory.fd, data, self.base + offset)

    def atomic(self, offset: int, size: int, operation: Callable[[int], int]) -> int:
        """Replace the integer at an offset by operation(integer); returns the old value."""
        old = int.from_bytes(self.read(offset, size), "little")
        self.write(offset, operation(old).to_bytes(size, "little"))
        return old

    def discard(self) -> None:
        """Drop the contents: they read as zero from now on. Raises OSError if the kernel refuses."""
        mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
        if _fallocate(self.memory.fd, mode, self.base, self.size):
            raise OSError(ctypes.get_errno(), "punch hole into the file of a drm_file")


class OffsetManager:
    """The fake offsets of a device (drm_vma_manager.c): unique to a BO, whichever file created it."""

    def __init__(self) -> None:
        self._next = FIRST_OFFSET
        self._free: dict[int, list[int]] = {}
        self._taken: dict[int, int] = {}

    def take(self, size: int) -> int:
        """An offset for ``size`` bytes. Raises Refused(ENOSPC) when offsets run out."""
        free = self._free.get(size)
        if free:
            base = free.pop()
        else:
            base = self._next
            refuse_if(base + size > FIRST_OFFSET + OFFSET_SPACE, errno.ENOSPC, "no fake offset left")
            self._next += size
        self._taken[base] = size
        return base

    def give(self, base: int) -> None:
        """Free an offset: the BO is gone and nothing maps it any more."""
        self._free.setdefault(self._taken.pop(base), []).append(base)

    def size_at(self, offset: int) -> int:
        """Bytes of the BO at exactly this offset; 0 if there is none."""
        return self._taken.get(offset, 0)
