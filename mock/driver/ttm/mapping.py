# SPDX-License-Identifier: MIT
"""CPU mappings of BOs, each of which holds a reference (drm_gem_vm_open, drm_gem_vm_close).

The driver does not see a client unmap a BO. Whether a BO is still mapped is looked up once mappings are all that can
hold it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mock.driver.ttm.storage import Storage
    from mock.kernel import File, Mm


class Mapped(Protocol):
    """The part of a BO that mappings use."""

    references: int
    storage: Storage

    def get(self) -> object: ...
    def put(self) -> None: ...


class Mappings:
    """The BOs of a device that were ever mapped, and the address spaces."""

    def __init__(self) -> None:
        self._mms: dict[Mapped, set[Mm]] = {}

    def add(self, bo: Mapped, mm: Mm) -> None:
        """mmap(2): the mapping counts as a reference from now on."""
        if bo not in self._mms:
            bo.get()
        self._mms.setdefault(bo, set()).add(mm)

    def collect(self) -> None:
        """Free BOs that only a mapping held and that are no longer mapped."""
        for bo, mms in list(self._mms.items()):
            if bo.references == 1 and not any(_maps(mm, bo) for mm in mms):
                self._drop(bo)

    def file_released(self, file: File) -> None:
        """Drop all mappings of a file."""
        for bo in [bo for bo in self._mms if bo.storage.memory.file is file]:
            self._drop(bo)

    def _drop(self, bo: Mapped) -> None:
        del self._mms[bo]
        bo.put()


def _maps(mm: Mm, bo: Mapped) -> bool:
    """Whether any part of the BO is mapped in an address space now."""
    if not mm.alive:
        return False
    first, last = bo.storage.base, bo.storage.base + bo.storage.size
    return any(
        vma.offset < last and first < vma.offset + vma.end - vma.start
        for vma in mm.vmas_of(bo.storage.memory.file)
    )
