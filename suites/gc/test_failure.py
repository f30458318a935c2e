# SPDX-License-Identifier: MIT
"""Garbage collection that fails (xe_svm.c: xe_svm_garbage_collector).

The GPU must not keep page tables that map memory which is gone, and the collector is a work item, without a caller to
return an error to. So the VM is banned.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from fixtures import acts, behaviour, failing, landed, needs, refused
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.xe.flags import ATOMIC, AUTORESET, UNMAP
from fixtures.xe.vm import FAULTING, Vm
from ioctl import xe

pytestmark = [
    needs("page-faults", "fault-injection"),
    pytest.mark.kernel_log(
        "Garbage collection failed|New VMA MAP failed|Trying to schedule after vm is closed or banned"
    ),
]


@behaviour("gc.failure-bans-vm")
@acts("refusal", "store")
@pytest.mark.parametrize("step", ["xe_vma_ops_alloc", "xe_pt_update_ops_prepare", "xe_pt_update_ops_run"])
def test_failed_range_unmap_bans_vm(
    mirror_vm: Vm, make_vm: MakeVm, memory: Memory, sentinel: Sentinel, step: str
) -> None:
    """If unmapped memory cannot be removed from the page tables, VM_BIND gives ENOENT and EXEC ECANCELED."""
    buffer, kept, values = memory(PAGE), memory(PAGE), [sentinel() for _ in range(3)]
    queue = mirror_vm.queue()
    queue.store(kept.address, values[0])
    queue.store(buffer.address, values[1])
    landed(buffer, 0, values[1])
    gone: dict[str, Any] = {"addr": buffer.address, "range": PAGE}
    with failing.refused_at(step, errno.ENOMEM, gives=errno.ENOENT):
        buffer.munmap()
        mirror_vm.bind(UNMAP, **gone)  # which waits for the collector first
    for _ in range(2):
        with refused(errno.ENOENT):
            mirror_vm.bind(UNMAP, **gone)
        with refused(errno.ECANCELED):
            queue.submit(kept.address)
    landed(kept, 0, values[0])
    another = make_vm(FAULTING)
    another.mirror()
    another.queue().store(kept.address, values[2])
    landed(kept, 0, values[2])


@behaviour("gc.failure-bans-vm")
@acts("refusal", "store")
@needs("range-attributes")
def test_failed_autoreset_bans_vm(fault_vm: Vm, make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> None:
    """An autoreset that finds no memory bans the VM: VM_BIND then gives ENOENT, and EXEC gives ECANCELED."""
    buffer, kept = memory(3 * PAGE), memory(PAGE)
    fault_vm.mirror(flags=AUTORESET)
    fault_vm.madvise(buffer.address, buffer.size, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    queue = fault_vm.queue()
    for target in (kept, buffer):
        queue.store(target.address, value := sentinel())
        landed(target, 0, value)
    gone: dict[str, Any] = {"addr": buffer.address, "range": PAGE}
    with failing.allocation_in("drm_gpuvm_sm_map_ops_create"), refused(errno.ENOENT):
        buffer.munmap(0, PAGE)
        fault_vm.bind(UNMAP, **gone)  # which waits for the collector first
    with refused(errno.ENOENT):
        fault_vm.bind(UNMAP, **gone)
    with refused(errno.ECANCELED):
        queue.submit(kept.address)
    another = make_vm(FAULTING)
    another.mirror()
    another.queue().store(kept.address, value := sentinel())
    landed(kept, 0, value)
