# SPDX-License-Identifier: MIT
"""The GuC: mailbox, transport, relay."""

from __future__ import annotations

import os

import pytest

from guest.emulator import hxg
from guest.emulator.device import MEDIA_DOORBELL
from guest.emulator.guc import INVALIDATE_FLUSHES as FLUSHES
from guest.emulator.guc import INVALIDATE_LITE, NO_ANSWER, SEQNOS
from guest.emulator.hxg import Action, Failure, Type
from guest.emulator.klv import MAIN_REGISTERS
from tests.emulator.driver import G2H_SIZE, VRAM, Driver


def test_capability_register_says_virtual_function(driver: Driver) -> None:
    assert driver.read(0x1901F8) & 1
    driver.write(0x1901F8, 0)  # the driver's write barrier
    assert driver.read(0x1901F8) & 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (0x3000, [0x05004004]),
        (0x0001, [0x0100_0000, 0]),
        (0x0003, [VRAM, 0]),
        (0x0006, [0]),
    ],
)
def test_provisioned_values_have_the_length_of_their_key(driver: Driver, key: int, value: list[int]) -> None:
    reply = driver.mailbox(Action.QUERY_SINGLE_KLV, key)
    assert reply[0] == hxg.success(len(value))
    assert reply[1 : 1 + len(value)] == value


def test_unknown_value_is_refused(driver: Driver) -> None:
    assert driver.mailbox(Action.QUERY_SINGLE_KLV, 0x7FFF)[0] == hxg.failure(Failure.INVALID_KLV_KEY)


def test_media_gpu_does_not_exist(driver: Driver) -> None:
    driver.bell = MEDIA_DOORBELL
    assert driver.mailbox(Action.VF_RESET)[0] == hxg.success()
    assert driver.mailbox(Action.QUERY_SINGLE_KLV, 0x3000)[:2] == [hxg.success(1), 0]


def test_hardware_table_is_written_where_asked(driver: Driver) -> None:
    size = driver.mailbox(Action.GET_HWCONFIG, 0, 0, 0)[0] & 0xFFFF
    page = driver.ram()
    where = driver.global_map(page, 4096)
    assert driver.mailbox(Action.GET_HWCONFIG, where, 0, size)[0] == hxg.success(size)
    assert driver.ram_u32(page) != 0


def test_unknown_configuration_key_counts_zero(driver: Driver) -> None:
    assert driver.configure(0x0FFF, 0)[0] == hxg.success(0)


def test_relay_tells_version_and_registers(driver: Driver) -> None:
    assert driver.request(Action.RELAY_TO_PF, 7, 0x0001, 1 << 16) == [hxg.success()]
    assert driver.take(Action.RELAY_FROM_PF) == [7, 0x70000000, 0x00010000]
    driver.request(Action.RELAY_TO_PF, 8, 16 << 16 | 0x0101, 0)
    rid, header, remaining, *values = driver.take(Action.RELAY_FROM_PF)
    assert (rid, header & 0xFFF, remaining) == (8, len(MAIN_REGISTERS), 0)
    offsets = values[::2]
    assert offsets == sorted(offsets)


def test_messages_interrupt_the_host(driver: Driver) -> None:
    os.eventfd_read(driver.event) if _rung(driver) else None
    driver.fast(Action.TLB_INVALIDATION, 5, FLUSHES | 3)
    assert driver.guest.ram[driver.irq_page + 0x400 + 25] == 0xFF
    assert driver.guest.ram[driver.irq_page + 25 * 16 + 15] == 0xFF
    assert _rung(driver)


def _rung(driver: Driver) -> bool:
    try:
        return os.eventfd_read(driver.event) > 0
    except BlockingIOError:
        return False


def test_fast_requests_get_no_reply(driver: Driver) -> None:
    driver.fast(Action.UPDATE_CONTEXT_POLICIES, 1, 0x20010001, 1000)
    assert driver.replies == {}


