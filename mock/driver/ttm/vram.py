# SPDX-License-Identifier: MIT
"""VRAM: a buddy allocator for each tile, and eviction in LRU order (drm_buddy.c, ttm_resource.c)."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mock.driver.lib.errors import Refused, refuse_if

if TYPE_CHECKING:
    from mock.driver.lib.resv import Resv


class Buddy:
    """Blocks of 2^n pages in [0, size). Block addresses are bytes from the start of the region."""

    def __init__(self, size: int, page: int) -> None:
        self.size = size
        self.page = page
        self._free: dict[int, set[int]] = {}
        self.available = size
        offset = 0
        while offset < size:
            block = page
            while offset % (block * 2) == 0 and offset + block * 2 <= size:
                block *= 2
            self._free.setdefault(block, set()).add(offset)
            offset += block

    def _take(self, block: int) -> int | None:
        """A free block of exactly this size, splitting a larger one; lowest address first."""
        sizes = sorted(size for size, blocks in self._free.items() if blocks and size >= block)
        if not sizes:
            return None
        size = sizes[0]
        offset = min(self._free[size])
        self._free[size].remove(offset)
        while size > block:
            size //= 2
            self._free.setdefault(size, set()).add(offset + size)
        self.available -= block
        return offset

    def allocate(self, size: int, *, contiguous: bool) -> list[tuple[int, int]] | None:
        """Blocks (offset, size) that together hold ``size`` bytes, or None without room for them."""
        size = -(-size // self.page) * self.page
        if size > self.available:
            return None
        taken: list[tuple[int, int]] = []
        left = size
        while left:
            block = 1 << (left.bit_length() - 1)
            if contiguous:
                block = 1 << (left - 1).bit_length()
            offset = self._take(block)
            while offset is None and block > self.page and not contiguous:
                block //= 2
                offset = self._take(block)
            if offset is None:
                self.free(taken)
                return None
            taken.append((offset, block))
            left -= min(block, left)
        return taken

    def free(self, blocks: list[tuple[int, int]]) -> None:
        """Give blocks back, merging buddies."""
        for start, length in blocks:
            offset, size = start, length
            self.available += size
            while size * 2 <= self.size:
                buddy = offset ^ size
                peers = self._free.get(size, set())
                if buddy not in peers:
                    break
                peers.remove(buddy)
                offset, size = min(offset, buddy), size * 2
            self._free.setdefault(size, set()).add(offset)


class Evictable(Protocol):
    """Owner of VRAM: a BO, or the device memory behind SVM ranges."""

    @property
    def resv(self) -> Resv: ...

    def evict(self) -> None:
        """Move the contents out and free the VRAM. Raises OSError(EBUSY) if a race makes that impossible now."""


@dataclass(eq=False)
class Allocation:
    """VRAM held by an owner."""

    manager: VramManager
    owner: Evictable
    size: int
    blocks: list[tuple[int, int]] = field(repr=False)

    def free(self) -> None:
        self.manager.release(self)

    def touch(self) -> None:
        """Move to the end of the eviction order (ttm_resource_move_to_lru_tail)."""
        self.manager.touch(self)


class VramManager:
    """The VRAM of one tile (xe_ttm_vram_mgr.c)."""

    def __init__(self, size: int, page: int, collect: Callable[[], None]) -> None:
        """``size`` bytes in pages of ``page``; ``collect`` frees BOs that nothing holds any more."""
        self.size = size
        self.buddy = Buddy(size, page)
        self._collect = collect
        self._lru: OrderedDict[Allocation, None] = OrderedDict()

    @property
    def used(self) -> int:
        return self.size - self.buddy.available

    def allocate(
        self,
        size: int,
        owner: Evictable,
        *,
        contiguous: bool = False,
        evict: bool = True,
        keep: Collection[Resv] = (),
    ) -> Allocation:
        """Allocate VRAM for an owner; evicts the least recently used owners until there is room.

        evict  False: take only what is free.
        keep   owners with one of these reservation objects are not evicted (ttm: no allow_res_evict).
        Raises Refused: E2BIG if the region is smaller, ENOSPC if eviction does not make enough room.
        """
        refuse_if(size > self.size, errno.E2BIG, "larger than VRAM")
        blocks = self.buddy.allocate(size, contiguous=contiguous)
        if blocks is None and evict:
            blocks = self._make_room(size, contiguous, keep)
        if blocks is None:
            raise Refused(errno.ENOSPC, f"no room for {size} bytes in VRAM")
        allocation = Allocation(self, owner, size, blocks)
        self._lru[allocation] = None
        return allocation

    def _make_room(self, size: int, contiguous: bool, keep: Collection[Resv]) -> list[tuple[int, int]] | None:
        self._collect()
        blocks = self.buddy.allocate(size, contiguous=contiguous)
        if blocks is not None:
            return blocks
        for victim in list(self._lru):
            if victim not in self._lru or victim.owner.resv in keep:
                continue
            try:
                victim.owner.evict()
            except OSError:
                continue
            blocks = self.buddy.allocate(size, contiguous=contiguous)
            if blocks is not None:
                return blocks
        return None

    def release(self, allocation: Allocation) -> None:
        if self._lru.pop(allocation, self) is not self:
            self.buddy.free(allocation.blocks)

    def touch(self, allocation: Allocation) -> None:
        if allocation in self._lru:
            self._lru.move_to_end(allocation)
