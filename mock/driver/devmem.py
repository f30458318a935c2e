# SPDX-License-Identifier: MIT
"""Process memory in VRAM: allocations, and which page of which process is where (drm_pagemap.c, xe_svm.c)."""

from __future__ import annotations

import errno
import mmap
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from mock.driver.errors import Refused
from mock.driver.platform import SZ_4K
from mock.driver.resv import Resv

if TYPE_CHECKING:
    from mock.driver.device import Device, Tile
    from mock.driver.process import Process


class Pagemap:
    """struct drm_pagemap: the VRAM of a tile as a home for pages of processes.

    owner  devices that reach each other's VRAM over a fast link have the same one (xe_pagemap_owner_list)
    """

    def __init__(self, tile: Tile) -> None:
        self.tile = tile

    @property
    def owner(self) -> object:
        return owner(self.tile.device)


def owner(device: Device) -> object:
    """Who may map device pages of `device` (drm_pagemap_acquire_owner, xe_has_interconnect)."""
    return device.peers[0] if device.linked else device


class DevMem:
    """One allocation in VRAM that pages of a process live in (struct drm_pagemap_devmem, and the BO around it).

    size       bytes: that of the range it was made for
    addresses  index of a page in it -> its address in the process, for the pages that still are there
    """

    def __init__(self, pagemap: Pagemap, process: Process, size: int, timeslice: float) -> None:
        """Takes VRAM, evicting others. Raises Refused: ENOMEM when there is no room, E2BIG. `timeslice` in seconds."""
        self.pagemap = pagemap
        self.process = process
        self.size = size
        self.resv = Resv()
        self.addresses: dict[int, int] = {}
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
        self._memory: mmap.mmap | None = mmap.mmap(-1, size)

    # As a backing of page table entries

    def read(self, offset: int, size: int) -> bytes:
        return self._bytes()[offset : offset + size]

    def write(self, offset: int, data: bytes) -> None:
        self._bytes()[offset : offset + len(data)] = data

    def atomic(self, offset: int, size: int, operation: Callable[[int], int]) -> int:
        old = int.from_bytes(self.read(offset, size), "little")
        self.write(offset, operation(old).to_bytes(size, "little"))
        return old

    def _bytes(self) -> mmap.mmap:
        if self._memory is None:
            raise OSError(errno.EFAULT, "VRAM that was given back")
        return self._memory

    def page(self, index: int) -> bytes:
        """Contents of one page."""
        return self.read(index * SZ_4K, SZ_4K)

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

    def attach(self, index: int, address: int) -> None:
        """A page of the process lives here now."""
        self.addresses[index] = address
        self.process.pages[address] = (self, index)

    def detach(self, index: int) -> None:
        """A page moved away or was freed; the last one gives the VRAM back."""
        del self.process.pages[self.addresses.pop(index)]
        if not self.addresses:
            self.release()

    def release(self) -> None:
        """Give the VRAM back."""
        self._allocation.free()
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def evict(self) -> None:
        """Every page back to system memory (drm_pagemap_evict_to_ram). Raises Refused(EBUSY) when some cannot go."""
        self.process.to_system(self, list(self.addresses))
        if self.addresses:
            raise Refused(errno.EBUSY, "pages that cannot leave VRAM now")


def runs(numbers: Iterable[int], step: int = 1) -> Iterator[tuple[int, int]]:
    """Ascending numbers as (first, count) of stretches without a gap."""
    first = count = 0
    for number in numbers:
        if count and number == first + count * step:
            count += 1
        else:
            if count:
                yield first, count
            first, count = number, 1
    if count:
        yield first, count
