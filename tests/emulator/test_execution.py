# SPDX-License-Identifier: MIT
"""Contexts: rings, batches, slices, waits, disable and enable, hangs."""

from __future__ import annotations

import struct

import pytest

from gpu import Batch
from gpu import commands as c
from guest.emulator import scheduler
from guest.emulator.context import RING_HEAD, TIMESTAMP
from guest.emulator.hxg import Action
from tests.emulator.driver import AE, LOCAL, NULL, RW, Driver, Queue, Vm, machine

BATCH, DATA = 0x10_0000, 0x20_0000


@pytest.fixture
def data(driver: Driver, vm: Vm) -> int:
    """A page of guest RAM at DATA."""
    page = driver.ram()
    vm.map(DATA, page, flags=RW)
    return page


def test_batch_stores_into_guest_memory(driver: Driver, queue: Queue, data: int) -> None:
    queue.run(queue.place(Batch().store_dword(DATA + 8, 0x1234_5678).end(), BATCH))
    assert driver.ram_u32(data + 8) == 0x1234_5678


def test_kernel_batch_runs_at_a_global_address(driver: Driver) -> None:
    page, batch = driver.ram(), driver.ram()
    where, start = driver.global_map(page, 4096), driver.global_map(batch, 4096)
    words = [*c.StoreDataImm.encode(ggtt=1, address=where, data=[42]), *c.BatchBufferEnd.encode()]
    driver.guest.ram[batch : batch + 4 * len(words)] = struct.pack(f"<{len(words)}I", *words)
    driver.queue(None, "rcs0").register().enable().run(start)
    assert driver.ram_u32(page) == 42


def test_user_interrupt_reaches_the_engines_bytes(driver: Driver, queue: Queue, data: int) -> None:
    queue.run(queue.place(Batch().end(), BATCH))
    driver.rest()
    assert driver.guest.ram[driver.irq_page + 0x400 + queue.engine.irq_offset] == 0xFF
    assert driver.guest.ram[driver.irq_page + 16 * queue.engine.irq_offset] == 0xFF


def test_ring_wraps(driver: Driver, queue: Queue, data: int) -> None:
    batch = queue.place(Batch().atomic(DATA, "inc").end(), BATCH)
    vm = queue.vm
    assert vm is not None
    vm.map(DATA, data, flags=RW | AE)
    for _ in range(200):
        queue.run(batch)
    assert driver.ram_u32(data) == 200


def test_semaphore_parks_only_its_own_context(driver: Driver, vm: Vm, data: int, queue: Queue) -> None:
    waiting = queue.submit(queue.place(Batch().semaphore_wait(DATA, 7).store_dword(DATA + 4, 1).end(), BATCH))
    driver.rest()
    other = driver.queue(vm, "ccs0").register().enable()
    other.run(other.place(Batch().store_dword(DATA + 8, 2).end(), BATCH + 0x1_0000))
    assert (driver.ram_u32(data + 4), driver.ram_u32(data + 8)) == (0, 2)
    driver.guest.ram[data] = 7
    driver.until(lambda: queue.completed == waiting)
    assert driver.ram_u32(data + 4) == 1


def test_endless_batch_leaves_others_running_and_can_be_disabled(
    driver: Driver, vm: Vm, data: int, queue: Queue
) -> None:
    queue.submit(queue.place(Batch().label("a").store_dword(DATA, 1).jump("a"), BATCH))
    other = driver.queue(vm, "ccs0").register().enable()
    other.run(other.place(Batch().store_dword(DATA + 8, 2).end(), BATCH + 0x1_0000))
    assert driver.ram_u32(data) == 1
    queue.disable()
    driver.guest.ram[data] = 0
    driver.rest()
    assert driver.ram_u32(data) == 0
    queue.deregister()


def test_disabled_context_goes_on_where_it_was(driver: Driver, data: int, queue: Queue) -> None:
    batch = Batch().store_dword(DATA + 4, 1).semaphore_wait(DATA, 1).store_dword(DATA + 8, 1).end()
    seqno = queue.submit(queue.place(batch, BATCH))
    driver.rest()
    queue.disable()
    driver.guest.ram[data] = 1
    driver.guest.ram[data + 4] = 0
    driver.rest()
    assert driver.ram_u32(data + 8) == 0
    queue.enable()
    driver.until(lambda: queue.completed == seqno)
    assert (driver.ram_u32(data + 4), driver.ram_u32(data + 8)) == (0, 1)


def test_disable_tells_head_and_time(driver: Driver, data: int, queue: Queue) -> None:
    queue.run(queue.place(Batch().end(), BATCH))
    driver.rest()
    assert queue.state(RING_HEAD) == queue.tail
    queue.submit(queue.place(Batch().semaphore_wait(DATA, 1).end(), BATCH))
    driver.rest()
    before = queue.state(TIMESTAMP)
    queue.disable()
    assert queue.state(TIMESTAMP) > before


