# SPDX-License-Identifier: MIT
"""Steps of a change to a VM's VMAs (xe_vm_types.h: struct xe_vma_op)."""

from __future__ import annotations

from dataclasses import dataclass

from mock.driver.vm import gpuva
from mock.driver.vm.vma import Vma, VmaKind


@dataclass
class MapRequest:
    """Arguments of a MAP operation besides the range."""

    kind: VmaKind
    pat_index: int = 0
    read_only: bool = False
    dumpable: bool = False
    autoreset: bool = False
    immediate: bool = False
    invalidate_on_bind: bool = False


@dataclass
class Map:
    piece: gpuva.Piece
    request: MapRequest
    vma: Vma | None = None


@dataclass
class Remap:
    """``skip_*``: that part keeps its page table entries."""

    old: Vma
    before_piece: gpuva.Piece | None
    after_piece: gpuva.Piece | None
    before: Vma | None = None
    after: Vma | None = None
    skip_before: bool = False
    skip_after: bool = False
    committed: bool = False

    @property
    def hole(self) -> tuple[int, int]:
        """The part of the old VMA that is unmapped."""
        start = self.before_piece.end if self.before_piece else self.old.start
        end = self.after_piece.start if self.after_piece else self.old.end
        return start, end


@dataclass
class Unmap:
    vma: Vma
    committed: bool = False


@dataclass
class Prefetch:
    vma: Vma
    start: int
    end: int
    region: int = 0
    chosen: bool = False
    """Whether the region was set; the driver leaves it at 0 after the first VMA that is not a mirror."""


Step = Map | Remap | Unmap | Prefetch
