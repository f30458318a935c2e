# SPDX-License-Identifier: MIT
"""Userptr VMAs: system memory of the client bound by address (xe_userptr.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mock.driver.cpu import CpuPages
from mock.driver.errors import Refused

if TYPE_CHECKING:
    from mock.driver.vm import Vm
    from mock.driver.vma import Vma


class UserptrState:
    """struct xe_userptr_vm: userptr VMAs whose pages changed since they were pinned."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.invalidated: dict[Vma, None] = {}

    def setup(self, vma: Vma) -> None:
        """A userptr VMA was created: watch its CPU range (xe_userptr_setup)."""

    def remove(self, vma: Vma) -> None:
        """A userptr VMA goes away (xe_userptr_remove)."""
        self.invalidated.pop(vma, None)

    def pin(self, vma: Vma) -> None:
        """Get the pages of a VMA (xe_vma_userptr_pin_pages); Refused(EFAULT) when some cannot be had."""
        if vma.destroyed:
            return
        assert vma.mm is not None
        address, end = vma.offset, vma.offset + vma.size
        for area in vma.mm.vmas(address, end):
            if area.start > address or not area.readable or not (area.writable or vma.read_only):
                break
            address = min(area.end, end)
        if address < end:
            raise Refused(errno.EFAULT, f"userptr page at {address:#x}")

    def invalidate(self, vma: Vma) -> None:
        """The VMA's pages changed (xe_vma_userptr_invalidate)."""
        self.invalidated[vma] = None

    def stale(self, vma: Vma) -> bool:
        """The VMA's pages changed since they were pinned (xe_vma_userptr_check_repin)."""
        return vma in self.invalidated

    def needs_repin(self) -> bool:
        """Some pages changed (__xe_vm_userptr_needs_repin)."""
        return bool(self.invalidated)

    def pin_all(self) -> None:
        """Pin what was invalidated and queue it for rebinding (xe_vm_userptr_pin)."""
        for vma in list(self.invalidated):
            del self.invalidated[vma]
            self.pin(vma)
            self.vm.rebind[vma] = None

    def backing(self, vma: Vma) -> CpuPages:
        assert vma.mm is not None
        return CpuPages(vma.mm, vma.offset)
