# SPDX-License-Identifier: MIT
"""Changes of VMAs other than binds: splits for madvise, mirrors merged or restored (xe_vm.c: xe_vm_alloc_vma)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mock.driver.lib.errors import refuse_if
from mock.driver.lib.sizes import SZ_4K
from mock.driver.vm import gpuva
from mock.driver.vm.steps import Map, MapRequest
from mock.driver.vm.vma_ops import VmaOps

if TYPE_CHECKING:
    from mock.driver.vm.vm import Vm
    from mock.driver.vm.vma import Vma


def mirror_range(vm: Vm, start: int, end: int) -> tuple[int, int]:
    """xe_vm_find_cpu_addr_mirror_vma_range(): extend a mirror range by adjacent mirrors with default attributes.

    The search for the next mirror begins one byte after ``end``.
    """
    if not vm.device.has("mirror-merge"):
        return start, end
    before = vm.find_vma(start - SZ_4K) if start >= SZ_4K else None
    if before is not None and _plain_mirror(before):
        start = before.start
    after = vm.find_vma(end + 1) if end < vm.size else None
    if after is not None and _plain_mirror(after):
        end = after.end
    return start, end


def _plain_mirror(vma: Vma) -> bool:
    return vma.is_mirror and vma.has_default_attributes()


def split(vm: Vm, start: int, end: int) -> None:
    """Split VMAs without a BO at ``start`` and ``end`` (xe_vm_alloc_madvise_vma). Raises Refused."""
    refuse_if(end > vm.size, errno.EINVAL, "beyond the VM")
    ops = VmaOps(vm, madvise=True)
    old: Vma | None = None
    made_from: list[tuple[Vma, Vma]] = []
    try:
        for op in gpuva.madvise_ops(vm.vmas, start, end):
            if isinstance(op, gpuva.RemapOp):
                old = op.vma
                ops.add([op])
            elif old is not None:
                ops.add_map([op], _like(old))
                made = ops.steps[-1]
                assert isinstance(made, Map)
                assert made.vma is not None
                made_from.append((made.vma, old))
    except OSError:
        ops.unwind()
        raise
    for vma, source in made_from:
        vma.attr = source.attr.copy()
    _retire(ops)


def remap_mirror(vm: Vm, start: int, end: int) -> None:
    """Create one mirror VMA with default attributes (xe_vm_alloc_cpu_addr_mirror_vma). Failure bans the VM."""
    ops = VmaOps(vm, allow_svm_unmap=True)
    *_, last = vm.vmas.overlapping(start, end)  # its attributes are those of the last VMA replaced
    request = _like(last)
    try:
        ops.add_map(gpuva.map_ops(vm.vmas, gpuva.Piece(start, end, None, 0)), request)
    except OSError:
        ops.unwind()
        vm.banned = True
        raise
    _retire(ops)


def _like(vma: Vma) -> MapRequest:
    return MapRequest(
        vma.kind,
        pat_index=vma.attr.default_pat_index,
        read_only=vma.read_only,
        dumpable=vma.dumpable,
        autoreset=vma.autoreset,
    )


def _retire(ops: VmaOps) -> None:
    for gone in ops.removed():
        gone.unlink()
        gone.release()
