# SPDX-License-Identifier: MIT
"""Buffer objects: placement, residency, validation, eviction (xe_bo.c and the TTM below it)."""

from __future__ import annotations

import errno
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from ioctl import xe
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.resv import Resv
from mock.driver.ttm.storage import Memory, Storage

if TYPE_CHECKING:
    from mock.driver.ttm.device import TtmDevice
    from mock.driver.ttm.vram import Allocation
    from mock.kernel import File

Keep = Collection[Resv]

# Memory types (xe_bo.h): the GPU cannot access a BO in PL_SYSTEM.
PL_SYSTEM = 0
PL_TT = 1
PL_VRAM0 = 2


class Purgeable(Enum):
    """XE_MADV_PURGEABLE_* (xe_bo.h)."""

    WILLNEED = 0
    DONTNEED = 1
    PURGED = 2


def is_vram(mem_type: int) -> bool:
    return mem_type >= PL_VRAM0


@dataclass(frozen=True)
class Place:
    """One allowed place. A fallback place is used only if the others are full even after eviction."""

    mem_type: int
    fallback: bool = False


class User(Protocol):
    """A VM that maps a BO (struct drm_gpuvm_bo)."""

    def bo_moved(self, bo: Bo) -> None:
        """The pages of the BO are about to move."""


