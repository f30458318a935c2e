# SPDX-License-Identifier: MIT
"""Process memory in VRAM: allocations, and the location of each page (drm_pagemap.c, xe_svm.c)."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused
from mock.driver.lib.resv import Resv
from mock.driver.lib.sizes import SZ_2M
from mock.driver.pagemap.interconnect import Owner, Peer

if TYPE_CHECKING:
    from mock.driver.lib.fault_inject import FaultInjection
    from mock.driver.pagemap.interconnect import Owners
    from mock.driver.stats import GtStats
    from mock.driver.ttm.vram import VramManager

_LARGE = 9
"""Order of a large page: 2 MiB."""


class Pagemap:
    """struct drm_pagemap: the VRAM of a tile, for pages of processes.

    Created on first use, and then kept: the mock has no shrinker.

    stats        statistics of the GT that copies
    faults       fault injection
    large_pages  an allocation of 2 MiB is one page
    """

    def __init__(
        self,
        vram: VramManager,
        stats: GtStats,
        device: int,
        owners: Owners,
        faults: FaultInjection,
        *,
        large_pages: bool,
    ) -> None:
        self.vram = vram
        self.stats = stats
        self.faults = faults
        self.large_pages = large_pages
        self._owners = owners
        self._peer = Peer(device)

    def get(self) -> Pagemap:
        """Itself, created if necessary (xe_pagemap_find_or_create)."""
        self._owners.acquire(self._peer)
        return self

    @property
    def device(self) -> int:
        """Number of its GPU."""
        return self._peer.device

    @property
    def owner(self) -> Owner | None:
        """The group of peers that may map its pages in place."""
        return self._peer.owner


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """[start, end) of the process, whole pages, is at ``offset`` of an allocation."""

    start: int
    end: int
    devmem: DevMem
    offset: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start

    def clipped(self, start: int, end: int) -> Stretch:
        """The part in [start, end)."""
        if start <= self.start and self.end <= end:
            return self
        low, high = max(start, self.start), min(end, self.end)
        return replace(self, start=low, end=high, offset=self.offset + low - self.start)

    def moved(self, distance: int) -> Stretch:
        """The same memory at another address."""
        return replace(self, start=self.start + distance, end=self.end + distance)


ToSystem = Callable[["DevMem", list[Stretch]], None]


class DevMem:
    """One allocation in VRAM for pages of a process (struct drm_pagemap_devmem, and the BO around it).

    size       bytes of the range for which it was allocated
    stretches  parts of the process that are here; maintained by its Residence
    """

    def __init__(self, pagemap: Pagemap, to_system: ToSystem, size: int, timeslice: float) -> None:
        """Allocates VRAM, evicting others if necessary. Raises Refused: ENOMEM if VRAM is exhausted, E2BIG.

        ``to_system`` moves the contents out of VRAM; ``timeslice`` in seconds.
        """
        self.pagemap = pagemap
        self.size = size
        self._to_system = to_system
        self.resv = Resv()
        self.stretches: dict[Stretch, None] = {}
        self.timeslice = timeslice
        self.timeslice_end = 0.0
        try:
            self._allocation = pagemap.vram.allocate(size, self, contiguous=True)
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
            raise OSError(errno.EFAULT, "VRAM was freed")
        return self._memory

    def copy_out(self, offset: int, size: int) -> bytes:
        """Read contents in order to move them."""
        return self.read(offset, size)

    @property
    def order(self) -> int:
        """Order of its pages: a full 2 MiB is one large page (drm_pagemap_migrate_to_devmem)."""
        large = self.size == SZ_2M and self.pagemap.large_pages
        return _LARGE if large else 0

    # Lifetime

    @property
    def busy(self) -> bool:
        """Whether a CPU fault has to wait, because the timeslice of the GPU has not expired."""
        return time.monotonic() < self.timeslice_end

    def start_timeslice(self) -> None:
        self.timeslice_end = time.monotonic() + self.timeslice

    def touch(self) -> None:
        """Move to the end of the eviction order."""
        self._allocation.touch()

    def release(self) -> None:
        """Free the VRAM."""
        self._allocation.free()
        self._memory = None

    def evict(self) -> None:
        """Move every page to system memory (drm_pagemap_evict_to_ram). Raises Refused(EBUSY) if some cannot move."""
        self._to_system(self, list(self.stretches))
        if self.stretches:
            raise Refused(errno.EBUSY, "some pages cannot leave VRAM now")
