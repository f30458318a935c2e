# SPDX-License-Identifier: MIT
"""Scratch pages: what the GPU sees at unbound addresses (xe_vm_doc.h: Scratch page)."""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, driver_only, gpu_sees, known, landed, needs
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.sizes import SZ_1G, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.flags import IMMEDIATE, SCRATCH
from fixtures.xe.vm import FAULTING, LONG_RUNNING, PLAIN, Vm
from gpu import Batch

AT = 1 << 32
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
def test_unbound_accesses_with_scratch_are_harmless(
    make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, mode: int
) -> None:
    """In a VM with scratch pages, accesses to unbound addresses do not fault and change no BO."""
    vm = make_vm(SCRATCH | mode)
    content, kept, value = bo(SZ_64K), sentinel(), sentinel()
    view = content.map()
    view.fill(kept.to_bytes(4, "little"))
    vm.map(content, AT, flags=IMMEDIATE)
    queue = vm.queue()
    for place in (AT - SZ_64K, AT + SZ_64K, AT + SZ_1G, AT - SZ_1G, vm.size - SZ_64K):
        queue.run(Batch().store_dword(place, sentinel()).copy_mem(AT + 4, place))
        assert not queue.banned
    queue.run(Batch().store_dword(AT, value))
    landed(view, 0, value)
    assert view.bytes(8) == kept.to_bytes(4, "little") * (SZ_64K // 4 - 2)


@behaviour("vm.scratch.unmap")
@acts("exec")
@MODES
def test_unmap_of_bo_leaves_scratch(make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, mode: int) -> None:
    """In a VM with scratch pages, accesses to an unbound BO neither read nor change it."""
    vm = make_vm(SCRATCH | mode)
    content, kept = bo(SZ_64K), sentinel()
    view, queue = content.map(), vm.queue()
    view.set_u32(0, kept)
    vm.map(content, AT, flags=IMMEDIATE)
    gpu_sees(queue, AT, kept)
    vm.unmap(AT, SZ_64K)
    assert queue.load(AT) != kept
    queue.store(AT, sentinel())
    assert view.u32(0) == kept


@behaviour("vm.scratch.fault-bind-clears", "obs.vma-fault-counters")
@acts("fault", "store")
@needs("page-faults", "xe2", "debugfs")
def test_deferred_bind_replaces_scratch(
    make_vm: MakeVm, bo: MakeBo, counters: Counters, sentinel: Sentinel
) -> None:
    """After MAP without IMMEDIATE in a VM with scratch pages the first access faults and reaches the BO."""
    vm = make_vm(SCRATCH | FAULTING)
    content, value = bo(SZ_64K), sentinel()
    view, queue = content.map(), vm.queue()
    queue.store(AT, sentinel())  # scratch
    vm.map(content, AT)
    before = counters.snapshot()
    queue.store(AT, value)
    landed(view, 0, value)
    with driver_only("obs.vma-fault-counters"):
        counters.rose("vma_pagefault_count", since=before)


@behaviour("vm.scratch.mirror", "obs.svm-pagefault-count")
@acts("fault", "store")
@needs("page-faults", "xe2", "debugfs", "cpu-addr-mirror")
@known(
    "A mirror does not replace scratch pages",
    first="6.17",
    signature="the CPU sees 0x# at offset 0x# of <Buffer 0x# + 0x#>, not 0x#",
    acts=("exec",),
)
def test_mirror_replaces_scratch(
    make_vm: MakeVm, memory: Memory, counters: Counters, sentinel: Sentinel
) -> None:
    """Through a mirror in a VM with scratch pages the first access faults and reaches process memory."""
    vm: Vm = make_vm(SCRATCH | FAULTING)
    buffer, value = memory(SZ_64K), sentinel()
    queue = vm.queue()
    queue.store(buffer.address, sentinel())  # scratch
    assert buffer.u32(0) == 0
    vm.mirror(buffer.address, SZ_64K)
    before = counters.snapshot()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before)