class Bo:
    """One buffer object.

    ttm          memory manager of its GPU
    size         bytes
    private      only one VM may bind it, and shares its reservation object
    cpu_caching  DRM_XE_GEM_CPU_CACHING_*, 0 for an imported one
    storage      its bytes; an imported BO shares that of its exporter
    import_source  the other device's BO from which this one was imported; such a BO never migrates
    atomic_access  DRM_XE_ATOMIC_* set by madvise
    """

    def __init__(
        self,
        ttm: TtmDevice,
        size: int,
        placements: list[Place],
        storage: Storage,
        *,
        resv: Resv | None = None,
        private: bool = False,
        cpu_caching: int = 0,
        flags: int = 0,
        internal_64k: bool = False,
        import_source: Bo | None = None,
    ) -> None:
        self.ttm = ttm
        self.size = size
        self.placements = placements
        self.storage = storage
        self.private = private
        self.resv = resv or Resv()
        self.cpu_caching = cpu_caching
        self.flags = flags
        self.internal_64k = internal_64k
        self.import_source = import_source
        self.imported = import_source is not None
        self.dma_buf: File | None = None
        self.mem_type = PL_SYSTEM
        self.allocation: Allocation | None = None
        self.users: dict[User, None] = {}
        self.purgeable = Purgeable.WILLNEED
        self.atomic_access = xe.DRM_XE_ATOMIC_UNDEFINED
        self.willneed_count = 0
        self.references = 0

    @property
    def in_vram(self) -> bool:
        return is_vram(self.mem_type)

    @property
    def single_placement(self) -> bool:
        return len(self.placements) == 1

    # Residency

    def can_migrate(self, mem_type: int) -> bool:
        """xe_bo_can_migrate()."""
        return not self.imported and any(place.mem_type == mem_type for place in self.placements)

    def validate(self, *, keep: Keep = ()) -> None:
        """Move the BO to one of its places (ttm_bo_validate).

        Tried in order: free memory of the desired places, eviction of others, fallback places.
        keep: BOs with one of these reservation objects are not evicted. Raises Refused: ENOMEM if no place has
        room, E2BIG if VRAM is too small for the BO.
        """
        if self._compatible(fallbacks=False):
            self.touch()
            return
        if self._allocate(evict=False, fallbacks=False, keep=keep):
            return
        if self._compatible(fallbacks=True):
            self.touch()
            return
        if not self._allocate(evict=True, fallbacks=True, keep=keep):
            # ttm_bo_validate turns ENOSPC into ENOMEM for user space's sake.
            raise Refused(errno.ENOMEM, f"no place has room for {self.size} bytes")

    def _compatible(self, *, fallbacks: bool) -> bool:
        return any(
            place.mem_type == self.mem_type and (fallbacks or not place.fallback) for place in self.placements
        )

    def _allocate(self, *, evict: bool, fallbacks: bool, keep: Keep) -> bool:
        for place in self.placements:
            if place.fallback and not fallbacks:
                continue
            try:
                self._move(place.mem_type, evict=evict, keep=keep)
            except Refused as refusal:
                if refusal.code != errno.ENOSPC:
                    raise
                continue
            return True
        return False

    def migrate(self, mem_type: int) -> None:
        """Move to one memory type (xe_bo_migrate). Raises Refused: EINVAL if it is not one of its places, ENOMEM."""
        if self.mem_type == mem_type:
            return
        refuse_if(not self.can_migrate(mem_type), errno.EINVAL, "not one of the object's places")
        try:
            self._move(mem_type, evict=True, keep=())
        except Refused as refusal:
            if refusal.code == errno.ENOSPC:
                raise Refused(errno.ENOMEM, str(refusal)) from refusal
            raise

    def _move(self, mem_type: int, *, evict: bool, keep: Keep) -> None:
        """Change the memory type. The bytes are not copied: only accounting and mappings change."""
        allocation = None
        if mem_type == PL_TT and self.ttm.system_used + self.size > self.ttm.system_size:
            raise Refused(errno.ENOSPC, "system memory of the device is used up")
        if is_vram(mem_type):
            vram = self.ttm.vram[mem_type - PL_VRAM0]
            assert vram is not None, "placement names VRAM the device does not have"
            allocation = vram.allocate(self.size, self, evict=evict, keep=keep)
        if self.mem_type != PL_SYSTEM:
            self.move_notify()
        self._set_residency(mem_type, allocation)

    def _set_residency(self, mem_type: int, allocation: Allocation | None) -> None:
        if self.mem_type == PL_TT:
            self.ttm.system_used -= self.size
        if self.allocation is not None:
            self.allocation.free()
        self.mem_type = mem_type
        self.allocation = allocation
        if mem_type == PL_TT:
            self.ttm.system_used += self.size

    def touch(self) -> None:
        """Move to the end of the eviction order."""
        if self.allocation is not None:
            self.allocation.touch()

    def evict(self) -> None:
        """Evict from VRAM (xe_evict_flags, xe_bo_move): to system memory, or purge what is marked DONTNEED."""
        if self.purgeable is Purgeable.DONTNEED:
            self.purge()
        else:
            self.move_notify()
            self._set_residency(PL_TT, None)

    def purge(self) -> None:
        """Drop the backing store of a BO marked DONTNEED (xe_ttm_bo_purge)."""
        self.move_notify()
        self._set_residency(PL_SYSTEM, None)
        self.purgeable = Purgeable.PURGED
        self.storage.discard()

    def willneed_get(self) -> None:
        """A holder needs the contents (xe_bo_willneed_get_locked)."""
        if self.imported:
            return
        self.willneed_count += 1
        if self.willneed_count == 1 and self.purgeable is Purgeable.DONTNEED:
            self.purgeable = Purgeable.WILLNEED

    def willneed_put(self) -> None:
        """The last holder is gone; a BO that is still mapped may be purged (xe_bo_willneed_put_locked)."""
        if self.imported:
            return
        self.willneed_count -= 1
        if self.willneed_count == 0 and self.users and self.purgeable is not Purgeable.PURGED:
            self.purgeable = Purgeable.DONTNEED

    def move_notify(self) -> None:
        """Notify every VM that maps the BO that its pages move (xe_bo_trigger_rebind)."""
        for user in list(self.users):
            user.bo_moved(self)

    # Lifetime

    @classmethod
    def create(
        cls, ttm: TtmDevice, memory: Memory, size: int, placements: list[Place], **properties: Any
    ) -> Bo:
        """A BO with its own storage. Raises Refused(ENOSPC) if the device has no fake offset left."""
        bo = cls(ttm, size, placements, Storage(memory, ttm.offsets.take(size), size), **properties)
        memory.get()
        return bo

    def released(self) -> None:
        """The last reference is gone."""
        if self.import_source is not None:
            self.import_source.put()
            return
        self.storage.discard()
        self.ttm.offsets.give(self.storage.base)
        self.storage.memory.put()

    def get(self) -> Bo:
        self.references += 1
        return self

    def put(self) -> None:
        """Drop a reference; the last one gives the memory back."""
        self.references -= 1
        if self.references == 0:
            self._set_residency(PL_SYSTEM, None)
            self.released()
