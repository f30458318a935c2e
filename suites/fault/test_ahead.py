# SPDX-License-Identifier: MIT
"""Pages that the GPU fetches ahead of an access (xe_guc_fwif.h: PFD_PREFETCH, Xe3 and later)."""

from __future__ import annotations

from fixtures import acts, behaviour, driver_only, gpu_sees, landed, needs, wait_until
from fixtures.choices import chose
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.plugin.kernel import GpuOrders
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import READONLY
from fixtures.xe.vm import Vm
from ioctl import xe
from suites.exec.held import away

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
REFUSED = "invalid_prefetch_pagefault_count"

pytestmark = needs("page-faults", "unit-prefetches", "svm-counters")


@behaviour("vm.getprop.only-failed-faults", "obs.svm-pagefault-count")
@acts("fault", "store")
def test_only_refused_prefetch_is_in_fault_list(
    device: Device,
    mirror_vm: Vm,
    memory: Memory,
    sentinel: Sentinel,
    counters: Counters,
    gpu_orders: GpuOrders,
) -> None:
    """A page fetched ahead is in the fault list, once, if it cannot be served; batches continue either way."""
    buffer, values = memory(4 * SZ_64K, align=SZ_2M), [sentinel() for _ in range(4)]
    buffer.munmap(3 * SZ_64K, SZ_64K)
    queue, before = mirror_vm.queue(away(device)), counters.snapshot()
    gpu_orders.units_prefetch()
    last = [SZ_64K - PAGE, 2 * SZ_64K - PAGE, 3 * SZ_64K - PAGE]
    queue.store(buffer.address + last[0], values[0])
    with driver_only("obs.svm-pagefault-count"):
        wait_until(
            lambda: counters.by_size("pagefault_count", since=before) == {"64K": 2},
            what="the page fetched ahead",
        )
    assert mirror_vm.faults() == []
    queue.store(buffer.address + last[1], values[1])
    with driver_only("obs.svm-pagefault-count"):  # it was fetched with the one before
        assert counters.by_size("pagefault_count", since=before) == {"64K": 2}
    queue.store(buffer.address + last[2], values[2])
    wait_until(mirror_vm.faults, what="the prefetch beyond the end")
    [fault] = mirror_vm.faults()
    assert fault.address == buffer.address + 3 * SZ_64K
    assert fault.access_type == xe.FAULT_ACCESS_TYPE_READ
    queue.store(buffer.address + 4, values[3])
    for offset, value in zip((*last, 4), values, strict=True):
        landed(buffer, offset, value)


@behaviour("fault.readonly-prefetch-access")
@acts("load")
@needs("userptr")
def test_prefetch_of_readonly_vma_may_fail_alone(
    device: Device, fault_vm: Vm, memory: Memory, counters: Counters, gpu_orders: GpuOrders
) -> None:
    """A page of a READONLY VMA that the GPU fetches ahead may be refused; its loads work."""
    buffer = memory(SZ_64K)
    buffer.set_u32(PAGE, 0x5EED)
    fault_vm.map_userptr(AT, buffer.address, SZ_64K, flags=READONLY)
    before = counters.snapshot()
    gpu_orders.units_prefetch()
    queue = fault_vm.queue(away(device))
    gpu_sees(queue, AT + PAGE, 0x5EED)

    def answered() -> bool:
        now = counters.snapshot()
        return sum(now[name] - before[name] for name in ("vma_pagefault_count", REFUSED)) >= 2

    wait_until(answered, what="the page fetched ahead")
    refused = [fault.address for fault in fault_vm.faults()]
    assert refused in ([], [AT + 2 * PAGE])
    gpu_sees(queue, AT + PAGE, 0x5EED)
    chose(f"a prefetch by the GPU of a READONLY VMA is {'refused' if refused else 'served'}")
