# SPDX-License-Identifier: MIT
"""Fixtures: the machines of a test, which end with it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.emulator.driver import Driver, Queue, Vm, end_machines, machine


@pytest.fixture(autouse=True)
def machines() -> Iterator[None]:
    """Ends the machines of a test."""
    yield
    end_machines()


@pytest.fixture
def driver() -> Driver:
    """The driver of a machine with one GPU."""
    return machine()[0]


@pytest.fixture
def vm(driver: Driver) -> Vm:
    """An address space of the driver, with nothing in it."""
    return driver.vm(asid=5)


@pytest.fixture
def queue(driver: Driver, vm: Vm) -> Queue:
    """A context of the address space that the firmware may run."""
    return driver.queue(vm).register().enable()


@pytest.fixture(autouse=True, scope="module")
def mappings() -> Iterator[None]:
    """Python closes mappings only when it collects cycles, which no number of descriptors triggers."""
    yield
    gc.collect()
