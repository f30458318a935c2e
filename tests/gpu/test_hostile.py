# SPDX-License-Identifier: MIT
"""For any batch, an Execution stops with a reason, within its budget."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu import Batch, Execution, Reason, Ring, Stop
from gpu import commands as c
from tests.gpu.space import Pages
from tests.gpu.test_encoding import COMMANDS

BATCH = 0x1_0000
PAGES = 4
ADDRESSES = st.one_of(
    st.integers(BATCH, BATCH + PAGES * 4096),
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 2**47 - 4, 2**48 - 4, 2**57 - 8, 2**64 - 8, 0xFFFF_8000_0000_0000]),
)


def space_with(data: bytes) -> Pages:
    space = Pages(range(BATCH // 4096, BATCH // 4096 + PAGES))
    space.poke(BATCH, data[: PAGES * 4096])
    return space


def check(execution: Execution, budget: int = 300) -> Stop:
    """Run twice: each run returns a Stop, and an engine that hangs or has finished does not continue."""
    stop = execution.run(budget)
    assert isinstance(stop, Stop)
    assert execution.retired <= budget
    assert str(stop)
    again = execution.run(budget)
    if stop.reason in (Reason.FINISHED, Reason.ILLEGAL):
        assert again.reason is stop.reason
    if stop.reason is Reason.FAULT:
        assert (again.reason, again.pc) == (stop.reason, stop.pc)
    return stop


@given(st.binary(min_size=4, max_size=600))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_bytes(data: bytes) -> None:
    check(Execution(space_with(data), BATCH))


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    """Valid headers with arbitrary fields: any address, length and flag."""
    words: list[int] = []
    for _ in range(draw(st.integers(1, 12))):
        command = draw(st.sampled_from(COMMANDS))
        header = command.header | draw(st.integers(0, 2**23 - 1))
        if command.length_mask and draw(st.booleans()):
            size = draw(st.sampled_from(command.lengths[:10]))
            header = header & ~command.length_mask | size - 2
        else:
            size = draw(st.integers(1, 8))
        words.append(header)
        while size > 1:
            address = draw(ADDRESSES)
            words += [address & 0xFFFFFFFF, address >> 32][: size - 1]
            size -= 2
    return struct.pack(f"<{len(words)}I", *words)


@given(commands())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_any_fields(data: bytes) -> None:
    check(Execution(space_with(data), BATCH))


@given(commands(), st.integers(0, 0x3FFF))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_anything_on_a_ring(data: bytes, tail: int) -> None:
    ring = Ring(BATCH, PAGES * 4096, tail=tail)
    space = space_with(data)
    check(Execution.on_ring(ring, space, space, status_page=BATCH))


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(Batch().label("a").jump("a"), id="jump"),
        pytest.param(Batch().call(BATCH), id="call-itself"),
        pytest.param(Batch().label("a").store_dword(BATCH + 0x800, 1).jump("a"), id="store"),
        pytest.param(Batch().label("a").copy(BATCH + 0x2000, BATCH + 0x1000, 4096).jump("a"), id="copy"),
        pytest.param(
            Batch().command(
                c.MemSet, matrix=1, width=1, height=1 << 18, pitch=1, destination=BATCH + 0x1000, value=1
            ),
            id="large-fill",
        ),
        pytest.param(
            Batch().command(
                c.MemCopy,
                matrix=1,
                width=8,
                height=1 << 18,
                source=BATCH + 0x1000,
                destination=BATCH + 0x2000,
            ),
            id="rows-on-one-place",
        ),
    ],
)
def test_endless_and_huge_batches_end_with_the_budget(batch: Batch) -> None:
    space = space_with(batch.encode(BATCH))
    execution = Execution(space, BATCH)
    for _ in range(5):
        stop = execution.run(100)
        assert stop.reason in (Reason.BUDGET, Reason.FAULT)
    assert len(space.stores) <= 500


def test_no_budget_runs_nothing() -> None:
    execution = Execution(space_with(Batch().end().encode()), BATCH)
    assert execution.run(0).reason is Reason.BUDGET
    assert execution.run(-1).reason is Reason.BUDGET
    assert execution.retired == 0


def test_zeros_are_noops_until_the_end_of_what_is_mapped() -> None:
    stop = Execution(space_with(b""), BATCH).run(10**6)
    assert stop.fault is not None
    assert stop.fault.address == BATCH + PAGES * 4096


def test_batch_that_turns_all_commands_off_runs_over_its_end() -> None:
    """MI_SET_PREDICATE turns off MI_BATCH_BUFFER_END as well."""
    space = space_with(Batch().command(c.SetPredicate, enable=15).end().encode())
    assert Execution(space, BATCH).run(10**6).reason is Reason.FAULT


def test_registers_of_a_hostile_batch_take_no_room() -> None:
    pairs = [word for offset in range(0, 0x400000, 0x8400) for word in (offset & ~3, 1)][:254]
    execution = Execution(space_with(Batch().command(c.LoadRegisterImm, pairs=pairs).end().encode()), BATCH)
    assert execution.run(10).reason is Reason.FINISHED
    assert len(vars(execution.registers)["_file"]) <= 64


@pytest.mark.parametrize(
    "header", [0x20000000, 0x01800000 | 1 << 25, 0xA0000000, 0x54000000, 0x0F800000, 0x17000002]
)
def test_unknown_header_hangs_the_engine(header: int) -> None:
    execution = Execution(space_with(struct.pack("<2I", header, 0x05000000)), BATCH)
    stop = execution.run(10)
    assert (stop.reason, stop.pc) == (Reason.ILLEGAL, BATCH)
    assert f"{header:#010x}" in stop.text
