# SPDX-License-Identifier: MIT
"""Behind an IOMMU: memory comes and goes page by page, and what is unmapped must be in no translation."""

from __future__ import annotations

import pytest

from gpu import Batch
from guest.emulator.memory import LARGE, PAGE
from tests.emulator.driver import RAM, RW, Driver, Queue, Vm
from tests.emulator.test_tlb import BATCH, DATA, Poller, kept

IOVA = 0xFFE0_0000
"""Bus addresses that nothing of the driver double uses."""


@pytest.fixture(autouse=True)
def behind_an_iommu(driver: Driver) -> None:
    """All of the RAM, mapped in pages."""
    driver.gpu.dma_unmap(0, RAM)
    for start in range(0, RAM, LARGE // 2):
        driver.gpu.dma_map(start, LARGE // 2, driver.guest.descriptor, start, True)


def dma_map(driver: Driver, bus: int, page: int, *, writable: bool = True) -> None:
    driver.gpu.dma_map(bus, PAGE, driver.guest.descriptor, page, writable)


def checks(driver: Driver) -> list[object]:
    return [report["check"] for report in driver.checks.reports]


def serve_a_fault(driver: Driver, vm: Vm, queue: Queue) -> None:
    """From here on the address space is one with page faults."""
    queue.submit(queue.place(Batch().store_dword(DATA + (8 << 20), 1).end(), BATCH))
    fault = driver.fault()
    vm.map(DATA + (8 << 20), driver.ram())
    driver.answer_fault(fault)
    driver.rest()


def in_use(driver: Driver, vm: Vm, queue: Queue) -> tuple[int, Poller]:
    """A page at DATA whose translation is cached, and the batch that uses it again at each step."""
    page = driver.ram()
    vm.map(DATA, page)
    poller = Poller(driver, vm, queue)
    poller.step(1)
    return page, poller


@pytest.mark.parametrize("shift", [16, 21], ids=["64K", "2M"])
def test_large_page_over_scattered_memory(driver: Driver, vm: Vm, queue: Queue, shift: int) -> None:
    first, other = driver.ram(), driver.ram()
    dma_map(driver, IOVA, other)
    dma_map(driver, IOVA + PAGE, first)
    vm.map(DATA, IOVA, 1 << shift, RW, shift)
    batch = Batch().store_dword(DATA + 4, 1).store_dword(DATA + PAGE + 8, 2)
    batch.copy(DATA + (1 << 22), DATA, 2 * PAGE)
    copy = driver.ram(2 * PAGE)
    vm.map(DATA + (1 << 22), copy, 2 * PAGE)
    queue.run(queue.place(batch.end(), BATCH))
    assert (driver.ram_u32(other + 4), driver.ram_u32(first + 8)) == (1, 2)
    assert (driver.ram_u32(copy + 4), driver.ram_u32(copy + PAGE + 8)) == (1, 2)
    assert not driver.checks.reports


def test_unmapped_page_in_a_translation_is_reported_without_an_access(
    driver: Driver, vm: Vm, queue: Queue
) -> None:
    serve_a_fault(driver, vm, queue)
    page, _ = in_use(driver, vm, queue)
    vm.unmap(DATA)
    driver.gpu.dma_unmap(page, PAGE)
    driver.invalidate(vm.asid, DATA, PAGE)  # too late
    assert checks(driver) == ["translation-outlives-dma"]
    assert driver.checks.reports[0]["page"] == hex(DATA)


def test_page_that_is_unmapped_after_the_invalidation_is_not_reported(
    driver: Driver, vm: Vm, queue: Queue
) -> None:
    serve_a_fault(driver, vm, queue)
    page, _ = in_use(driver, vm, queue)
    vm.unmap(DATA)
    driver.invalidate(vm.asid, DATA, PAGE)
    driver.gpu.dma_unmap(page, PAGE)
    driver.rest()
    assert not driver.checks.reports
    assert driver.gpu.bus.resolve(page, 4) is None


@pytest.mark.parametrize("again", [False, True], ids=["unmapped", "mapped-for-another"])
def test_vm_without_faults_is_reported_when_it_uses_the_translation(
    driver: Driver, vm: Vm, queue: Queue, again: bool
) -> None:
    """Its jobs do not run while its memory moves, and flush when they run again."""
    other = driver.ram()
    page, poller = in_use(driver, vm, queue)
    driver.gpu.dma_unmap(page, PAGE)
    if again:
        dma_map(driver, page, other)
    driver.rest()
    assert not driver.checks.reports
    assert kept(driver, vm)
    poller.step(2)
    assert checks(driver) == ["translation-outlives-dma", *([] if again else ["no-memory"])]
    assert (driver.ram_u32(page), driver.ram_u32(other)) == (1, 2 * again)


def test_part_of_a_large_page_is_unmapped(driver: Driver, vm: Vm, queue: Queue) -> None:
    serve_a_fault(driver, vm, queue)
    vm.map(DATA, IOVA, 1 << 16, RW, 16)
    dma_map(driver, IOVA, driver.ram())
    dma_map(driver, IOVA + 3 * PAGE, driver.ram())
    queue.run(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    driver.gpu.dma_unmap(IOVA + 3 * PAGE, PAGE)
    driver.rest()
    assert checks(driver) == ["translation-outlives-dma"]


def test_translation_read_again_after_the_flush_is_a_new_one(driver: Driver, vm: Vm, queue: Queue) -> None:
    other = driver.ram()
    page, poller = in_use(driver, vm, queue)
    driver.gpu.dma_unmap(page, PAGE)
    driver.rest()
    driver.invalidate(vm.asid, DATA, PAGE)
    dma_map(driver, page, other)
    poller.step(2)
    assert not driver.checks.reports
    assert driver.ram_u32(other) == 2


def test_store_to_memory_for_reads_is_dropped_and_reported(driver: Driver, vm: Vm, queue: Queue) -> None:
    page, copy = driver.ram(), driver.ram()
    dma_map(driver, page, page, writable=False)
    driver.guest.ram[page] = 7
    vm.map(DATA, page)
    vm.map(DATA + PAGE, copy)
    batch = Batch().copy(DATA + PAGE, DATA, PAGE).store_dword(DATA, 1)
    queue.run(queue.place(batch.end(), BATCH))
    assert checks(driver) == ["dma-read-only"]
    assert (driver.ram_u32(page), driver.ram_u32(copy)) == (7, 7)
