# SPDX-License-Identifier: MIT
"""Checks of a driver over time: faults that it forgets or does not serve, rings, rights."""

from __future__ import annotations

import struct

import pytest

from gpu import Batch
from guest.emulator import device, faults, scheduler
from guest.emulator.context import RING_TAIL
from guest.emulator.hxg import Action
from guest.emulator.page_tables import PAGE_OF_64K
from guest.emulator.pci import COMMAND, COMMAND_MASTER, COMMAND_MEMORY
from guest.emulator.scheduler import UNSERVED
from tests.emulator.driver import RW, Driver, Queue, Vm

BATCH, DATA = 0x10_0000, 0x20_0000


def reported(driver: Driver) -> list[object]:
    return [report["check"] for report in driver.checks.reports]


def store(queue: Queue) -> int:
    return queue.submit(queue.place(Batch().store_dword(DATA, 7).end(), BATCH))


def test_fault_without_answer_is_reported_once(
    driver: Driver, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(queue)
    driver.fault()
    driver.gpu.turn()
    assert not reported(driver)
    monkeypatch.setattr(faults, "UNANSWERED", -1.0)
    for _ in range(3):
        driver.gpu.turn()
    assert reported(driver) == ["fault-unanswered"]


def test_fault_that_is_answered_is_not_reported(
    driver: Driver, vm: Vm, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    seqno = store(queue)
    fault = driver.fault()
    vm.map(DATA, driver.ram())
    driver.answer_fault(fault)
    monkeypatch.setattr(faults, "UNANSWERED", -1.0)
    driver.until(lambda: queue.completed == seqno)
    assert not reported(driver)


def test_fault_unserved_is_reported_once(
    driver: Driver, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "UNSERVED_SECONDS", 0.0)
    store(queue)
    for _ in range(UNSERVED):
        assert not reported(driver)
        driver.answer_fault(driver.fault())
    driver.answer_fault(driver.fault())
    assert reported(driver) == ["fault-not-served"]


def test_fault_whose_bind_is_late_is_not_unserved(
    driver: Driver, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "UNSERVED_SECONDS", 3600.0)
    store(queue)
    for _ in range(10 * UNSERVED):
        driver.answer_fault(driver.fault())
    assert not reported(driver)


def test_fault_of_a_page_that_is_taken_away_again_is_not_unserved(
    driver: Driver, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "UNSERVED_SECONDS", 0.0)
    store(queue)
    for _ in range(2 * UNSERVED):
        driver.answer_fault(driver.fault())
        driver.invalidate(5, DATA, 4096)
    assert not reported(driver)


def test_fault_that_is_served_at_last_begins_to_count_again(
    driver: Driver, vm: Vm, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "UNSERVED_SECONDS", 0.0)
    for _ in range(2):
        seqno = store(queue)
        for _ in range(UNSERVED - 1):
            driver.answer_fault(driver.fault())
        fault = driver.fault()
        vm.map(DATA, driver.ram())
        driver.answer_fault(fault)
        driver.until(lambda seqno=seqno: queue.completed == seqno)
        vm.unmap(DATA)
        driver.invalidate(5, DATA, 4096)
    assert not reported(driver)


@pytest.mark.parametrize(
    ("offset", "hint", "reports"),
    [(0, PAGE_OF_64K, []), (0xF000, PAGE_OF_64K, ["hint-64k"]), (0xF000, 0, [])],
    ids=["aligned", "not-aligned", "without-hint"],
)
def test_hint_of_a_64k_page_needs_aligned_memory(
    driver: Driver, vm: Vm, queue: Queue, offset: int, hint: int, reports: list[str]
) -> None:
    memory = driver.ram(2 << 16) + 0xFFFF & -(1 << 16)
    vm.map(DATA, memory + offset, 1 << 16, RW | hint)
    seqno = store(queue)
    driver.until(lambda: queue.completed == seqno)
    assert driver.ram_u32(memory + offset) == 7
    assert reported(driver) == reports


@pytest.mark.parametrize(("command", "reports"), [(COMMAND_MEMORY, 1), (COMMAND_MEMORY | COMMAND_MASTER, 0)])
def test_work_without_bus_mastering_is_reported(
    driver: Driver, vm: Vm, queue: Queue, command: int, reports: int
) -> None:
    vm.map(DATA, driver.ram())
    driver.gpu.region_write(device.REGION_CONFIG, COMMAND, struct.pack("<H", command))
    seqno = store(queue)
    driver.until(lambda: queue.completed == seqno)
    assert reported(driver) == ["no-bus-master"] * reports


def test_tail_that_moves_backwards_is_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    queue.submit(queue.place(Batch().semaphore_wait(DATA, 1).end(), BATCH))
    driver.rest()
    queue.submit(BATCH)
    assert not reported(driver)
    queue.set_state(RING_TAIL, queue.tail - 16)
    driver.fast(Action.SCHED_CONTEXT, queue.identity)
    assert reported(driver) == ["ring-tail"]
