# SPDX-License-Identifier: MIT
"""VMAs: bound ranges of a GPU address space (xe_vm_types.h: struct xe_vma)."""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from ioctl import xe
from mock.driver.lib.errors import refuse_if
from mock.driver.ttm.bo import Purgeable

if TYPE_CHECKING:
    from mock.driver.lib.ufence import UserFence
    from mock.driver.pagemap.devmem import Pagemap
    from mock.driver.ttm.bo import Bo
    from mock.driver.vm.gpuva import Piece
    from mock.driver.vm.vm import Vm


class VmaKind(Enum):
    BO = "bo"
    USERPTR = "userptr"
    NULL = "null"
    CPU_ADDR_MIRROR = "cpu-addr-mirror"


@dataclass
class MemAttr:
    """struct xe_vma_mem_attr. ``pagemap`` is the preferred device memory if it was chosen by file descriptor."""

    default_pat_index: int
    pat_index: int
    devmem_fd: int = xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE
    migration_policy: int = xe.DRM_XE_MIGRATE_ALL_PAGES
    pagemap: Pagemap | None = None
    atomic_access: int = xe.DRM_XE_ATOMIC_UNDEFINED
    purgeable: Purgeable = Purgeable.WILLNEED

    def copy(self) -> MemAttr:
        return replace(self)


@dataclass(eq=False)
class Vma:
    """[start, end) of the GPU address space.

    offset         bytes into the BO, or the CPU address of a userptr, or 0
    tile_present   mask of tiles whose page tables were written for this VMA
    tile_invalidated  mask of tiles whose entries were zapped since
    autoreset      DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET
    """

    vm: Vm
    kind: VmaKind
    start: int
    end: int
    offset: int
    attr: MemAttr
    bo: Bo | None = None
    read_only: bool = False
    dumpable: bool = False
    autoreset: bool = False
    tile_present: int = 0
    tile_invalidated: int = 0
    max_pte_size: int = 0
    """Bytes of the largest entry it was ever mapped with; 0 if it never was."""
    destroyed: bool = False
    skip_invalidation: bool = False
    ufence: UserFence | None = None

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def is_mirror(self) -> bool:
        return self.kind is VmaKind.CPU_ADDR_MIRROR

    @property
    def is_userptr(self) -> bool:
        return self.kind is VmaKind.USERPTR

    @property
    def is_null(self) -> bool:
        return self.kind is VmaKind.NULL

    @classmethod
    def create(
        cls,
        vm: Vm,
        piece: Piece,
        kind: VmaKind,
        attr: MemAttr,
        *,
        read_only: bool,
        dumpable: bool,
        autoreset: bool,
    ) -> Vma:
        """A VMA that holds its BO, or watches its CPU range (xe_vma_create). Not yet part of the VM.

        Raises Refused: EBUSY for a BO marked DONTNEED, EINVAL for a purged one.
        """
        bo = piece.bo
        if bo is not None and attr.purgeable is Purgeable.WILLNEED:
            refuse_if(bo.purgeable is Purgeable.DONTNEED, errno.EBUSY, "object is marked as not needed")
            refuse_if(bo.purgeable is Purgeable.PURGED, errno.EINVAL, "object is purged")
        vma = cls(
            vm, kind, piece.start, piece.end, piece.offset, attr.copy(), bo, read_only, dumpable, autoreset
        )
        if bo is not None:
            vm.link(vma, bo.get())
            if attr.purgeable is Purgeable.WILLNEED:
                bo.willneed_get()
        elif kind is VmaKind.USERPTR:
            vm.userptr.setup(vma)
        return vma

    def unlink(self) -> None:
        """Unlink it from its BO or CPU range (first half of xe_vma_destroy)."""
        if self.bo is not None:
            self.vm.unlink(self, self.bo)
            if self.attr.purgeable is Purgeable.WILLNEED:
                self.bo.willneed_put()
        elif self.is_userptr:
            self.vm.userptr.remove(self)
        self.vm.rebind.pop(self, None)

    def release(self) -> None:
        """Drop the last reference to the BO once the unbind is done (xe_vma_destroy_late)."""
        if self.bo is not None:
            self.bo.put()

    def has_default_attributes(self) -> bool:
        """xe_vma_has_default_mem_attrs()."""
        attr = self.attr
        return (
            attr.atomic_access == xe.DRM_XE_ATOMIC_UNDEFINED
            and attr.pat_index == attr.default_pat_index
            and attr.devmem_fd == xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE
            and attr.migration_policy == xe.DRM_XE_MIGRATE_ALL_PAGES
        )

    def valid_on(self, tile: int) -> bool:
        """Whether the tile's page tables map this VMA now (xe_vm_has_valid_gpu_mapping)."""
        return bool(self.tile_present & ~self.tile_invalidated & 1 << tile)
