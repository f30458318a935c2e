# SPDX-License-Identifier: MIT
"""Effects of each command of the command streamer on memory and registers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu import Batch, Engine, Execution, Reason
from gpu import commands as c
from gpu.registers import (
    CTX_TIMESTAMP,
    ENGINE_ID,
    PREDICATE_RESULT,
    TIMESTAMP,
    gpr,
)
from tests.gpu.space import BATCH, DATA, Pages, stopped

MASK_64 = (1 << 64) - 1


def test_store_writes_a_dword_and_nothing_around_it(space: Pages, run: Callable) -> None:
    space.poke(DATA, b"\xee" * 16)
    run(Batch().store_dword(DATA + 4, 0xC0FFEE).end())
    assert space.peek(DATA, 16) == b"\xee" * 4 + (0xC0FFEE).to_bytes(4, "little") + b"\xee" * 8


def test_store_writes_qwords_and_arrays(space: Pages, run: Callable) -> None:
    run(
        Batch()
        .store_qword(DATA, 0x1122334455667788)
        .store_dwords(DATA + 0x100, [1, 2, 3])
        .store_qwords(DATA + 0x200, [1 << 63, 5])
        .end()
    )
    assert space.u64(DATA) == 0x1122334455667788
    assert [space.u32(DATA + 0x100 + 4 * index) for index in range(4)] == [1, 2, 3, 0]
    assert (space.u64(DATA + 0x200), space.u64(DATA + 0x208)) == (1 << 63, 5)


def test_store_of_qwords_with_half_a_qword_is_illegal(space: Pages) -> None:
    _, stop = stopped(space, Batch().command(c.StoreDataImm, qword=1, address=DATA, data=[1, 2, 3]).end())
    assert stop.reason is Reason.ILLEGAL
    assert space.u64(DATA) == 0


def test_registers_go_between_batch_memory_and_each_other(space: Pages, run: Callable) -> None:
    space.poke(DATA, bytes(range(1, 9)))
    run(
        Batch()
        .load_register_mem(gpr(1), DATA)
        .load_register_mem(gpr(1) + 4, DATA + 4)
        .load_register_reg(gpr(2) + 4, gpr(1))
        .load_gpr(3, 0xAAAA_BBBB_CCCC_DDDD)
        .store_gpr(DATA + 0x10, 1)
        .store_gpr(DATA + 0x18, 2)
        .store_gpr(DATA + 0x20, 3)
        .end()
    )
    assert space.peek(DATA + 0x10, 8) == bytes(range(1, 9))
    assert space.peek(DATA + 0x18, 8) == bytes(4) + bytes(range(1, 5))
    assert space.u64(DATA + 0x20) == 0xAAAA_BBBB_CCCC_DDDD


@pytest.mark.parametrize("base", [0x2000, 0x22000, 0x3EE000])
def test_engine_register_is_the_same_by_each_of_its_names(space: Pages, run: Callable, base: int) -> None:
    """Relative to the engine, absolute, and by the render engine's offset with the remap bit."""
    execution = run(
        Batch()
        .command(c.LoadRegisterImm, pairs=[base + gpr(1), 7])
        .command(c.LoadRegisterImm, remap=1, pairs=[0x2000 + gpr(2), 8])
        .command(c.LoadRegisterImm, cs_mmio=1, pairs=[gpr(3), 9])
        .end(),
        engine=Engine(base=base),
    )
    assert execution.registers.gpr[1:4] == [7, 8, 9]


def test_user_batch_cannot_write_registers_of_the_engine(space: Pages, run: Callable) -> None:
    run(
        Batch()
        .load_register(ENGINE_ID, 77)
        .load_register(TIMESTAMP, 77)
        .store_register(DATA, ENGINE_ID)
        .store_register(DATA + 4, TIMESTAMP)
        .end(),
        engine=Engine(ident=0x123, clock=lambda: 5),
    )
    assert (space.u32(DATA), space.u32(DATA + 4)) == (0x123, 5)


def test_timestamps_are_the_engines_clocks(space: Pages, run: Callable) -> None:
    clock, running = 0x1_2345_6789, 0x2_0000_0042
    run(
        Batch()
        .store_register(DATA, TIMESTAMP)
        .store_register(DATA + 4, TIMESTAMP + 4)
        .store_register(DATA + 8, CTX_TIMESTAMP)
        .store_register(DATA + 12, CTX_TIMESTAMP + 4)
        .timestamp(DATA + 16)
        .command(c.PipeControl, post_sync=3, address=DATA + 24)
        .end(),
        engine=Engine(clock=lambda: clock, context_clock=lambda: running),
    )
    assert [space.u64(DATA + offset) for offset in (0, 8, 16, 24)] == [clock, running, clock, clock]


