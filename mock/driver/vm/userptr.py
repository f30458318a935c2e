# SPDX-License-Identifier: MIT
"""Userptr VMAs: system memory of the client bound by address (xe_userptr.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_4K
from mock.driver.pagemap import migrate

if TYPE_CHECKING:
    from mock.driver.pagemap.devmem import Stretch
    from mock.driver.pagemap.process import Process
    from mock.driver.vm.vm import Vm
    from mock.driver.vm.vma import Vma
    from mock.kernel import Mm


@dataclass(frozen=True)
class ProcessPages:
    """Memory of a process at ``address``; each page is in system memory or in accessible VRAM.

    The mock is not notified of mprotect(2), nor of changes to file mappings. So each access checks, and faults if the
    memory could not be pinned as a whole.
    """

    process: Process
    address: int
    size: int
    writable: bool

    def read(self, offset: int, size: int) -> bytes:
        data = b""
        for at, count, stretch in self._pieces(offset, size):
            if stretch is None:
                data += self.process.mm.gpu_read(at, count)
            else:
                data += stretch.devmem.read(stretch.offset + at - stretch.start, count)
        return data

    def write(self, offset: int, data: bytes) -> None:
        done = 0
        for at, count, stretch in self._pieces(offset, len(data)):
            part = data[done : done + count]
            if stretch is None:
                self.process.mm.gpu_write(at, part)
            else:
                stretch.devmem.write(stretch.offset + at - stretch.start, part)
            done += count

    def atomic(self, offset: int, size: int, operation: Callable[[int], int]) -> int:
        at = self.address + offset
        stretch = self.process.vram.at(at)
        if stretch is None:
            return self.process.mm.gpu_atomic(at, size, operation)
        return stretch.devmem.atomic(stretch.offset + at - stretch.start, size, operation)

    def _pieces(self, offset: int, size: int) -> Iterator[tuple[int, int, Stretch | None]]:
        """Address, size and location in VRAM of each piece of an access, found one at a time."""
        unusable(self.process.mm, self.address, self.address + self.size, writable=self.writable)
        at = self.address + offset
        end = at + size
        while at < end:
            count = min(end, (at // SZ_4K + 1) * SZ_4K) - at
            yield at, count, self.process.vram.at(at)
            at += count


def unusable(mm: Mm, start: int, end: int, *, writable: bool) -> None:
    """Check [start, end) as hmm_range_fault() does.

    Raises Refused at the first page that is missing or belongs to a device (EFAULT), or is read-only and must be
    writable (EPERM, mm/hmm.c: hmm_vma_fault).
    """
    for area in mm.vmas(start, end):
        if area.start > start or not area.readable or area.file:
            break
        refuse_if(writable and not area.writable, errno.EPERM, f"userptr page at {start:#x} is read-only")
        start = min(area.end, end)
    refuse_if(start < end, errno.EFAULT, f"userptr page at {start:#x}")


class UserptrState:
    """struct xe_userptr_vm: the userptr VMAs of a VM, and which of them were invalidated since they were pinned."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.invalidated: dict[Vma, None] = {}
        self._vmas: dict[Vma, None] = {}

    def setup(self, vma: Vma) -> None:
        """A userptr VMA was created: watch its CPU range (xe_userptr_setup)."""
        self._vmas[vma] = None
        self.vm.process.add(self)
        self.vm.mm.watch(vma.offset, vma.offset + vma.size)

    def remove(self, vma: Vma) -> None:
        """A userptr VMA is being destroyed (xe_userptr_remove)."""
        self.invalidated.pop(vma, None)
        del self._vmas[vma]
        if self.vm.mm.alive:
            self.vm.mm.unwatch(vma.offset, vma.offset + vma.size)
        if not self._vmas:
            self.vm.process.remove(self)

    def changed(self, start: int, end: int, *, unmapped: bool) -> None:
        """Pages of the process change (xe_userptr_invalidate_pass1, xe_vma_userptr_do_inval)."""
        if self.vm.closed:
            return
        hit = [vma for vma in self._vmas if vma.offset < end and start < vma.offset + vma.size]
        for vma in hit:
            if vma.destroyed:
                continue
            self.invalidate(vma)
            if self.vm.fault_mode:
                self.vm.invalidate(vma)
        if hit and self.vm.preempt_fence_mode:
            self.vm.engines.preempt(self.vm)

    def pin(self, vma: Vma) -> None:
        """Get the pages of a VMA (xe_vma_userptr_pin_pages).

        Pages in VRAM that this device can access stay there. Raises Refused, see ``unusable``; ENOMEM.
        """
        if vma.destroyed:
            return
        end, mm = vma.offset + vma.size, self.vm.mm
        self.vm.device.machine.faults.kmalloc(caller="drm_gpusvm_get_pages")
        unusable(mm, vma.offset, end, writable=not vma.read_only)
        migrate.to_system(self.vm.process, vma.offset, end, keep=self.vm.peer.owner)
        holders = {stretch.devmem.pagemap for stretch in self.vm.process.vram.within(vma.offset, end)}
        refuse_if(len(holders) > 1, errno.EOPNOTSUPP, "userptr pages of two pagemaps")
        mm.populate(vma.offset, end)
        if self.invalidated.pop(vma, self) is not self:
            mm.watch(vma.offset, end)  # the CPU mapping may be a new one
            mm.unwatch(vma.offset, end)

    def invalidate(self, vma: Vma) -> None:
        """Mark a VMA as invalidated."""
        self.invalidated[vma] = None

    def stale(self, vma: Vma) -> bool:
        """Whether a VMA was invalidated since it was pinned (xe_vma_userptr_check_repin)."""
        return vma in self.invalidated

    def needs_repin(self) -> bool:
        """Whether any VMA was invalidated (__xe_vm_userptr_needs_repin)."""
        return bool(self.invalidated)

    def look(self) -> None:
        """Find memory that can no longer be pinned, for changes that the mock is not notified of."""
        for vma in self._vmas:
            if vma in self.invalidated or vma.destroyed:
                continue
            try:
                unusable(self.vm.mm, vma.offset, vma.offset + vma.size, writable=not vma.read_only)
            except Refused:
                self.changed(vma.offset, vma.offset + vma.size, unmapped=False)

    def pin_all(self) -> None:
        """Pin invalidated VMAs and queue them for rebinding (xe_vm_userptr_pin).

        Memory that is gone is not an error: it is unmapped from the GPU, and only a batch that uses it faults.
        """
        for vma in list(self.invalidated):
            try:
                self.pin(vma)
            except Refused as refusal:
                if refusal.code != errno.EFAULT:
                    raise
                del self.invalidated[vma]
                self.vm.rebind.pop(vma, None)
                self.vm.invalidate(vma)
            else:
                self.vm.rebind[vma] = None

    def backing(self, vma: Vma) -> ProcessPages:
        return ProcessPages(self.vm.process, vma.offset, vma.size, not vma.read_only)
