# SPDX-License-Identifier: MIT
"""Service of GPU page faults (xe_pagefault.c)."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu import Access, GpuFault
from ioctl import xe
from mock.driver.lib.blocking import when_settled
from mock.driver.lib.errors import Refused
from mock.driver.lib.sizes import SZ_4K
from mock.driver.ttm.bo import Purgeable
from mock.driver.vm import binding
from mock.driver.vm.vm import FaultEntry, Vm
from mock.driver.vm.vma import Vma

if TYPE_CHECKING:
    from mock.driver.device import Gt
    from mock.driver.lib.blocking import Blocking
    from mock.driver.lib.ids import CyclicIds

_ACCESS_TYPE = {
    Access.READ: xe.FAULT_ACCESS_TYPE_READ,
    Access.WRITE: xe.FAULT_ACCESS_TYPE_WRITE,
    Access.ATOMIC: xe.FAULT_ACCESS_TYPE_ATOMIC,
}


@dataclass(frozen=True)
class PageFault:
    """struct xe_pagefault: a fault as the hardware reports it."""

    gt: Gt
    asid: int
    address: int
    access: Access
    level: int = 0
    violation: bool = False
    prefetch: bool = False

    @classmethod
    def of(cls, gt: Gt, vm: Vm, fault: GpuFault) -> PageFault:
        page = fault.address & ~(SZ_4K - 1)
        return cls(gt, vm.asid, page, fault.access, fault.level, fault.violation)

    @property
    def fault_type(self) -> int:
        """FAULT_TYPE_* of the uAPI."""
        if not self.violation:
            return int(xe.FAULT_TYPE_NOT_PRESENT)
        atomic = self.access is Access.ATOMIC
        return int(xe.FAULT_TYPE_ATOMIC_ACCESS if atomic else xe.FAULT_TYPE_WRITE_ACCESS)


def handle(fault: PageFault, vms: CyclicIds[Vm]) -> Blocking[int]:
    """xe_pagefault_queue_work(): handle one fault; ``vms`` by address space id.

    Returns 0 or the negative errno of the acknowledgement.
    """
    try:
        yield from when_settled(lambda: _service(fault, vms))
    except Refused as refusal:
        vm = vms.get(fault.asid)
        if vm is not None:
            vm.add_fault(FaultEntry(fault.address, _ACCESS_TYPE[fault.access], fault.fault_type, fault.level))
        if fault.prefetch:
            fault.gt.stats.add("invalid_prefetch_pagefault_count")
        return -refusal.code
    return 0


def _service(fault: PageFault, vms: CyclicIds[Vm]) -> Blocking[None]:
    """xe_pagefault_service()."""
    vm = vms.get(fault.asid)
    if vm is None or not vm.fault_mode:
        raise Refused(errno.EINVAL, "no fault-mode VM with this address space id")
    if vm.closed:
        raise Refused(errno.ENOENT, "VM is closed")
    vma = vm.find_vma(fault.address)
    if vma is None:
        raise Refused(errno.EINVAL, f"nothing is bound at {fault.address:#x}")
    if vma.read_only and fault.access is not Access.READ:
        raise Refused(errno.EPERM, "VMA is read-only")
    atomic = fault.access is Access.ATOMIC
    if vma.is_mirror:
        yield from vm.svm.handle_fault(vma, fault.gt, fault.address, atomic=atomic)
    else:
        _handle_vma(fault.gt, vma, atomic=atomic)


def _handle_vma(gt: Gt, vma: Vma, *, atomic: bool) -> None:
    """Fault in a BO, userptr or NULL VMA (xe_pagefault_handle_vma)."""
    vm, tile = vma.vm, gt.tile
    vram = binding.needs_vram_for_atomic(vma, atomic=atomic)
    if vram and vma.is_userptr:
        raise Refused(errno.EACCES, "atomic on system memory")
    gt.stats.add("vma_pagefault_count")
    gt.stats.add("vma_pagefault_kb", vma.size // 1024)
    if vma.valid_on(tile.id) and not atomic:
        return
    if vma.is_userptr and vma.vm.userptr.stale(vma):
        vm.userptr.pin(vma)
    bo = vma.bo
    if bo is not None:
        if bo.purgeable is not Purgeable.WILLNEED:
            if not vm.has_scratch:
                raise Refused(errno.EACCES, "object is marked as not needed, or purged")
        elif vram:
            bo.migrate(binding.vram_of(tile))
        else:
            bo.validate()
    binding.write_entries(vma, tile)
