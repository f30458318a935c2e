# SPDX-License-Identifier: MIT
"""Scratch pages: what the GPU finds where a VM has nothing bound (xe_vm_doc.h: Scratch page)."""

import pytest

from fixtures import acts, behaviour, gpu_sees, known, landed, needs
from fixtures.vm import FAULTING, LONG_RUNNING, PLAIN, Vm
from gpu import Batch
from ioctl import xe

SCRATCH = xe.DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE
AREA = 1 << 32
BLOCK = 1 << 16
MODES = pytest.mark.parametrize(
    "mode",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(LONG_RUNNING, id="lr"),
        pytest.param(FAULTING, id="faulting", marks=needs("page-faults", "xe2")),
    ],
)
"""Scratch pages go with fault mode on Xe2 and Xe3 only."""


@behaviour("vm.scratch.reads")
@acts("exec", "store")
@MODES
def test_unbound_accesses_with_scratch_are_harmless(make_vm, bo, sentinel, mode: int) -> None:
    """In a VM with scratch loads and stores where nothing is bound end without a fault, and no object is changed."""
    vm = make_vm(SCRATCH | mode)
    content, kept, value = bo(BLOCK), sentinel(), sentinel()
    view = content.map()
    view.fill(kept.to_bytes(4, "little"))
    vm.map(content, AREA, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    queue = vm.queue()
    for place in (AREA - BLOCK, AREA + BLOCK, AREA + (1 << 30), AREA - (1 << 30), vm.size - BLOCK):
        queue.run(Batch().store_dword(place, sentinel()).copy_mem(AREA + 4, place))
        assert not queue.banned
    queue.run(Batch().store_dword(AREA, value))
    landed(view, 0, value)
    assert view.bytes(8) == kept.to_bytes(4, "little") * (BLOCK // 4 - 2)


@behaviour("vm.scratch.unmap")
@acts("exec")
@MODES
def test_unmap_of_bo_leaves_scratch(make_vm, bo, sentinel, mode: int) -> None:
    """Where an object was unbound a VM with scratch reads no more of it, and stores do not reach it."""
    vm = make_vm(SCRATCH | mode)
    content, kept = bo(BLOCK), sentinel()
    view, queue = content.map(), vm.queue()
    view.set_u32(0, kept)
    vm.map(content, AREA, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    gpu_sees(queue, AREA, kept)
    vm.unmap(AREA, BLOCK)
    assert queue.load(AREA) != kept
    queue.store(AREA, sentinel())
    assert view.u32(0) == kept


@behaviour("vm.scratch.fault-bind-clears")
@acts("fault", "store")
@needs("page-faults", "xe2", "debugfs")
def test_deferred_bind_replaces_scratch(make_vm, bo, counters, sentinel) -> None:
    """A MAP without IMMEDIATE in a VM with scratch: the first access faults, and reaches the object, not scratch."""
    vm = make_vm(SCRATCH | FAULTING)
    content, value = bo(BLOCK), sentinel()
    view, queue = content.map(), vm.queue()
    queue.store(AREA, sentinel())  # scratch
    vm.map(content, AREA)
    before = counters.snapshot()
    queue.store(AREA, value)
    landed(view, 0, value)
    counters.rose("vma_pagefault_count", since=before)


@behaviour("vm.scratch.mirror")
@acts("fault", "store")
@needs("page-faults", "xe2", "debugfs", "cpu-addr-mirror")
@known(
    "A mirror does not replace scratch pages",
    first="6.17",
    signature="the CPU sees 0x# at offset 0x# of <Buffer 0x# + 0x#>, not 0x#",
    acts=("exec",),
)
def test_mirror_replaces_scratch(make_vm, memory, counters, sentinel) -> None:
    """A mirror in a VM with scratch: the first access faults, and reaches the memory of the process, not scratch."""
    vm: Vm = make_vm(SCRATCH | FAULTING)
    buffer, value = memory(BLOCK), sentinel()
    queue = vm.queue()
    queue.store(buffer.address, sentinel())  # scratch
    assert buffer.u32(0) == 0
    vm.mirror(buffer.address, BLOCK)
    before = counters.snapshot()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    counters.rose("svm_pagefault_count", since=before)