def test_atomic_is_an_atomic_fault_without_the_bit(driver: Driver, vm: Vm, data: int, queue: Queue) -> None:
    queue.submit(queue.place(Batch().atomic(DATA, "add", 3).end(), BATCH))
    driver.until(lambda: driver.has(Action.REPORT_PAGE_FAULT))
    assert driver.take(Action.REPORT_PAGE_FAULT)[2] & 0xF == 2 | 2 << 2


def test_null_page_reads_zero_and_drops_stores(driver: Driver, vm: Vm, data: int, queue: Queue) -> None:
    vm.map(DATA + 0x1000, 0, flags=RW | NULL)
    driver.guest.ram[data : data + 4] = b"\xff" * 4
    batch = Batch().store_dword(DATA + 0x1000, 9).copy_mem(DATA, DATA + 0x1000).end()
    queue.run(queue.place(batch, BATCH))
    assert driver.ram_u32(data) == 0


@pytest.mark.parametrize("shift", [12, 16, 21, 30])
def test_pages_of_every_size_translate(driver: Driver, shift: int) -> None:
    driver = machine(vram=2 << 30, bar=256 << 20)[0] if shift == 30 else driver
    vm = driver.vm(asid=9)
    size = 1 << shift
    base = 1 << 30 if shift == 30 else driver.vram.take(size, size)
    at = 1 << 40
    vm.map(at, base, size, RW | LOCAL, shift)
    queue = driver.queue(vm).register().enable()
    queue.run(queue.place(Batch().store_dword(at + size - 4, 0xABCD).store_dword(at, 1).end(), BATCH))
    assert (driver.vram_u32(base + size - 4), driver.vram_u32(base)) == (0xABCD, 1)


def test_copies_cross_pages_that_are_not_contiguous(driver: Driver, vm: Vm, queue: Queue) -> None:
    pages = [driver.ram() for _ in range(8)]
    pages = pages[::2] + pages[1::2]
    vram = driver.vram.take(8 * 4096, 1 << 16)
    for index, page in enumerate(pages):
        vm.map(DATA + 4096 * index, page)
        driver.guest.ram[page : page + 4096] = bytes([index + 1]) * 4096
    vm.map(DATA + 0x10_0000, vram, 8 * 4096, RW | LOCAL)
    queue.run(queue.place(Batch().copy(DATA + 0x10_0000, DATA, 8 * 4096).end(), BATCH))
    expected = b"".join(bytes([index + 1]) * 4096 for index in range(8))
    assert driver.gpu.vram.view[vram : vram + 8 * 4096] == expected


def test_driver_watchdog_wait_is_satisfied(driver: Driver) -> None:
    queue = driver.queue(None, "rcs0").register().enable()
    wait = c.SemaphoreWait.encode(ggtt=1, poll=1, compare=4, data=0xDEAD, address=queue.lrca)
    queue.ring([*wait, *queue.store_global(queue.fence_ggtt, 1)])
    driver.fast(Action.SCHED_CONTEXT, queue.identity)
    driver.until(lambda: queue.completed == 1)


def test_illegal_instruction_hangs_and_is_reset(
    driver: Driver, vm: Vm, data: int, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "HANG_SECONDS", 0.0)
    queue.submit(queue.place(Batch().raw(0x7F << 23).end(), BATCH))
    driver.until(lambda: driver.has(Action.CONTEXT_RESET_NOTIFICATION))
    assert driver.take(Action.CONTEXT_RESET_NOTIFICATION) == [queue.identity]
    queue.disable()
    queue.deregister()
    other = driver.queue(vm, "ccs0").register().enable()
    other.run(other.place(Batch().store_dword(DATA, 2).end(), BATCH + 0x1_0000))
    assert driver.ram_u32(data) == 2


def test_context_that_hangs_is_reset_when_it_is_disabled(driver: Driver, queue: Queue) -> None:
    queue.submit(queue.place(Batch().raw(0x7F << 23).end(), BATCH))
    driver.rest()
    assert not driver.has(Action.CONTEXT_RESET_NOTIFICATION)
    queue.disable()
    assert driver.take(Action.CONTEXT_RESET_NOTIFICATION) == [queue.identity]
    queue.deregister()


def test_engines_without_a_class_are_refused(driver: Driver) -> None:
    driver.fast(Action.REGISTER_CONTEXT, 1, 9, 1, 1, 0, 0, 0, 0, 0, 0x100_0001, 0)
    assert [report["check"] for report in driver.checks.reports] == ["message-unknown"]
