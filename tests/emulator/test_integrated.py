# SPDX-License-Identifier: MIT
"""A GPU without VRAM: page tables, contexts and batches are in system memory."""

from __future__ import annotations

import pytest

from gpu import Batch
from guest.emulator import klv
from guest.emulator.__main__ import parse
from guest.emulator.device import REGION_BAR2
from guest.emulator.hxg import Action
from guest.emulator.klv import GMD_ID
from tests.emulator.driver import PAGE, RW, Driver, Queue, Vm, machine
from tests.emulator.test_tlb import BATCH, DATA, Poller


@pytest.fixture
def driver() -> Driver:
    """The driver of a machine with an integrated GPU."""
    return machine(model="ptl")[0]


def test_it_has_no_vram(driver: Driver) -> None:
    gpu = driver.gpu
    assert gpu.regions[REGION_BAR2].size == 0
    assert gpu.vram_window() is None
    assert gpu.config.read(0, 4) == bytes.fromhex("8680 80b0")
    assert gpu.config.read(0x18, 8) == bytes(8)
    assert driver.mailbox(Action.QUERY_SINGLE_KLV, GMD_ID)[1] >> 22 == 30


def test_its_registers_are_those_of_its_generation(driver: Driver) -> None:
    driver.request(Action.RELAY_TO_PF, 8, 0x0101 | 0xFFF << 16, 0)
    message = driver.take(Action.RELAY_FROM_PF)
    offsets = message[3::2]
    assert 0x9130 in offsets
    assert offsets == sorted(offsets)
    assert len(offsets) == len(klv.XE3_MAIN_REGISTERS)


@pytest.mark.parametrize("shift", [12, 16, 21])
def test_pages_of_each_size(driver: Driver, vm: Vm, queue: Queue, shift: int) -> None:
    base = driver.guest.pages.take(1 << shift, 1 << shift)
    vm.map(DATA, base, 1 << shift, RW, shift)
    queue.run(queue.place(Batch().store_dword(DATA + (1 << shift) - 4, 7).end(), BATCH))
    assert driver.ram_u32(base + (1 << shift) - 4) == 7
    assert not driver.checks.reports


def test_fault_is_served_by_an_entry_in_system_memory(driver: Driver, vm: Vm, queue: Queue) -> None:
    page = driver.ram()
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    fault = driver.fault()
    vm.map(DATA, page)
    driver.answer_fault(fault)
    driver.until(lambda: queue.completed == 1)
    assert driver.ram_u32(page) == 1


def test_translation_is_kept_until_it_is_invalidated(driver: Driver, vm: Vm, queue: Queue) -> None:
    old, new = driver.ram(), driver.ram()
    vm.map(DATA, old)
    poller = Poller(driver, vm, queue)
    poller.step(1)
    vm.map(DATA, new)
    poller.step(2)
    driver.invalidate(vm.asid, DATA, PAGE)
    poller.step(3)
    assert (driver.ram_u32(old), driver.ram_u32(new)) == (2, 3)


def test_sweep_sees_entries_in_system_memory(driver: Driver, vm: Vm, queue: Queue) -> None:
    vm.map(DATA, driver.ram())
    poller = Poller(driver, vm, queue)
    poller.step(1)
    vm.unmap(DATA)
    driver.gt.cache.sweep(0.0)
    driver.gt.cache.sweep(100.0)
    poller.step(2)
    assert [report["check"] for report in driver.checks.reports] == ["stale-translation"]


def test_table_where_nothing_answers_is_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    at = vm.entry_address(DATA, 1)
    driver.memory.cast("Q")[at >> 3] = 1 << 40 | RW
    queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH + (1 << 30)))
    driver.fault()
    assert [report["check"] for report in driver.checks.reports] == ["table-missing"]


@pytest.mark.parametrize("option", [["--vram", "1G"], ["--bar", "256M"]])
def test_it_takes_no_options_of_vram(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--socket", "s", "--platform", "ptl", *option])
    assert f"{option[0]}: ptl has no VRAM" in capsys.readouterr().err