def test_time_counts_instructions_without_a_clock(space: Pages, run: Callable) -> None:
    run(Batch().timestamp(DATA).noop(5).timestamp(DATA + 8).end())
    assert (space.u64(DATA), space.u64(DATA + 8)) == (0, 6)


def test_copy_mem_copies_one_dword(space: Pages, run: Callable) -> None:
    space.poke(DATA, bytes(range(16)))
    run(Batch().copy_mem(DATA + 0x102C, DATA + 4).end())
    assert space.peek(DATA + 0x1028, 12) == bytes(4) + bytes(range(4, 8)) + bytes(4)


def test_math_computes_with_gprs(space: Pages, run: Callable) -> None:
    execution = run(
        Batch()
        .load_gpr(0, MASK_64)
        .load_gpr(1, 2)
        .math(
            ("load", "srca", "r0"),
            ("load", "srcb", "r1"),
            ("add",),
            ("store", "r2", "accu"),
            ("store", "r3", "cf"),
        )
        .end()
    )
    assert execution.registers.gpr[:4] == [MASK_64, 2, 1, MASK_64]


def test_math_accesses_memory_indirectly(space: Pages, run: Callable) -> None:
    space.poke(DATA + 0x20, (0xABCDEF).to_bytes(8, "little"))
    run(
        Batch()
        .load_gpr(0, DATA)
        .load_gpr(1, 0x20)
        .math(
            ("load", "srca", "r0"),
            ("load", "srcb", "r1"),
            ("add",),
            ("loadind", "r2", "accu"),
            ("load0", "srcb"),
            ("add",),
            ("storeind", "accu", "r2"),
        )
        .end()
    )
    assert space.u64(DATA) == 0xABCDEF


def test_illegal_math_changes_no_register(space: Pages) -> None:
    batch = (
        Batch()
        .load_gpr(0, 1)
        .math(("load", "srca", "r0"), ("load0", "srcb"), ("or",), ("store", "r1", "accu"))
    )
    batch.command(
        c.Math, alu=[0x080 << 20 | 0x20 << 10, 0x102 << 20, 0x180 << 20 | 2 << 10 | 0x31, 0xFFF << 20]
    )
    execution, stop = stopped(space, batch.end())
    assert stop.reason is Reason.ILLEGAL
    assert execution.registers.gpr[:3] == [1, 1, 0]


ATOMIC = [
    ("and", 0b1100, 0b1010, 0, 0b1000),
    ("or", 0b1100, 0b1010, 0, 0b1110),
    ("xor", 0b1100, 0b1010, 0, 0b0110),
    ("move", 5, 9, 0, 9),
    ("inc", 5, 0, 0, 6),
    ("inc", -1, 0, 0, 0),
    ("dec", 5, 0, 0, 4),
    ("dec", 0, 0, 0, -1),
    ("add", 5, 9, 0, 14),
    ("add", -1, 2, 0, 1),
    ("sub", 5, 9, 0, -4),
    ("rsub", 5, 9, 0, 4),
    ("imax", -1, 5, 0, 5),
    ("imin", -1, 5, 0, -1),
    ("umax", -1, 5, 0, -1),
    ("umin", -1, 5, 0, 5),
    ("cmpwr", 5, 5, 9, 9),
    ("cmpwr", 6, 5, 9, 6),
]


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "gpr"])
@pytest.mark.parametrize(("operation", "old", "operand", "second", "new"), ATOMIC)
def test_atomic(
    space: Pages,
    run: Callable,
    size: int,
    inline: bool,
    operation: str,
    old: int,
    operand: int,
    second: int,
    new: int,
) -> None:
    """The new value is in memory, the old one in GPR 4, and memory next to it is untouched."""
    mask = (1 << 8 * size) - 1
    old, new = old & mask, new & mask
    space.poke(DATA, b"\xee" * 24)
    space.poke(DATA + 8, old.to_bytes(size, "little"))
    batch = Batch().load_gpr(4, MASK_64)
    if inline:
        batch.atomic(DATA + 8, operation, operand, second=second, size=size, returns=True)
    else:
        code = {name: code for code, name in c.ATOMICS.items()}[operation] | (0x20 if size == 8 else 0)
        batch.load_gpr(0, operand).load_gpr(2, second)
        batch.command(c.Atomic, operation=code, returns=1, address=DATA + 8)
    execution = run(batch.end())
    assert space.peek(DATA, 24) == b"\xee" * 8 + new.to_bytes(size, "little") + b"\xee" * (16 - size)
    assert execution.registers.gpr[4] == old | (MASK_64 & ~mask)


def test_atomic_without_return_leaves_gpr_4(space: Pages, run: Callable) -> None:
    assert run(Batch().load_gpr(4, 7).atomic(DATA, "inc").end()).registers.gpr[4] == 7


