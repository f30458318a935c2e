# SPDX-License-Identifier: MIT
"""A blocked context does not block anything else, whatever the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu import Batch
from guest.emulator.hxg import Action
from tests.emulator.driver import RW, Driver, Queue, Vm, machine

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


class Stuck:
    """A GPU whose faults occupy their group of engines, and a context of one engine that waits for an answer."""

    PAGE = OTHER + 0x1000

    def __init__(self, engine: str) -> None:
        self.driver = machine(occupied=True)[0]
        self.vm = self.driver.vm(asid=5)
        self.queue = self.driver.queue(self.vm, engine).register().enable()
        self.word = self.driver.ram()
        self.vm.map(self.PAGE, self.word)
        self.queue.submit(self.queue.place(fault(), BATCH))
        self.fault = self.driver.fault()

    def runs(self, engine: str) -> bool:
        """Whether a job of another context ends."""
        queue = self.driver.queue(self.vm, engine).register().enable()
        seqno = queue.submit(queue.place(Batch().store_dword(self.PAGE, 1).end(), OTHER + 0x1_0000))
        self.driver.rest()
        return queue.completed == seqno


@pytest.mark.parametrize(
    ("engine", "other", "runs"),
    [
        ("bcs0", "bcs0", False),
        ("bcs0", "bcs8", True),
        ("bcs0", "rcs0", True),
        ("rcs0", "ccs0", False),
        ("ccs0", "rcs0", False),
        ("ccs0", "bcs0", True),
    ],
)
def test_fault_stops_the_engines_of_its_group(engine: str, other: str, runs: bool) -> None:
    stuck = Stuck(engine)
    assert stuck.runs(other) == runs
    assert not stuck.driver.checks.reports


def test_waiting_context_of_a_stuck_group_does_not_go_on() -> None:
    stuck = Stuck("rcs0")
    driver, vm = stuck.driver, stuck.vm
    queue = driver.queue(vm, "ccs0").register()
    stuck.queue.disable()
    gate = driver.ram()
    vm.map(DATA, gate)
    seqno = queue.enable().submit(queue.place(semaphore(), OTHER + 0x1_0000))
    driver.rest()
    stuck.queue.enable()
    driver.guest.ram[gate] = 1
    for _ in range(20):
        driver.gpu.turn()
    assert queue.completed == 0
    vm.map(MISSING, driver.ram())
    driver.answer_fault(stuck.fault)
    driver.until(lambda: queue.completed == seqno)


@pytest.mark.parametrize("end", ["answered", "refused", "disabled"])
def test_stuck_group_goes_on_after_its_fault(end: str) -> None:
    stuck = Stuck("bcs0")
    if end == "disabled":
        stuck.queue.disable()
    else:
        stuck.vm.map(MISSING, stuck.driver.ram())
        stuck.driver.answer_fault(stuck.fault, served=end == "answered")
    assert stuck.runs("bcs0")