def test_transport_wraps_in_both_directions(driver: Driver) -> None:
    for seqno in range(1, 2 * G2H_SIZE // 12 + 10):
        driver.fast(Action.TLB_INVALIDATION, seqno, FLUSHES | 3)
        assert driver.take(Action.TLB_INVALIDATION_DONE) == [seqno]


def test_full_receive_buffer_holds_messages_back_and_loses_none(driver: Driver) -> None:
    many = G2H_SIZE // 12 + 50
    for seqno in range(1, many + 1):
        driver.send(Type.FAST_REQUEST << 28 | Action.TLB_INVALIDATION, seqno, FLUSHES | 3, doorbell=False)
        if seqno % 100 == 0:
            driver.gpu.turn()
    driver.gpu.turn()
    taken: list[int] = []
    for _ in range(3):
        driver.drain()
        driver.gpu.turn()
    taken = [message[1] for message in driver.received]
    assert taken == list(range(1, many + 1))


@pytest.mark.parametrize("log_pages", [0, 8, 9, 12, 20], ids=["4K", "1M", "2M", "16M", "4G"])
def test_flush_of_any_other_length_is_not_reported(driver: Driver, log_pages: int) -> None:
    driver.fast(Action.TLB_INVALIDATION, 1, FLUSHES | 1, 5, 0, 0, log_pages)
    assert driver.checks.reports == []


@pytest.mark.parametrize(
    ("numbers", "reports"),
    [
        ((1, 2, 3), 0),
        ((5, 9, 100), 0),
        ((SEQNOS - 2, SEQNOS - 1, 1), 0),
        ((1, SEQNOS, 2), 0),
        ((1, NO_ANSWER, NO_ANSWER, 2), 0),
        ((7, 7), 1),
        ((7, 6), 1),
        ((7, 8, 7), 1),
    ],
)
def test_flush_seqnos_go_up(driver: Driver, numbers: tuple[int, ...], reports: int) -> None:
    for number in numbers:
        driver.fast(Action.TLB_INVALIDATION, number, FLUSHES)
    assert [report["check"] for report in driver.checks.reports] == ["invalidation-seqno"] * reports


def test_flush_that_nobody_waits_for_may_leave_caches(driver: Driver) -> None:
    driver.fast(Action.TLB_INVALIDATION, NO_ANSWER, 1, 5, 0, 0, 0)
    assert driver.checks.reports == []


@pytest.mark.parametrize(
    ("message", "check"),
    [
        ((Action.SCHED_CONTEXT, 1, 2), "message-length"),
        ((Action.REGISTER_CONTEXT, 1), "message-length"),
        ((Action.TLB_INVALIDATION, 1, FLUSHES | 1, 5, 0), "message-length"),
        ((0x0ABC, 1), "message-unknown"),
        ((Action.SCHED_CONTEXT, 77), "message-order"),
        ((Action.DEREGISTER_CONTEXT, 77), "message-order"),
        ((Action.PAGE_FAULT_RESPONSE, 1, 0x12340000), "fault-unknown"),
        ((Action.TLB_INVALIDATION, 1, FLUSHES | 1, 5, 0x1000, 0, 4), "invalidation-range"),
        ((Action.TLB_INVALIDATION, 1, FLUSHES | 1, 5, 0, 0, 10), "invalidation-length"),
        ((Action.TLB_INVALIDATION, 1, FLUSHES | 1, 5, 0, 0, 11), "invalidation-length"),
        ((Action.TLB_INVALIDATION, 1, FLUSHES | INVALIDATE_LITE | 1, 5, 0, 0, 0), "invalidation-mode"),
        ((Action.TLB_INVALIDATION_ALL, 1, 0), "invalidation-mode"),
        ((Action.TLB_INVALIDATION, 0, FLUSHES), "invalidation-seqno"),
        ((Action.TLB_INVALIDATION, SEQNOS + 1, FLUSHES), "invalidation-seqno"),
    ],
)
def test_wrong_messages_are_reported(driver: Driver, message: tuple[int, ...], check: str) -> None:
    driver.fast(*message)
    assert [report["check"] for report in driver.checks.reports] == [check]


def test_unknown_request_is_refused(driver: Driver) -> None:
    assert driver.request(0x0ABC, 1) == [hxg.failure(Failure.UNKNOWN_ACTION)]


def test_impossible_offsets_stop_the_transport(driver: Driver) -> None:
    descriptor = driver.guest.ram[driver.descriptors : driver.descriptors + 64].cast("I")
    descriptor[1] = 0xFFFFFFFF
    driver.gpu.turn()
    assert [report["check"] for report in driver.checks.reports] == ["ctb"]
    assert descriptor[2] != 0


def test_reset_forgets_contexts_and_messages(driver: Driver) -> None:
    queue = driver.queue(None).register().enable()
    assert driver.mailbox(Action.VF_RESET)[0] == hxg.success()
    driver.start()
    driver.fast(Action.SCHED_CONTEXT, queue.identity)
    assert [report["check"] for report in driver.checks.reports] == ["message-order"]
