# SPDX-License-Identifier: MIT
"""Page faults: contents of reports, and effects of answers."""

from __future__ import annotations

import pytest

from gpu import Batch
from guest.emulator import hxg
from guest.emulator.hxg import Action
from guest.emulator.page_tables import PRESENT
from tests.emulator.driver import AE, LOCAL, RW, Driver, Queue, Vm

BATCH, DATA = 0x10_0000, 0x7F12_3456_7000


@pytest.fixture
def vm(driver: Driver) -> Vm:
    return driver.vm(asid=0xABCDE)


def address_of(fault: list[int]) -> int:
    return fault[2] & 0xFFFF_F000 | fault[3] << 32


def test_missing_page_is_told_in_full(driver: Driver, vm: Vm, queue: Queue) -> None:
    queue.submit(queue.place(Batch().store_dword(DATA + 0x10, 1).end(), BATCH))
    fault = driver.fault()
    assert address_of(fault) == DATA
    assert fault[1] >> 12 == vm.asid
    assert fault[2] & 3 == 1  # a write
    assert fault[2] >> 2 & 3 == 0  # not present
    assert fault[0] >> 25 & 7 == 3  # copy engine
    assert fault[0] & 7 == 3  # nothing below the root


def test_served_fault_goes_on_with_the_same_instruction(driver: Driver, vm: Vm, queue: Queue) -> None:
    seqno = queue.submit(queue.place(Batch().store_dword(DATA, 1).store_dword(DATA + 4, 2).end(), BATCH))
    fault = driver.fault()
    page = driver.ram()
    vm.map(DATA, page)
    driver.answer_fault(fault)
    driver.until(lambda: queue.completed == seqno)
    assert (driver.ram_u32(page), driver.ram_u32(page + 4)) == (1, 2)
    assert not driver.checks.reports


def test_served_fault_that_changed_nothing_comes_again(driver: Driver, queue: Queue) -> None:
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.answer_fault(driver.fault())
    assert address_of(driver.fault()) == DATA


def test_fault_not_served_is_a_memory_error(driver: Driver, queue: Queue) -> None:
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.answer_fault(driver.fault(), served=False)
    assert driver.take(Action.MEMORY_CAT_ERROR) == [queue.identity]
    queue.disable()
    queue.deregister()
    assert not driver.checks.reports


def test_batch_itself_may_fault(driver: Driver, vm: Vm, queue: Queue) -> None:
    seqno = queue.submit(DATA)
    fault = driver.fault()
    assert (address_of(fault), fault[2] & 3) == (DATA, 0)
    queue.place(Batch().end(), DATA)
    driver.answer_fault(fault)
    driver.until(lambda: queue.completed == seqno)


def test_read_only_page_is_a_write_violation(driver: Driver, vm: Vm, queue: Queue) -> None:
    page = driver.ram()
    at = vm.set(DATA, page | PRESENT)
    seqno = queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    fault = driver.fault()
    assert fault[2] & 0xF == 1 | 1 << 2
    driver.gpu.vram.qwords[at >> 3] = page | RW
    driver.answer_fault(fault)
    driver.until(lambda: queue.completed == seqno)
    assert driver.ram_u32(page) == 1


def test_atomic_goes_on_once_the_bit_is_there(driver: Driver, vm: Vm, queue: Queue) -> None:
    page = driver.ram()
    vm.map(DATA, page, flags=RW)
    seqno = queue.submit(queue.place(Batch().atomic(DATA, "add", 5).end(), BATCH))
    fault = driver.fault()
    vm.map(DATA, page, flags=RW | AE)
    driver.answer_fault(fault)
    driver.until(lambda: queue.completed == seqno)
    assert driver.ram_u32(page) == 5


def test_fault_parks_only_its_own_context(driver: Driver, vm: Vm, queue: Queue) -> None:
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    fault = driver.fault()
    page = driver.ram()
    vm.map(DATA + 0x1000, page)
    other = driver.queue(vm, "ccs0").register().enable()
    other.run(other.place(Batch().store_dword(DATA + 0x1000, 2).end(), BATCH + 0x1_0000))
    assert driver.ram_u32(page) == 2
    driver.invalidate(vm.asid, DATA, 4096)  # answered while the first context waits
    queue.disable()
    vm.map(DATA, page)
    driver.answer_fault(fault)
    driver.rest()
    assert driver.ram_u32(page) == 2  # disabled: it does not continue yet
    queue.enable()
    driver.until(lambda: queue.completed == 1)
    assert driver.ram_u32(page) == 1


def test_each_of_many_faults_has_its_own_answer(driver: Driver, vm: Vm) -> None:
    queues, faults = [], []
    for index in range(8):
        queue = driver.queue(vm).register().enable()
        where = DATA + 0x1000 * index
        queue.submit(queue.place(Batch().store_dword(where, index + 1).end(), BATCH + 0x1_0000 * index))
        queues.append(queue)
        faults.append(driver.fault())
    page = driver.ram()
    for fault in reversed(faults):
        vm.map(address_of(fault), page)
        driver.answer_fault(fault)
        driver.rest()
    assert all(queue.completed == 1 for queue in queues)
    assert driver.ram_u32(page) == 1  # the first to fault continued last
    assert not driver.checks.reports


def test_answer_after_the_context_is_gone_is_no_error(driver: Driver, queue: Queue) -> None:
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    fault = driver.fault()
    queue.disable()
    queue.deregister()
    driver.answer_fault(fault, served=False)
    driver.rest()
    assert not driver.has(Action.MEMORY_CAT_ERROR)
    assert not driver.checks.reports


def test_fault_answered_twice_is_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    fault = driver.fault()
    vm.map(DATA, driver.ram())
    driver.answer_fault(fault)
    driver.answer_fault(fault)
    assert [report["check"] for report in driver.checks.reports] == ["fault-answered-twice"]


def test_fault_from_before_a_reset_may_be_answered_once(driver: Driver, vm: Vm, queue: Queue) -> None:
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    fault = driver.fault()
    assert driver.mailbox(Action.VF_RESET)[0] == hxg.success()
    driver.start()
    driver.answer_fault(fault)
    assert not driver.checks.reports
    driver.answer_fault(fault)
    assert [report["check"] for report in driver.checks.reports] == ["fault-unknown"]


def test_copy_stores_what_comes_before_the_missing_page(driver: Driver, vm: Vm, queue: Queue) -> None:
    vram = driver.vram.take(4096)
    vm.map(DATA, vram, flags=RW | LOCAL)
    seqno = queue.submit(queue.place(Batch().fill(DATA, 0x5A, 8192).end(), BATCH))
    fault = driver.fault()
    assert address_of(fault) == DATA + 4096
    assert driver.vram_u32(vram) == 0x5A5A5A5A
    second = driver.ram()
    vm.map(DATA + 4096, second)
    driver.answer_fault(fault)
    driver.until(lambda: queue.completed == seqno)
    assert driver.ram_u32(second + 4092) == 0x5A5A5A5A
