# SPDX-License-Identifier: MIT
"""From a VMA to the page table entries of a tile (xe_pt.c: staging, committing and clearing of binds)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ioctl import xe
from mock.driver.lib.errors import Refused
from mock.driver.lib.sizes import SZ_2M, SZ_4K, SZ_64K
from mock.driver.ttm.bo import PL_VRAM0, Purgeable
from mock.driver.vm.pagetable import Backing, Mapping

if TYPE_CHECKING:
    from mock.driver.device import Tile
    from mock.driver.vm.vma import Vma


def vram_of(tile: Tile) -> int:
    """The memory type of a tile's VRAM."""
    return PL_VRAM0 + tile.id


def atomic_in_vram(vma: Vma) -> bool:
    """Whether GPU atomics are enabled on VRAM pages of the VMA (xe_atomic_for_vram)."""
    return vma.attr.atomic_access != xe.DRM_XE_ATOMIC_CPU


def atomic_in_system(vma: Vma) -> bool:
    """Whether GPU atomics are enabled on system pages of the VMA (xe_atomic_for_system)."""
    profile = vma.vm.device.profile
    if not profile.device_atomics_on_smem or vma.attr.atomic_access == xe.DRM_XE_ATOMIC_CPU:
        return False
    if vma.attr.atomic_access == xe.DRM_XE_ATOMIC_DEVICE:
        return True
    single = vma.bo is not None and vma.bo.single_placement
    return not profile.discrete or not vma.vm.lr_mode or single


def needs_vram_for_atomic(vma: Vma, *, atomic: bool) -> bool:
    """xe_vma_need_vram_for_atomic(): whether memory must be in VRAM for an atomic.

    Raises Refused(EACCES) if GPU atomics are not allowed.
    """
    profile = vma.vm.device.profile
    policy = vma.bo.atomic_access if vma.bo else vma.attr.atomic_access
    if not profile.discrete or not atomic:
        return False
    if policy == xe.DRM_XE_ATOMIC_DEVICE:
        return not profile.device_atomics_on_smem
    if policy == xe.DRM_XE_ATOMIC_CPU:
        raise Refused(errno.EACCES, "atomics are for the CPU only here")
    return True


def allows_atomic(vma: Vma, *, vram: bool) -> bool:
    """The atomic enable bit of an entry; hardware without that bit allows atomics everywhere."""
    if not vma.vm.device.profile.has_atomic_enable_pte_bit:
        return True
    return atomic_in_vram(vma) if vram else atomic_in_system(vma)


def write_entries(vma: Vma, tile: Tile) -> None:
    """Map a BO, userptr or NULL VMA on a tile."""
    table = vma.vm.page_tables[tile.id]
    bo = vma.bo
    backing: Backing | None = None
    offset = 0
    if bo is not None and bo.purgeable is Purgeable.PURGED:
        # Purged: the scratch page if the VM has one, otherwise nothing (xelp_pte_encode_vma).
        if not vma.vm.has_scratch:
            table.map(Mapping(vma.start, vma.end, None, 0, present=False))
            mark_present(vma, tile)
            return
    elif bo is not None:
        backing, offset = bo.storage, vma.offset
    elif vma.is_userptr:
        backing = vma.vm.userptr.backing(vma)
    atomic = allows_atomic(vma, vram=bo is not None and bo.in_vram)
    table.map(Mapping(vma.start, vma.end, backing, offset, not vma.read_only, atomic))
    mark_present(vma, tile)


def mark_present(vma: Vma, tile: Tile) -> None:
    vma.max_pte_size = max(vma.max_pte_size, _largest_entry(vma))
    vma.tile_present |= 1 << tile.id
    vma.tile_invalidated &= ~(1 << tile.id)


def write_invalid(vma: Vma, tile: Tile) -> None:
    """Write non-present entries in place of the scratch page, so that the first access faults (invalidate_on_bind)."""
    vma.vm.page_tables[tile.id].map(Mapping(vma.start, vma.end, None, 0, present=False))
    vma.tile_present |= 1 << tile.id
    vma.tile_invalidated |= 1 << tile.id


def _largest_entry(vma: Vma) -> int:
    """Bytes of the largest page table entry that maps a part of the VMA.

    VRAM is assumed to be contiguous and system memory to be single pages; no platform has VRAM for 1 GiB entries.
    """
    if vma.bo is None or not vma.bo.in_vram:
        return SZ_4K
    for size in (SZ_2M, SZ_64K):
        first = -(-vma.start // size) * size
        if first + size <= vma.end and (vma.offset - vma.start) % size == 0:
            return size
    return SZ_4K
