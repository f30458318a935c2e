# SPDX-License-Identifier: MIT
"""Invalidations that the GPU carries out but never acknowledges (xe_tlb_inval.c: xe_tlb_inval_fence_timeout)."""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, gpu_fault, landed, needs
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.plugin.kernel import GpuOrders
from fixtures.seeds import page_of
from fixtures.sizes import SZ_64K
from fixtures.xe.flags import IMMEDIATE
from fixtures.xe.vm import Vm

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""

pytestmark = [
    needs("page-faults", "gpu-failures"),
    pytest.mark.kernel_log("TLB invalidation fence timeout"),
]


@behaviour("invalidate.unanswered")
@acts("refusal", "store")
def test_unbind_ends_if_invalidation_is_unanswered(
    fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, gpu_orders: GpuOrders
) -> None:
    """An unbind whose invalidation is never acknowledged ends, as does the next one; other mappings remain."""
    kept, values = bo(SZ_64K), [sentinel() for _ in range(3)]
    queue, mapped = fault_vm.queue(), kept.map()
    fault_vm.map(kept, AT, flags=IMMEDIATE)
    for place in AT + SZ_64K, AT + 2 * SZ_64K:
        fault_vm.map(bo(SZ_64K), place, flags=IMMEDIATE)
        queue.store(place, sentinel())
    queue.store(AT, values[0])
    with gpu_orders.failure("flush-unanswered"):
        fault_vm.unmap(AT + SZ_64K, SZ_64K)
    fault_vm.unmap(AT + 2 * SZ_64K, SZ_64K)
    landed(mapped, 0, values[0])
    queue.store(AT + PAGE, values[1])
    landed(mapped, PAGE, values[1])
    for place in AT + SZ_64K, AT + 2 * SZ_64K:
        with gpu_fault(fault_vm.queue()) as other:
            other.store(place, sentinel())
    queue.store(AT, values[2])
    landed(mapped, 0, values[2])


@behaviour("invalidate.unanswered")
@acts("refusal", "store")
def test_munmap_returns_if_invalidation_is_unanswered(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, gpu_orders: GpuOrders
) -> None:
    """Munmap whose invalidation is never acknowledged returns, as does the next one; memory in use remains."""
    kept, gone, later = (memory(SZ_64K, align=SZ_64K) for _ in range(3))
    queue, at, value = mirror_vm.queue(), page_of(SZ_64K), sentinel()
    for buffer in kept, gone, later:
        queue.store(buffer.address + at, sentinel())
    with gpu_orders.failure("flush-unanswered"):
        gone.munmap()
    later.munmap()
    for buffer in gone, later:
        with gpu_fault(mirror_vm.queue()) as other:
            other.store(buffer.address + at, sentinel())
    queue.store(kept.address + at, value)
    landed(kept, at, value)
