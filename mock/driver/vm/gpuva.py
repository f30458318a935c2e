# SPDX-License-Identifier: MIT
"""Split and merge: translate a request into operations on VMAs (drm_gpuvm.c)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mock.driver.lib.interval import IntervalMap
    from mock.driver.ttm.bo import Bo
    from mock.driver.vm.vma import Vma


@dataclass
class Piece:
    """A VMA to be created: [start, end) of the GPU address space at ``offset`` of ``bo``."""

    start: int
    end: int
    bo: Bo | None
    offset: int


@dataclass
class MapOp:
    piece: Piece


@dataclass
class RemapOp:
    """Replace ``vma`` by what is left of it before and after the range."""

    vma: Vma
    before: Piece | None
    after: Piece | None


@dataclass
class UnmapOp:
    vma: Vma


@dataclass
class PrefetchOp:
    vma: Vma


Op = MapOp | RemapOp | UnmapOp | PrefetchOp


def _rest(vma: Vma, start: int, end: int) -> tuple[Piece | None, Piece | None]:
    before = Piece(vma.start, start, vma.bo, vma.offset) if vma.start < start else None
    after = Piece(end, vma.end, vma.bo, vma.offset + end - vma.start) if vma.end > end else None
    return before, after


def map_ops(vmas: IntervalMap[Vma], request: Piece) -> list[Op]:
    """Unmap the range of the request, then map it (drm_gpuvm_sm_map_ops_create)."""
    return [*unmap_ops(vmas, request.start, request.end), MapOp(request)]


def unmap_ops(vmas: IntervalMap[Vma], start: int, end: int) -> list[Op]:
    """Unmap a range, splitting VMAs at its ends (drm_gpuvm_sm_unmap_ops_create)."""
    ops: list[Op] = []
    for vma in vmas.overlapping(start, end):
        before, after = _rest(vma, start, end)
        ops.append(RemapOp(vma, before, after) if before or after else UnmapOp(vma))
    return ops


def prefetch_ops(vmas: IntervalMap[Vma], start: int, end: int) -> list[Op]:
    """One operation for each VMA in the range (drm_gpuvm_prefetch_ops_create)."""
    return [PrefetchOp(vma) for vma in vmas.overlapping(start, end)]


def bo_unmap_ops(vmas: IntervalMap[Vma], bo: Bo) -> list[Op]:
    """Unmap every VMA of a BO (drm_gpuvm_bo_unmap_ops_create)."""
    return [UnmapOp(vma) for vma in vmas if vma.bo is bo]


def madvise_ops(vmas: IntervalMap[Vma], start: int, end: int) -> Iterator[Op]:
    """Split VMAs without a BO at the ends of the range; all of it stays mapped.

    drm_gpuvm_madvise_ops_create: a VMA that crosses an end is remapped and the part inside mapped again; a VMA inside
    is left alone.
    """
    for vma in list(vmas.overlapping(start, end)):
        if vma.bo is not None:
            continue
        before, after = _rest(vma, start, end)
        if before or after:
            yield RemapOp(vma, before, after)
            inside_start, inside_end = max(vma.start, start), min(vma.end, end)
            # No offset, for any kind of VMA: the kernel's map_req has only the range.
            yield MapOp(Piece(inside_start, inside_end, None, 0))
