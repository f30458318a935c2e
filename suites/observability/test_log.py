# SPDX-License-Identifier: MIT
"""Messages of the driver about failed faults in the kernel log (xe_pagefault.c: xe_pagefault_print)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fixtures import acts, behaviour, driver_only, landed, needs, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.kmsg import KernelLog
from fixtures.memory import PAGE
from fixtures.plugin.kernel import GpuOrders
from fixtures.sizes import SZ_64K
from fixtures.xe.checks import stores_fail
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm
from suites.exec.held import away

FIRST = 1 << 33
"""Address of the first fault, above 32 bits; nothing is bound in the VM there."""
KEPT = 50
"""Faults that a VM remembers (xe_vm.h: MAX_FAULTS_SAVED_PER_VM)."""
_ADDRESS = re.compile(r"Faulted Address: 0x([0-9a-f]{16})")

pytestmark = needs("page-faults", "device-pages", "root")


@pytest.fixture
def log() -> Iterator[KernelLog]:
    """The kernel's log from here on."""
    reader = KernelLog()
    yield reader
    reader.close()


def logged(log: KernelLog, found: list[int]) -> list[int]:
    """The addresses in the log, what was found before included."""
    for record in log.read():
        found += [int(address, 16) for address in _ADDRESS.findall(record.text)]
    return found


@behaviour("obs.failed-fault-log")
@acts("refusal")
def test_failed_fault_may_be_logged(fault_vm: Vm, log: KernelLog) -> None:
    """A fault that cannot be served is in the kernel's log with its address, or is not."""
    stores_fail(fault_vm, [FIRST])
    found = logged(log, [])
    assert set(found) <= {FIRST}
    count("refusal")
    chose(f"a failed fault is {'logged with its address' if found else 'not logged with its address'}")


@behaviour("obs.fault-uapi-vs-log")
@acts("refusal")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [1, 3, KEPT, KEPT + 2])
def test_logged_faults_are_in_fault_list(fault_vm: Vm, log: KernelLog, number: int) -> None:
    """Failed faults that are logged are in the list of their VM, in order and with the same addresses, up to 50."""
    addresses = [FIRST + 3 * index * PAGE for index in range(number)]
    stores_fail(fault_vm, addresses)
    kept = min(number, KEPT)
    wait_until(lambda: len(fault_vm.faults()) >= kept, what=f"{kept} entries of failed faults")
    listed = [fault.address for fault in fault_vm.faults()]
    assert listed == addresses[:kept]
    found: list[int] = []
    wait_until(lambda: len(logged(log, found)) >= number, what=f"{number} faults in the log")
    assert found[:kept] == listed
    count("refusal")


@behaviour("obs.invalid-prefetch-counter")
@acts("store")
@needs("unit-prefetches", "svm-counters")
def test_refused_prefetch_is_counted_not_logged(
    device: Device,
    mirror_vm: Vm,
    memory: Memory,
    sentinel: Sentinel,
    counters: Counters,
    gpu_orders: GpuOrders,
    log: KernelLog,
) -> None:
    """A page fetched ahead that cannot be served is counted, and not in the kernel's log."""
    buffer, value, before = memory(2 * SZ_64K, align=2 * SZ_64K), sentinel(), counters.snapshot()
    buffer.munmap(SZ_64K, SZ_64K)
    gpu_orders.units_prefetch()
    mirror_vm.queue(away(device)).store(buffer.address + SZ_64K - PAGE, value)
    landed(buffer, SZ_64K - PAGE, value)
    refused = "invalid_prefetch_pagefault_count"
    with driver_only("obs.invalid-prefetch-counter"):
        # It is counted after it is in the fault list (xe_pagefault_queue_work).
        wait_until(lambda: counters.snapshot()[refused] > before[refused], what="the prefetch beyond the end")
        counters.rose(refused, since=before, by=1)
        assert logged(log, []) == []
