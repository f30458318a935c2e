# SPDX-License-Identifier: MIT
"""Process memory in VRAM: allocations, and which page of which process is where (drm_pagemap.c, xe_svm.c)."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused
from mock.driver.lib.resv import Resv
from mock.driver.lib.sizes import SZ_2M
from mock.driver.pagemap.interconnect import Owner, Peer

if TYPE_CHECKING:
    from mock.driver.device import Tile
    from mock.driver.pagemap.process import Process
    from mock.driver.pagemap.residence import Stretch


_LARGE = 9
"""Order of a large page: 2 MiB."""


class Pagemap:
    """struct drm_pagemap: the VRAM of a tile as a home for pages of processes.

    It is made when first needed, and then kept: the mock has no shrinker.
    """

    def __init__(self, tile: Tile) -> None:
        self.tile = tile
        self._peer = Peer(tile.device)

    def get(self) -> Pagemap:
        """Itself, made if need be (xe_pagemap_find_or_create)."""
        self.tile.device.owners.acquire(self._peer)
        return self

    @property
    def owner(self) -> Owner | None:
        """The group of those that may map its pages in place."""
        return self._peer.owner


class DevMem:
    """One allocation in VRAM that pages of a process live in (struct drm_pagemap_devmem, and the BO around it).

    size       bytes: that of the range it was made for
    stretches  of the process, that live here; kept by its Residence
    """

    def __init__(self, pagemap: Pagemap, process: Process, size: int, timeslice: float) -> None:
        """Takes VRAM, evicting others. Raises Refused: ENOMEM when there is no room, E2BIG. `timeslice` in seconds."""
        self.pagemap = pagemap
        self.process = process
        self.size = size
        self.resv = Resv()
        self.stretches: dict[Stretch, None] = {}
        self.timeslice = timeslice
        self.timeslice_end = 0.0
        vram = pagemap.tile.vram
        assert vram is not None, "a pagemap of a tile without VRAM"
        try:
            self._allocation = vram.allocate(size, self, contiguous=True)
        except Refused as refusal:
            if refusal.code == errno.ENOSPC:
                raise Refused(errno.ENOMEM, str(refusal)) from refusal
            raise
        self._memory: memoryview | None = memoryview(bytearray(size))

    # As a backing of page table entries

    def read(self, offset: int, size: int) -> bytes:
        return self._bytes()[offset : offset + size].tobytes()

    def write(self, offset: int, data: bytes) -> None:
        self._bytes()[offset : offset + len(data)] = data

    def atomic(self, offset: int, size: int, operation: Callable[[int], int]) -> int:
        old = int.from_bytes(self.read(offset, size), "little")
        self.write(offset, operation(old).to_bytes(size, "little"))
        return old

    def _bytes(self) -> memoryview:
        if self._memory is None:
            raise OSError(errno.EFAULT, "VRAM that was given back")
        return self._memory

    def copy_out(self, offset: int, size: int) -> bytes:
        """Contents on their way to somewhere else."""
        return self.read(offset, size)

    @property
    def order(self) -> int:
        """Of its pages: all of 2 MiB are one large page (drm_pagemap_migrate_to_devmem)."""
        large = self.size == SZ_2M and self.pagemap.tile.device.has("large-device-pages")
        return _LARGE if large else 0

    # Lifetime

    @property
    def busy(self) -> bool:
        """A CPU fault has to wait: the GPU was promised the memory for a while."""
        return time.monotonic() < self.timeslice_end

    def start_timeslice(self) -> None:
        self.timeslice_end = time.monotonic() + self.timeslice

    def touch(self) -> None:
        """Used just now: the last to be evicted."""
        self._allocation.touch()

    def release(self) -> None:
        """Give the VRAM back."""
        self._allocation.free()
        self._memory = None

    def evict(self) -> None:
        """Every page back to system memory (drm_pagemap_evict_to_ram). Raises Refused(EBUSY) when some cannot go."""
        self.process.to_system(self, list(self.stretches))
        if self.stretches:
            raise Refused(errno.EBUSY, "pages that cannot leave VRAM now")
