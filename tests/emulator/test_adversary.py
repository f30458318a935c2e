# SPDX-License-Identifier: MIT
"""Delayed events, and the state until then."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from gpu import Batch
from guest.emulator.adversary import MODES, Adversary, Agenda, Failure, Kind, UnitFaults
from guest.emulator.checks import Checks
from guest.emulator.guc import INVALIDATE_FLUSHES as FLUSHES
from guest.emulator.hxg import Action
from guest.emulator.klv import EXECUTION_UNITS
from guest.emulator.memory import PAGE
from guest.emulator.orders import Orders
from tests.emulator.driver import Driver, Queue, Vm, machine

BATCH, DATA = 0x10_0000, 0x20_0000
PREFETCHED = 1 << 11
"""In the third dword of a fault (xe_guc_fwif.h: PFD_PREFETCH)."""


class Slow(Adversary):
    """Delays that the test sets, in seconds of its own clock."""

    def __init__(self) -> None:
        super().__init__(now=lambda: self.time)
        self.time = 0.0
        self.late: dict[Kind, float] = {}
        self.last_first = False

    def delay(self, kind: Kind, device: str) -> float:
        return self.late.get(kind, 0.0)

    def pick(self, count: int) -> int:
        return count - 1 if self.last_first else 0


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def driver(slow: Slow) -> Driver:
    return machine(adversary=slow)[0]


def work(driver: Driver, times: int = 5) -> None:
    """Let the GPU work until nothing more is due."""
    for _ in range(times):
        driver.rest()


def flush(driver: Driver, seqno: int) -> None:
    driver.fast(Action.TLB_INVALIDATION, seqno, FLUSHES | 1, 5, DATA, 0, 0)


def answers(driver: Driver, action: Action) -> list[list[int]]:
    found = []
    while driver.has(action):
        found.append(driver.take(action))
    return found


def test_page_is_reached_until_its_late_flush_is_done(
    driver: Driver, vm: Vm, queue: Queue, slow: Slow
) -> None:
    old, new, gate = driver.ram(), driver.ram(), driver.ram()
    vm.map(DATA, old)
    vm.map(DATA + 0x8000, gate)
    batch = Batch().store_dword(DATA, 1)
    for turn in (1, 2):
        batch.semaphore_wait(DATA + 0x8000, turn, ">=").store_dword(DATA + 4 * turn, turn)
    seqno = queue.submit(queue.place(batch.end(), BATCH))
    driver.rest()
    vm.map(DATA, new)
    slow.late[Kind.FLUSH] = 2.0
    flush(driver, 1)
    driver.guest.ram[gate] = 1
    slow.time = 1.9
    driver.until(lambda: driver.ram_u32(old + 4) == 1)
    assert not driver.has(Action.TLB_INVALIDATION_DONE)
    slow.time = 2.0
    driver.gpu.turn()
    driver.drain()
    assert driver.take(Action.TLB_INVALIDATION_DONE) == [1]
    driver.guest.ram[gate] = 2
    driver.until(lambda: queue.completed == seqno)
    assert (driver.ram_u32(old + 8), driver.ram_u32(new + 8)) == (0, 2)


def test_flushes_are_answered_in_order(driver: Driver, slow: Slow) -> None:
    for seqno, late in ((1, 3.0), (2, 0.0), (3, 1.0)):
        slow.late[Kind.FLUSH] = late
        flush(driver, seqno)
    slow.time = 2.9
    work(driver)
    assert not driver.has(Action.TLB_INVALIDATION_DONE)
    slow.time = 3.0
    work(driver)
    assert answers(driver, Action.TLB_INVALIDATION_DONE) == [[1], [2], [3]]
    assert not driver.checks.reports


def test_context_runs_until_its_late_disable_is_done(
    driver: Driver, vm: Vm, queue: Queue, slow: Slow
) -> None:
    page = driver.ram()
    vm.map(DATA, page)
    queue.submit(queue.place(Batch().semaphore_wait(DATA, 1).store_dword(DATA + 4, 7).end(), BATCH))
    driver.rest()
    slow.late[Kind.CONTEXT] = 2.0
    driver.fast(Action.SCHED_CONTEXT_MODE_SET, queue.identity, 0)
    driver.guest.ram[page] = 1
    driver.until(lambda: driver.ram_u32(page + 4) == 7)
    assert not driver.has(Action.SCHED_CONTEXT_MODE_DONE)
    slow.time = 2.0
    driver.until(lambda: driver.has(Action.SCHED_CONTEXT_MODE_DONE))
    assert driver.take(Action.SCHED_CONTEXT_MODE_DONE) == [queue.identity, 0]


def test_what_is_asked_for_one_context_keeps_its_order(
    driver: Driver, vm: Vm, queue: Queue, slow: Slow
) -> None:
    page = driver.ram()
    vm.map(DATA, page)
    slow.late[Kind.CONTEXT] = 2.0
    driver.fast(Action.SCHED_CONTEXT_MODE_SET, queue.identity, 0)
    slow.late.clear()
    driver.fast(Action.SCHED_CONTEXT_MODE_SET, queue.identity, 1)
    seqno = queue.submit(queue.place(Batch().store_dword(DATA, 7).end(), BATCH))
    work(driver)
    assert not driver.received
    slow.time = 2.0
    driver.until(lambda: queue.completed == seqno)
    assert answers(driver, Action.SCHED_CONTEXT_MODE_DONE) == [[queue.identity, 0], [queue.identity, 1]]
    assert not driver.checks.reports


def test_late_deregistration_is_no_obstacle_to_other_contexts(
    driver: Driver, vm: Vm, queue: Queue, slow: Slow
) -> None:
    queue.disable()
    slow.late[Kind.CONTEXT] = 2.0
    driver.fast(Action.DEREGISTER_CONTEXT, queue.identity)
    slow.late.clear()
    other = driver.queue(vm).register().enable()
    assert not driver.has(Action.DEREGISTER_CONTEXT_DONE)
    slow.time = 2.0
    work(driver)
    assert driver.take(Action.DEREGISTER_CONTEXT_DONE) == [queue.identity]
    assert other.identity != queue.identity


def test_any_context_that_is_ready_may_be_next(driver: Driver, slow: Slow) -> None:
    page = driver.ram()
    queues = []
    for asid in (5, 6):
        vm = driver.vm(asid)
        vm.map(DATA, page)
        queues.append(driver.queue(vm).register().enable())
    slow.last_first = True
    jobs = [
        queue.submit(queue.place(Batch().store_dword(DATA, number).end(), BATCH))
        for number, queue in enumerate(queues, 1)
    ]
    for queue, job in zip(queues, jobs, strict=True):
        driver.until(lambda queue=queue, job=job: queue.completed == job)
    assert driver.ram_u32(page) == 1


def test_reset_ends_what_is_late(driver: Driver, slow: Slow) -> None:
    slow.late[Kind.FLUSH] = 2.0
    flush(driver, 1)
    driver.start()
    slow.time = 2.0
    work(driver)
    assert not driver.received


def test_lines_of_an_agenda_do_not_wait_for_each_other() -> None:
    time, done = [0.0], []
    agenda = Agenda(lambda: time[0])
    for line, delay, name in (("a", 2.0, "a1"), ("a", 0.0, "a2"), ("b", 1.0, "b1"), ("c", 0.0, "c1")):
        agenda.put(line, delay, lambda name=name: done.append(name))
    assert done == ["c1"]
    assert agenda.turn() == 1.0
    time[0] = 1.0
    assert agenda.turn() == 1.0
    assert done == ["c1", "b1"]
    time[0] = 2.0
    assert agenda.turn() is None
    assert done == ["c1", "b1", "a1", "a2"]
    agenda.put("a", 0.0, lambda: done.append("a3"))
    assert done[-1] == "a3"


def drawn(mode: str, seed: int, test: str, kind: Kind = Kind.FLUSH, count: int = 400) -> list[float]:
    adversary = Adversary(MODES[mode])
    adversary.begin(seed, test)
    return [adversary.delay(kind, "gpu0") for _ in range(count)]


def test_test_of_a_seed_draws_the_same_again() -> None:
    first = drawn("mild", 1, "a")
    assert first == drawn("mild", 1, "a")
    assert first != drawn("mild", 2, "a")
    assert first != drawn("mild", 1, "b")
    assert first != drawn("mild", 1, "a", Kind.CONTEXT)


def test_what_was_drawn_before_a_test_does_not_matter() -> None:
    adversary = Adversary(MODES["mild"])
    adversary.delay(Kind.FLUSH, "gpu0")
    adversary.begin(1, "a")
    assert [adversary.delay(Kind.FLUSH, "gpu0") for _ in range(400)] == drawn("mild", 1, "a")


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("kind", Kind)
def test_so_many_events_are_late_and_none_by_too_much(mode: str, kind: Kind) -> None:
    delays = drawn(mode, 7, "a", kind)
    share, longest = MODES[mode].share, MODES[mode].longest.get(kind, 0.0)
    late = sum(delay > 0 for delay in delays)
    assert abs(late - share * len(delays)) <= 0.1 * len(delays)
    assert max(delays) <= longest
    assert max(delays) >= 0.8 * longest


@pytest.mark.parametrize(("kind", "limit"), [(Kind.FLUSH, 0.25), (Kind.CONTEXT, 5.0)])
def test_nothing_is_later_than_the_driver_waits(kind: Kind, limit: float) -> None:
    assert all(mode.longest.get(kind, 0.0) < limit / 4 for mode in MODES.values())


@pytest.fixture
def ordering() -> Iterator[tuple[socket.socket, Orders, Adversary, Checks]]:
    ours, theirs = socket.socketpair()
    adversary, checks = Adversary(MODES["mild"]), Checks()
    with ours, theirs:
        yield ours, Orders(theirs.fileno(), adversary, checks), adversary, checks


def test_order_begins_a_test_and_is_answered(
    ordering: tuple[socket.socket, Orders, Adversary, Checks],
) -> None:
    port, orders, adversary, checks = ordering
    adversary.delay(Kind.FLUSH, "gpu0")
    line = json.dumps({"seed": 1, "test": "a"}).encode() + b"\n"
    port.sendall(line[:9])
    assert orders.serve()
    port.sendall(line[9:])
    assert orders.serve()
    assert json.loads(port.recv(100)) == {"left": []}
    assert [adversary.delay(Kind.FLUSH, "gpu0") for _ in range(400)] == drawn("mild", 1, "a")
    assert not checks.reports


def faulting(driver: Driver, vm: Vm, engine: str) -> tuple[Queue, int, list[list[int]]]:
    """A queue whose batch stores 7 at DATA, where nothing is mapped; the number of its job, and the faults."""
    queue = driver.queue(vm, engine).register().enable()
    seqno = queue.submit(queue.place(Batch().store_dword(DATA, 7).end(), BATCH))
    driver.until(lambda: driver.has(Action.REPORT_PAGE_FAULT))
    return queue, seqno, answers(driver, Action.REPORT_PAGE_FAULT)


@pytest.mark.parametrize(("engine", "reports"), [("ccs0", EXECUTION_UNITS), ("bcs0", 1)])
def test_ordered_faults_of_all_units_are_each_answered(
    driver: Driver, vm: Vm, slow: Slow, engine: str, reports: int
) -> None:
    slow.unit_faults.add(UnitFaults.ALL_UNITS)
    queue, seqno, faults = faulting(driver, vm, engine)
    addresses = {fault[2] & 0xFFFF_F000 | fault[3] << 32 for fault in faults}
    assert len(faults) == len(addresses) == reports
    assert {address & -(2 << 20) for address in addresses} == {DATA}
    page = driver.ram()
    vm.map(DATA, page)
    for fault in reversed(faults):
        assert queue.completed == 0
        driver.answer_fault(fault)
        driver.rest()
    assert (queue.completed, driver.ram_u32(page)) == (seqno, 7)
    assert not driver.checks.reports


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("repeated", [True, False])
def test_ordered_prefetch_holds_no_context_up(
    driver: Driver, vm: Vm, slow: Slow, served: bool, repeated: bool
) -> None:
    """The batch continues whatever the answer, and an answer that refuses has to repeat the bit."""
    slow.unit_faults.add(UnitFaults.PREFETCH)
    queue, seqno, (demanded, ahead) = faulting(driver, vm, "ccs0")
    assert [fault[2] & PREFETCHED for fault in (demanded, ahead)] == [0, PREFETCHED]
    assert (ahead[2] & ~PREFETCHED, ahead[3]) == (DATA + PAGE & 0xFFFF_F000, DATA + PAGE >> 32)
    driver.answer_fault(ahead, served, prefetch=repeated)
    page = driver.ram()
    vm.map(DATA, page)
    driver.answer_fault(demanded)
    driver.rest()
    assert (queue.completed, driver.ram_u32(page)) == (seqno, 7)
    reported = [report["check"] for report in driver.checks.reports]
    assert reported == ([] if served or repeated else ["message-unknown"])


@pytest.mark.parametrize("kind", UnitFaults)
def test_order_for_faults_of_units_ends_with_its_test(
    ordering: tuple[socket.socket, Orders, Adversary, Checks], kind: UnitFaults
) -> None:
    port, orders, adversary, checks = ordering
    for order, ordered in (({"fault": kind.value}, {kind}), ({"seed": 1, "test": "a"}, set())):
        port.sendall(json.dumps(order).encode() + b"\n")
        assert orders.serve()
        assert adversary.unit_faults == ordered
    assert not checks.reports


@pytest.mark.parametrize("failure", Failure)
def test_ordered_failure_is_told_until_it_happens(
    ordering: tuple[socket.socket, Orders, Adversary, Checks], failure: Failure
) -> None:
    port, orders, adversary, checks = ordering

    def left(order: dict[str, object]) -> list[str]:
        port.sendall(json.dumps(order).encode() + b"\n")
        assert orders.serve()
        return json.loads(port.recv(100))["left"]  # type: ignore[no-any-return]

    for end, answer in (({}, [failure.value]), ({"seed": 1, "test": "a"}, [])):
        assert left({"failure": failure.value}) == [failure.value]
        assert left(end) == answer
        assert not adversary.fails(failure, "gpu0")
    assert left({"failure": failure.value}) == [failure.value]
    assert adversary.fails(failure, "gpu0")
    assert not adversary.fails(failure, "gpu0")
    assert adversary.ordered == {failure}
    assert left({}) == []
    assert not adversary.ordered
    assert not checks.reports


def test_flush_that_is_ordered_to_be_unanswered_is_done(
    driver: Driver, vm: Vm, queue: Queue, slow: Slow
) -> None:
    old, new = driver.ram(), driver.ram()
    vm.map(DATA, old)
    batch = queue.place(Batch().store_dword(DATA, 1).end(), BATCH)
    queue.submit(batch)
    driver.rest()
    vm.map(DATA, new)
    slow.failures.add(Failure.FLUSH_UNANSWERED)
    driver.fast(Action.TLB_INVALIDATION, 1, FLUSHES | 3, 0, 0, 0, 0)  # not of pages
    assert answers(driver, Action.TLB_INVALIDATION_DONE) == [[1]]
    flush(driver, 2)
    flush(driver, 3)
    assert answers(driver, Action.TLB_INVALIDATION_DONE) == [[3]]
    queue.submit(batch)
    driver.rest()
    assert driver.ram_u32(new) == 1
    assert not driver.checks.reports


@pytest.mark.parametrize("over", [True, False])
def test_ordered_reset_takes_a_job_of_the_kernel(
    driver: Driver, vm: Vm, queue: Queue, slow: Slow, over: bool
) -> None:
    data = driver.ram()
    vm.map(DATA, data)
    kernel = driver.queue(driver.vm(0)).register().enable()
    assert kernel.vm is not None
    page = driver.ram()
    kernel.vm.map(DATA, page)
    slow.order(Failure.KERNEL_RESET)
    seqno = queue.submit(queue.place(Batch().store_dword(DATA, 1).end(), BATCH))
    batch = Batch()
    for word in range(20):
        batch.store_dword(DATA + 4 * word, 1)
    first = kernel.submit(kernel.place(batch.end(), BATCH))
    driver.until(lambda: driver.has(Action.CONTEXT_RESET_NOTIFICATION))
    assert answers(driver, Action.CONTEXT_RESET_NOTIFICATION) == [[kernel.identity]]
    driver.rest()
    assert (queue.completed, kernel.completed) == (seqno, first - 1)
    assert driver.ram_u32(page + 4 * 19) == 0
    again = driver.queue(driver.vm(0)).register().enable()
    repeated = again.submit(again.place(Batch().end(), BATCH))
    driver.rest()
    assert again.completed == repeated - 1
    if over:
        slow.end_failures()
        driver.rest()
        assert again.completed == repeated
    else:
        driver.until(lambda: again.completed == repeated)
    assert not driver.checks.reports


def test_ordered_reset_takes_the_job_that_waits(driver: Driver, vm: Vm, queue: Queue, slow: Slow) -> None:
    gate, data = driver.ram(), driver.ram()
    vm.map(DATA + 0x8000, gate)
    vm.map(DATA, data)
    other = driver.queue(vm).register().enable()
    first = queue.submit(
        queue.place(Batch().semaphore_wait(DATA + 0x8000, 1).store_dword(DATA, 1).end(), BATCH)
    )
    driver.rest()
    slow.failures.add(Failure.PROGRAM_RESET)
    driver.until(lambda: driver.has(Action.CONTEXT_RESET_NOTIFICATION))
    assert answers(driver, Action.CONTEXT_RESET_NOTIFICATION) == [[queue.identity]]
    driver.guest.ram[gate] = 1
    seqno = other.submit(other.place(Batch().store_dword(DATA + 4, 2).end(), BATCH + 0x1000))
    driver.rest()
    assert (queue.completed, other.completed) == (first - 1, seqno)
    assert (driver.ram_u32(data), driver.ram_u32(data + 4)) == (0, 2)
    assert not driver.checks.reports


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"seed": 1}\n', b'{"seed": "x", "test": "a"}\n'])
def test_unknown_order_is_reported_and_answered(
    ordering: tuple[socket.socket, Orders, Adversary, Checks], line: bytes
) -> None:
    port, orders, _, checks = ordering
    port.sendall(line)
    assert orders.serve()
    assert json.loads(port.recv(100)) == {"left": []}
    assert [report["check"] for report in checks.reports] == ["order-unknown"]


def test_orders_end_with_their_port(ordering: tuple[socket.socket, Orders, Adversary, Checks]) -> None:
    port, orders, _, _ = ordering
    port.shutdown(socket.SHUT_WR)
    assert not orders.serve()
