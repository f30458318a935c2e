# SPDX-License-Identifier: MIT
"""Messages of the driver about failed faults in the kernel log (xe_pagefault.c: xe_pagefault_print)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from fixtures import acts, behaviour, needs, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.kmsg import KernelLog
from fixtures.memory import PAGE
from fixtures.xe.checks import stores_fail
from fixtures.xe.vm import Vm

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
