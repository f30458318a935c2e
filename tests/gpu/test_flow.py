# SPDX-License-Identifier: MIT
"""Control flow of batches: waits, jumps, levels, conditions, predicates, fetches, budgets and faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu import Access, Batch, Engine, Execution, Reason
from gpu import commands as c
from gpu.registers import (
    PREDICATE_DATA,
    PREDICATE_RESULT,
    PREDICATE_RESULT_2,
    PREDICATE_SRC0,
    PREDICATE_SRC1,
    gpr,
)
from tests.gpu.space import BATCH, DATA, SECOND, Pages, stopped


@pytest.mark.parametrize(
    ("compare", "passing"),
    [(">", {6}), (">=", {5, 6}), ("<", {4}), ("<=", {4, 5}), ("==", {5}), ("!=", {4, 6})],
)
def test_semaphore_waits_until_memory_compares(space: Pages, compare: str, passing: set[int]) -> None:
    for value in (4, 5, 6):
        space.poke(DATA, value.to_bytes(4, "little"))
        _, stop = stopped(space, Batch().semaphore_wait(DATA, 5, compare).end())
        assert stop.reason is (Reason.FINISHED if value in passing else Reason.WAITING), value


def test_semaphore_says_what_it_waits_for_and_goes_on_when_it_is_there(space: Pages) -> None:
    execution, stop = stopped(
        space, Batch().store_dword(DATA + 8, 1).semaphore_wait(DATA, 5).store_dword(DATA + 8, 2).end()
    )
    assert (stop.reason, stop.pc) == (Reason.WAITING, BATCH + 16)
    assert stop.wait is not None
    assert (stop.wait.where, stop.wait.address, stop.wait.compare) == ("ppgtt", DATA, "==")
    assert (stop.wait.data, stop.wait.value, stop.wait.poll) == (5, 0, True)
    assert str(stop) == f"waiting for a semaphore at {BATCH + 16:#x}: ppgtt {DATA:#x} is 0x0, must be == 0x5"
    assert execution.run(100).reason is Reason.WAITING
    assert space.u32(DATA + 8) == 1
    space.poke(DATA, (5).to_bytes(4, "little"))
    assert execution.run(100).reason is Reason.FINISHED
    assert space.u32(DATA + 8) == 2


def test_semaphore_can_be_satisfied_from_outside_once(space: Pages) -> None:
    execution, stop = stopped(space, Batch().semaphore_wait(DATA, 5).semaphore_wait(DATA, 6).end())
    execution.satisfy()
    assert execution.run(100).pc == stop.pc + 20
    assert execution.run(100).reason is Reason.WAITING


def test_semaphore_can_wait_for_a_register(space: Pages, run: Callable) -> None:
    base = Engine().base
    wait = {"register": 1, "poll": 1, "compare": 4, "address": base + gpr(0)}
    run(Batch().load_gpr(0, 3).command(c.SemaphoreWait, data=3, **wait).end())
    _, stop = stopped(space, Batch().command(c.SemaphoreWait, data=3, **wait).end())
    assert stop.wait is not None
    assert stop.wait.where == "register"


def test_semaphore_of_four_dwords_is_the_older_form(space: Pages, run: Callable) -> None:
    run(Batch().command(c.SemaphoreWait, dwords=4, compare=4, address=DATA).store_dword(DATA, 1).end())
    assert space.u32(DATA) == 1


def test_batch_goes_on_in_another_and_does_not_come_back(space: Pages, run: Callable) -> None:
    space.poke(SECOND, Batch().store_dword(DATA, 1).end().encode())
    execution = run(Batch().chain(SECOND).store_dword(DATA + 4, 2).end())
    assert (space.u32(DATA), space.u32(DATA + 4)) == (1, 0)
    assert execution.run(10).reason is Reason.FINISHED


def test_second_level_batch_comes_back(space: Pages, run: Callable) -> None:
    space.poke(SECOND, Batch().store_dword(DATA, 1).end().encode())
    run(Batch().call(SECOND).store_dword(DATA + 4, 2).call(SECOND).atomic(DATA, "inc").end())
    assert (space.u32(DATA), space.u32(DATA + 4)) == (2, 2)


def test_second_level_batch_chains_on_its_level(space: Pages, run: Callable) -> None:
    """A second level start in a second level batch does not nest: its end returns to the first level."""
    space.poke(SECOND, Batch().call(SECOND + 0x1000).store_dword(DATA, 1).end().encode())
    space.poke(SECOND + 0x1000, Batch().store_dword(DATA + 4, 2).end().encode())
    run(Batch().call(SECOND).store_dword(DATA + 8, 3).end())
    assert [space.u32(DATA + offset) for offset in (0, 4, 8)] == [0, 2, 3]


def test_first_level_start_in_a_second_level_batch_drops_the_return(space: Pages, run: Callable) -> None:
    space.poke(SECOND, Batch().chain(SECOND + 0x1000).encode())
    space.poke(SECOND + 0x1000, Batch().store_dword(DATA, 1).end().encode())
    run(Batch().call(SECOND).store_dword(DATA + 4, 2).end())
    assert (space.u32(DATA), space.u32(DATA + 4)) == (1, 0)


def test_loop_counts_with_an_atomic_and_ends_by_its_condition(space: Pages, run: Callable) -> None:
    run(Batch().label("loop").atomic(DATA, "inc").end_unless(DATA, "!=", 10).jump("loop"))
    assert space.u32(DATA) == 10


@pytest.mark.parametrize("value", [4, 5, 6])
@pytest.mark.parametrize("compare", [">", ">=", "<", "<=", "==", "!="])
def test_conditional_end_goes_on_while_the_comparison_holds(
    space: Pages, run: Callable, compare: str, value: int
) -> None:
    space.poke(DATA, value.to_bytes(4, "little"))
    holds = {
        ">": value > 5,
        ">=": value >= 5,
        "<": value < 5,
        "<=": value <= 5,
        "==": value == 5,
        "!=": value != 5,
    }
    run(Batch().end_unless(DATA, compare, 5).store_dword(DATA + 4, 1).end())
    assert space.u32(DATA + 4) == holds[compare]


def test_conditional_end_with_a_mask_compares_the_masked_dword(space: Pages, run: Callable) -> None:
    space.poke(DATA, (0x00FF).to_bytes(4, "little") + (0x1234).to_bytes(4, "little"))
    condition = {"do_compare": 1, "mask_mode": 1, "compare": 4, "address": DATA}
    run(
        Batch()
        .command(c.ConditionalBatchBufferEnd, data=0x34, **condition)
        .store_dword(DATA + 8, 1)
        .command(c.ConditionalBatchBufferEnd, data=0x1234, **condition)
        .store_dword(DATA + 8, 2)
        .end()
    )
    assert space.u32(DATA + 8) == 1


def test_conditional_end_without_compare_does_nothing(space: Pages, run: Callable) -> None:
    run(Batch().command(c.ConditionalBatchBufferEnd, data=9, address=DATA).store_dword(DATA, 1).end())
    assert space.u32(DATA) == 1


@pytest.mark.parametrize("current", [0, 1])
def test_conditional_end_ends_all_levels_or_its_own(space: Pages, run: Callable, current: int) -> None:
    end = {"do_compare": 1, "compare": 0, "current_level": current, "data": 5, "address": DATA}
    space.poke(
        SECOND, Batch().command(c.ConditionalBatchBufferEnd, **end).store_dword(DATA, 9).end().encode()
    )
    run(Batch().call(SECOND).store_dword(DATA + 4, 1).end())
    assert (space.u32(DATA), space.u32(DATA + 4)) == (0, current)


@pytest.mark.parametrize(
    ("enable", "results", "done"),
    [
        (0, (0, 0), True),
        (1, (0, 0), False),
        (1, (0, 1), True),
        (2, (0, 0), True),
        (2, (0, 1), False),
        (3, (0, 0), False),
        (3, (1, 0), True),
        (4, (0, 0), True),
        (4, (1, 0), False),
        (15, (1, 1), False),
    ],
)
def test_set_predicate_turns_commands_off_until_the_next(
    space: Pages, run: Callable, enable: int, results: tuple[int, int], done: bool
) -> None:
    run(
        Batch()
        .load_register(PREDICATE_RESULT, results[0])
        .load_register(PREDICATE_RESULT_2, results[1])
        .command(c.SetPredicate, enable=enable)
        .store_dword(DATA, 1)
        .atomic(DATA + 8, "inc")
        .command(c.SetPredicate, enable=0)
        .store_dword(DATA + 4, 1)
        .end()
    )
    assert [space.u32(DATA + offset) for offset in (0, 4, 8)] == [int(done), 1, int(done)]


def test_jump_and_batch_end_are_turned_off_too(space: Pages, run: Callable) -> None:
    batch = Batch().command(c.SetPredicate, enable=15).chain(SECOND).end()
    run(batch.command(c.SetPredicate).store_dword(DATA, 1).end())
    assert space.u32(DATA) == 1


def test_predicate_compares_and_combines(space: Pages, run: Callable) -> None:
    def predicate(**fields: int) -> int:
        batch = Batch()
        for register, value in ((PREDICATE_SRC0, 9), (PREDICATE_SRC1, 7), (PREDICATE_DATA, 2)):
            batch.load_register(register, value)
        batch.load_register(PREDICATE_RESULT, fields.pop("old", 0)).command(c.Predicate, **fields)
        return run(batch.end()).registers.relative(PREDICATE_RESULT)

    assert predicate(load=2, compare=2) == 0
    assert predicate(load=3, compare=2) == 1
    assert predicate(load=2, compare=3) == 1
    assert predicate(load=2, compare=0, combine=1, old=0) == 0
    assert predicate(load=2, compare=0, combine=3, old=1) == 0
    assert predicate(load=2, compare=1, combine=2, old=1) == 1
    assert predicate(load=0, compare=0) == 0


def test_instruction_may_cross_a_page(space: Pages) -> None:
    batch = Batch().store_dwords(DATA, [1, 2, 3]).end()
    space.poke(BATCH + 0x1000 - 8, batch.encode())
    assert Execution(space, BATCH + 0x1000 - 8).run(100).reason is Reason.FINISHED
    assert space.u64(DATA + 4) == 3 << 32 | 2


def test_canonical_and_plain_addresses_are_the_same_and_others_alias_nothing(space: Pages) -> None:
    high = 0x8000_0000_0000
    space.memory[high // 4096] = bytearray(4096)
    batch = Batch().store_dword(high, 1).command(c.StoreDataImm, address=high + 4, data=[2])
    batch.command(c.StoreDataImm, address=high + 8 | 5 << 55, data=[3])
    _, stop = stopped(space, batch.end())
    assert (space.u32(high), space.u32(high + 4), space.u32(high + 8)) == (1, 2, 0)
    assert stop.fault is not None
    assert stop.fault.address == high + 8 | 1 << 55


def test_batch_that_changes_itself_runs_what_it_wrote(space: Pages, run: Callable) -> None:
    batch = Batch().store_dword(BATCH + 16 + 12, 7).store_dword(DATA, 1).end()
    run(batch)
    assert space.u32(DATA) == 7


def test_change_from_outside_is_seen_at_the_next_run(space: Pages) -> None:
    """As a test ends a spinning batch: the CPU overwrites it while it waits for its turn."""
    execution, stop = stopped(space, Batch().label("loop").noop().jump("loop"), budget=100)
    assert stop.reason is Reason.BUDGET
    space.poke(BATCH, Batch().end().encode())
    assert execution.run(100).reason is Reason.FINISHED


def test_budget_is_counted_in_instructions(space: Pages) -> None:
    execution, stop = stopped(
        space, Batch().store_dword(DATA, 1).store_dword(DATA, 2).store_dword(DATA, 3).end(), 2
    )
    assert (stop.reason, stop.pc, space.u32(DATA)) == (Reason.BUDGET, BATCH + 32, 2)
    assert execution.run(1).reason is Reason.BUDGET
    assert execution.run(1).reason is Reason.FINISHED
    assert execution.retired == 4


def test_fetch_of_a_missing_page_is_a_read_fault(space: Pages) -> None:
    stop = Execution(space, 0x7000_0000).run(10)
    assert stop.fault is not None
    assert (stop.reason, stop.fault.address, stop.fault.access) == (Reason.FAULT, 0x7000_0000, Access.READ)


def test_write_to_a_read_only_page_is_a_violation(space: Pages) -> None:
    space.read_only.add(DATA // 4096)
    _, stop = stopped(space, Batch().store_dword(DATA, 1).end())
    assert stop.fault is not None
    assert (stop.fault.access, stop.fault.violation) == (Access.WRITE, True)
    assert str(stop) == f"page fault at {BATCH:#x}: write of {DATA:#x}: not allowed (level 0)"


def test_atomic_fault_is_one_of_kind_atomic(space: Pages) -> None:
    space.no_atomics.add(DATA // 4096)
    execution, stop = stopped(space, Batch().atomic(DATA, "inc").end())
    assert stop.fault is not None
    assert (stop.fault.access, stop.fault.violation) == (Access.ATOMIC, True)
    space.no_atomics.clear()
    assert execution.run(10).reason is Reason.FINISHED
    assert space.u32(DATA) == 1
