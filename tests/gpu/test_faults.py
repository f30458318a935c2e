# SPDX-License-Identifier: MIT
"""A fault is transparent: whichever pages are missing, the result is as if all memory had been present."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu import Batch, Execution, GpuFault, Reason
from gpu import commands as c
from gpu.registers import gpr
from tests.gpu.space import Pages

BATCH, DATA = 0x10_0000, 0x40_0000
BATCH_PAGES, DATA_PAGES = 4, 40
DATA_SIZE = DATA_PAGES * 4096


def memory(seed: int) -> Pages:
    space = Pages(range(BATCH // 4096, BATCH // 4096 + BATCH_PAGES))
    space.memory |= {page: bytearray(4096) for page in range(DATA // 4096, DATA // 4096 + DATA_PAGES)}
    space.poke(DATA, random.Random(seed).randbytes(DATA_SIZE))
    return space


def served(execution: Execution, space: Pages, serve: Callable[[GpuFault], None], budget: int = 1000) -> int:
    """Run to the end, serving every fault; the number of faults."""
    faults = 0
    while True:
        stop = execution.run(budget)
        if stop.fault is not None:
            faults += 1
            assert faults < 2000, "no progress"
            serve(stop.fault)
            continue
        if stop.reason is Reason.BUDGET:
            continue
        assert stop.reason is Reason.FINISHED, stop
        return faults


def outcome(batch: Batch, seed: int, serve_all: bool) -> tuple[bytes, list[int], int, int]:
    """Memory, GPRs, bytes stored and faults of a run; with ``serve_all`` every page is missing at first."""
    space = memory(seed)
    space.poke(BATCH, batch.encode(BATCH))
    if serve_all:
        space.absent = set(space.memory)
    execution = Execution(space, BATCH)
    faults = served(execution, space, space.serve)
    stored = sum(size for _, size in space.stores)
    return space.peek(DATA, DATA_SIZE), execution.registers.gpr, stored, faults


def crossing(size: int, align: int = 1) -> st.SearchStrategy[int]:
    """Addresses of accesses of ``size`` bytes; many of them cross pages."""
    return st.integers(0, (DATA_SIZE - size) // align).map(lambda at: DATA + at * align)


HALF = DATA_SIZE // 2


@st.composite
def steps(draw: st.DrawFn) -> Callable[[Batch], object]:
    """One command with memory accesses, and addresses for it."""
    kind = draw(st.integers(0, 14))
    dword, other = draw(crossing(8, 4)), draw(crossing(8, 4))
    qword = draw(crossing(8, 8))
    count = draw(st.integers(1, 1022))
    array = draw(crossing(4 * count, 4))
    qwords = draw(crossing(8 * (count // 2 or 1), 8))
    size = draw(st.integers(1, HALF))
    source = DATA + draw(st.integers(0, HALF - size))
    target = DATA + HALF + draw(st.integers(0, HALF - size))
    pitch, height = draw(st.integers(1, 5000)), draw(st.integers(1, 12))
    width = draw(st.integers(1, pitch))
    area = pitch * height <= HALF
    operation = draw(st.sampled_from([name for name in c.ATOMICS.values() if name not in ("inc", "dec")]))
    operand = draw(st.integers(0, 2**32 - 1))
    pitches = {"source_pitch": pitch, "destination_pitch": pitch}
    matrix = {"matrix": 1, "width": width, "height": height if area else 1}
    pixels = {"right": width // 4, "bottom": matrix["height"], "colour": 3}
    choices: list[Callable[[Batch], object]] = [
        lambda batch: batch.store_dword(dword, operand),
        lambda batch: batch.store_qword(dword, operand),
        lambda batch: batch.store_dwords(array, range(count)),
        lambda batch: batch.store_qwords(qwords, range(count // 2 or 1)),
        lambda batch: batch.copy_mem(dword, other),
        lambda batch: batch.atomic(dword, operation, operand, returns=True),
        lambda batch: batch.atomic(qword, "add", operand, size=8, returns=True),
        lambda batch: batch.load_register_mem(gpr(5), dword).store_gpr(other, 5),
        lambda batch: batch.flush_store(qword, operand).timestamp(qword),
        lambda batch: batch.command(c.PipeControl, post_sync=1, address=qword, low=operand),
        lambda batch: batch.load_gpr(0, qword).math(
            ("load", "srca", "r0"),
            ("load0", "srcb"),
            ("add",),
            ("loadind", "r1", "accu"),
            ("store", "r0", "zf"),
        ),
        lambda batch: batch.copy(target, source, size),
        lambda batch: batch.fill(target, operand & 0xFF, size),
        lambda batch: batch.command(c.MemCopy, source=DATA, destination=DATA + HALF, **pitches, **matrix),
        lambda batch: batch.command(c.FastCopy, source=DATA, destination=DATA + HALF, **pitches, **pixels),
    ]
    return choices[kind]


@given(st.lists(steps(), min_size=1, max_size=6), st.integers(0, 100))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_missing_pages_change_nothing_but_the_number_of_faults(program: list[Callable], seed: int) -> None:
    """Memory, registers and the number of bytes stored are the same: nothing is lost, nothing is stored twice."""
    batch = Batch()
    for step in program:
        step(batch)
    batch.end()
    expected = outcome(batch, seed, serve_all=False)
    actual = outcome(batch, seed, serve_all=True)
    assert actual[:3] == expected[:3]
    assert expected[3] == 0
    assert actual[3] > 0


@given(st.lists(steps(), min_size=1, max_size=4), st.integers(0, 100), st.integers(1, 7))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_slices_of_time_change_nothing(program: list[Callable], seed: int, budget: int) -> None:
    batch = Batch()
    for step in program:
        step(batch)
    batch.end()
    whole, sliced = memory(seed), memory(seed)
    for space, slice_ in ((whole, 10**6), (sliced, budget)):
        space.poke(BATCH, batch.encode(BATCH))
        served(Execution(space, BATCH), space, space.serve, slice_)
    assert whole.peek(DATA, DATA_SIZE) == sliced.peek(DATA, DATA_SIZE)
    assert sum(size for _, size in whole.stores) == sum(size for _, size in sliced.stores)


def one_page_at_a_time(space: Pages) -> Callable[[GpuFault], None]:
    """A fault handler with room for one page: serving a fault takes all other data pages away."""

    def serve(fault: GpuFault) -> None:
        space.absent = {page for page in space.memory if page * 4096 >= DATA}
        space.serve(fault)

    return serve


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda batch: batch.copy(DATA + HALF, DATA, 0x5000), id="copy"),
        pytest.param(lambda batch: batch.copy(DATA + HALF + 5, DATA + 11, 0x5003), id="copy-unaligned"),
        pytest.param(lambda batch: batch.fill(DATA + HALF + 5, 7, 0x5003), id="fill"),
        pytest.param(lambda batch: batch.store_dwords(DATA + 0xF00, range(1022)), id="store-array"),
        pytest.param(
            lambda batch: batch.command(
                c.MemCopy,
                matrix=1,
                width=3000,
                height=5,
                source_pitch=5000,
                destination_pitch=3500,
                source=DATA + 1,
                destination=DATA + HALF,
            ),
            id="matrix",
        ),
    ],
)
def test_blit_makes_progress_though_each_fault_evicts_all_other_pages(
    step: Callable[[Batch], object],
) -> None:
    """Source and destination need not be present at the same time: data that was read is kept until it is stored."""
    batch = Batch()
    step(batch)
    batch.end()
    expected, space = memory(3), memory(3)
    for each in (expected, space):
        each.poke(BATCH, batch.encode())
    served(Execution(expected, BATCH), expected, expected.serve)
    serve = one_page_at_a_time(space)
    space.absent = {page for page in space.memory if page * 4096 >= DATA}
    served(Execution(space, BATCH), space, serve)
    assert space.peek(DATA, DATA_SIZE) == expected.peek(DATA, DATA_SIZE)
    assert sum(size for _, size in space.stores) == sum(size for _, size in expected.stores)


def test_copied_bytes_are_not_stored_again_after_a_fault() -> None:
    """The CPU changes a page that was copied while the copy waits for the next one: the change stays."""
    space = memory(0)
    space.poke(BATCH, Batch().copy(DATA + HALF, DATA, 0x4000).end().encode())
    space.absent = {(DATA + HALF) // 4096 + 2}
    execution = Execution(space, BATCH)
    stop = execution.run(100)
    assert stop.fault is not None
    assert (stop.fault.address, stop.pc) == (DATA + HALF + 0x2000, BATCH)
    space.poke(DATA + HALF, b"cpu was here")
    space.serve(stop.fault)
    assert execution.run(100).reason is Reason.FINISHED
    assert space.peek(DATA + HALF, 12) == b"cpu was here"
    assert space.peek(DATA + HALF + 12, 0x4000 - 12) == space.peek(DATA + 12, 0x4000 - 12)


def test_instruction_that_made_progress_is_finished_though_the_batch_changed() -> None:
    """Its dwords were read before the fault; the copy continues with the old command."""
    space = memory(0)
    space.poke(BATCH, Batch().copy(DATA + HALF, DATA, 0x4000).end().encode())
    space.absent = {DATA // 4096 + 3}
    execution = Execution(space, BATCH)
    assert execution.run(100).fault is not None
    space.poke(BATCH, Batch().noop(10).end().encode())
    space.absent.clear()
    assert execution.run(100).reason is Reason.FINISHED
    assert space.peek(DATA + HALF, 0x4000) == space.peek(DATA, 0x4000)


def test_fault_leaves_register_and_memory_as_they_were() -> None:
    """COPY_MEM_MEM whose destination is missing, an atomic, a register load: each changes nothing before its fault."""
    space = memory(0)
    space.absent = {DATA // 4096}
    before = space.peek(DATA, 4096)
    for step in (
        lambda batch: batch.copy_mem(DATA, DATA + 0x1000),
        lambda batch: batch.atomic(DATA, "inc", returns=True),
        lambda batch: batch.load_register_mem(gpr(4), DATA),
        lambda batch: batch.semaphore_wait(DATA, 0),
        lambda batch: batch.end_unless(DATA, "==", 0),
    ):
        space.poke(BATCH, step(Batch()).end().encode())
        execution = Execution(space, BATCH)
        for _ in range(3):
            stop = execution.run(100)
            assert stop.fault is not None
            assert (stop.fault.address, stop.pc, execution.retired) == (DATA, BATCH, 0)
        assert execution.registers.gpr == [0] * 16
        assert space.peek(DATA, 4096) == before


def test_fault_of_a_fetch_across_pages_names_the_second_page() -> None:
    space = memory(0)
    space.poke(BATCH + 0x1000 - 4, Batch().store_dword(DATA, 7).end().encode())
    space.absent = {BATCH // 4096 + 1}
    execution = Execution(space, BATCH + 0x1000 - 4)
    stop = execution.run(10)
    assert stop.fault is not None
    assert (stop.fault.address, stop.pc) == (BATCH + 0x1000, BATCH + 0x1000 - 4)
    space.serve(stop.fault)
    assert execution.run(10).reason is Reason.FINISHED
    assert space.u32(DATA) == 7


def test_math_does_not_store_again_what_it_stored_before_a_fault() -> None:
    space = memory(0)
    store = [("load", "srca", "r0"), ("load0", "srcb"), ("add",), ("storeind", "accu", "r1")]
    load = [("load", "srca", "r2"), ("add",), ("loadind", "r3", "accu")]
    batch = Batch().load_gpr(0, DATA).load_gpr(1, 7).load_gpr(2, DATA + 0x1000).math(*store, *load).end()
    space.poke(BATCH, batch.encode())
    space.absent = {DATA // 4096 + 1}
    execution = Execution(space, BATCH)
    assert execution.run(100).fault is not None
    space.poke(DATA, b"cpu here")
    space.absent.clear()
    assert execution.run(100).reason is Reason.FINISHED
    assert space.peek(DATA, 8) == b"cpu here"
    assert execution.registers.gpr[3] == space.u64(DATA + 0x1000)
