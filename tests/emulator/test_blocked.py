# SPDX-License-Identifier: MIT
"""A blocked context does not block anything else, whatever the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu import Batch
from guest.emulator.hxg import Action
from tests.emulator.driver import RW, Driver, Queue, Vm

BATCH, DATA, OTHER, MISSING = 0x10_0000, 0x20_0000, 0x40_0000, 0x80_0000


def semaphore() -> Batch:
    return Batch().semaphore_wait(DATA, 1).store_dword(DATA + 8, 5).end()


def fault() -> Batch:
    return Batch().store_dword(MISSING, 1).end()


def loop() -> Batch:
    return Batch().chain(BATCH)


def hang() -> Batch:
    return Batch().raw(0x7F << 23).end()


BLOCKS = pytest.mark.parametrize("block", [semaphore, fault, loop, hang])


@pytest.fixture
def vm(driver: Driver) -> Vm:
    vm = driver.vm(asid=5)
    vm.map(DATA, driver.ram(), flags=RW)
    return vm


@pytest.fixture
def blocked(driver: Driver, vm: Vm, block: Callable[[], Batch]) -> Queue:
    """A queue in the middle of a batch that does not continue."""
    queue = driver.queue(vm).register().enable()
    queue.submit(queue.place(block(), BATCH))
    for _ in range(20):
        driver.gpu.turn()
    driver.drain()
    assert queue.completed == 0
    return queue


@BLOCKS
def test_others_run(driver: Driver, vm: Vm, blocked: Queue) -> None:
    page = driver.ram()
    vm.map(OTHER, page, flags=RW)
    for engine in ("bcs0", "ccs0"):
        queue = driver.queue(vm, engine).register().enable()
        queue.run(queue.place(Batch().store_dword(OTHER, queue.identity).end(), OTHER + 0x1_0000))
        assert driver.ram_u32(page) == queue.identity


@BLOCKS
def test_invalidations_are_answered(driver: Driver, vm: Vm, blocked: Queue) -> None:
    driver.invalidate(vm.asid, DATA, 4096)


@BLOCKS
def test_it_can_be_disabled_and_forgotten(driver: Driver, blocked: Queue) -> None:
    blocked.disable()
    blocked.deregister()
    for _ in range(5):
        driver.gpu.turn()
    driver.drain()
    assert not driver.has(Action.MEMORY_CAT_ERROR)
    assert not driver.checks.reports


@BLOCKS
def test_a_reset_of_the_function_ends_it(driver: Driver, vm: Vm, blocked: Queue) -> None:
    driver.mailbox(Action.VF_RESET)
    driver.start()
    driver.received.clear()
    page = driver.ram()
    vm.map(OTHER, page, flags=RW)
    queue = driver.queue(vm).register().enable()
    queue.run(queue.place(Batch().store_dword(OTHER, 9).end(), OTHER + 0x1_0000))
    assert driver.ram_u32(page) == 9
    assert not driver.received