def test_atomic_ignores_low_address_bits(space: Pages, run: Callable) -> None:
    run(Batch().command(c.Atomic, operation=0x25, address=DATA + 4).end())
    assert space.u64(DATA) == 1


@pytest.mark.parametrize("fields", [{"operation": 0x0F}, {"operation": 0x45}, {"operation": 7, "inline": 1}])
def test_atomic_that_does_not_exist_is_illegal(space: Pages, fields: dict) -> None:
    execution, stop = stopped(space, Batch().command(c.Atomic, address=DATA, **fields).end())
    assert stop.reason is Reason.ILLEGAL
    assert execution.run(10) is stop


def test_flush_writes_after_it_what_its_length_says(space: Pages, run: Callable) -> None:
    space.poke(DATA, b"\xee" * 24)
    run(
        Batch()
        .flush()
        .command(c.FlushDw, dwords=4, post_sync=1, address=DATA, data=[0x1111])
        .flush_store(DATA + 8, 0x2222_3333_4444_5555)
        .end()
    )
    assert space.peek(DATA, 8) == (0x1111).to_bytes(4, "little") + b"\xee" * 4
    assert space.u64(DATA + 8) == 0x2222_3333_4444_5555


def test_pipe_control_writes_its_qword(space: Pages, run: Callable) -> None:
    run(
        Batch()
        .command(c.PipeControl, post_sync=1, address=DATA + 8, low=7, high=8)
        .command(c.PipeControl)
        .end()
    )
    assert space.u64(DATA + 8) == 8 << 32 | 7


def test_interrupts_and_invalidations_reach_the_engine(space: Pages, run: Callable) -> None:
    events: list[str] = []
    engine = Engine(
        user_interrupt=lambda: events.append("interrupt"), invalidate_tlb=lambda: events.append("invalidate")
    )
    batch = Batch().user_interrupt().command(c.FlushDw, dwords=4, invalidate_tlb=1)
    run(batch.command(c.PipeControl, invalidate_tlb=1, notify=1).end(), engine=engine)
    assert events == ["interrupt", "invalidate", "invalidate", "interrupt"]


def test_predicated_register_store_needs_the_result(space: Pages, run: Callable) -> None:
    store = {"cs_mmio": 1, "predicate": 1, "register": PREDICATE_RESULT}
    run(
        Batch()
        .command(c.StoreRegisterMem, address=DATA, **store)
        .load_register(PREDICATE_RESULT, 1)
        .command(c.StoreRegisterMem, address=DATA + 4, **store)
        .end()
    )
    assert (space.u32(DATA), space.u32(DATA + 4)) == (0, 1)


def test_commands_with_no_effect_are_stepped_over(space: Pages, run: Callable) -> None:
    batch = Batch().arb_check().raw(0x06800000, 0x07000003, 0x0E800000, 0, 0x04800003)
    batch.raw(0x78150000 | 9, *[0xFFFFFFFF] * 10, 0x69040003, 0x80000001, 1, 2, 0x0D800000, 0)
    run(batch.store_dword(DATA, 1).end())
    assert space.u32(DATA) == 1


@pytest.mark.parametrize(
    ("batch", "engines"),
    [
        (Batch().flush(), {"bcs", "vcs", "vecs"}),
        (Batch().command(c.PipeControl), {"rcs", "ccs"}),
        (Batch().fill(DATA, 1, 1), {"bcs"}),
        (Batch().raw(0x69040003), {"rcs", "ccs", "vcs", "vecs"}),
        (Batch().store_dword(DATA, 1).atomic(DATA, "inc"), {"rcs", "ccs", "bcs", "vcs", "vecs"}),
    ],
)
def test_engine_has_the_commands_of_its_kind(space: Pages, batch: Batch, engines: set[str]) -> None:
    space.poke(BATCH, batch.encode() + Batch().end().encode())
    for kind in ("rcs", "ccs", "bcs", "vcs", "vecs"):
        stop = Execution(space, BATCH, engine=Engine(kind=kind)).run(10)
        assert stop.reason is (Reason.FINISHED if kind in engines else Reason.ILLEGAL), (kind, stop)


def test_user_batch_reaches_no_engine_register_by_any_command(space: Pages, run: Callable) -> None:
    """0x244 (RING_CONTEXT_CONTROL) by each command that writes registers."""
    control = 0x244
    space.poke(DATA, b"\xee" * 8)
    batch = Batch().load_gpr(0, 0xEEEE).load_register(control, 1).load_register_mem(control, DATA)
    batch.load_register_reg(control, gpr(0))
    batch.command(c.PipeControl, lri_post_sync=1, address=Engine().base + control, low=1)
    batch.command(c.PipeControl, lri_post_sync=1, address=Engine().base + gpr(7), low=0x77)
    execution = run(batch.end())
    assert execution.registers.relative(control) == 0
    assert execution.registers.gpr[7] == 0x77
