# SPDX-License-Identifier: MIT
"""The builder for tests encodes commands as named, and refuses impossible values."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from gpu import Batch, decode
from gpu.registers import gpr


def texts(batch: Batch, address: int | None = None) -> list[str]:
    return [instruction.text for instruction in decode(batch.encode(address))]


def test_each_method_is_the_command_of_its_name() -> None:
    batch = (
        Batch()
        .store_dword(0x1000, 1)
        .store_qword(0x1008, 1 << 40)
        .copy_mem(0x2000, 0x3000)
        .atomic(0x1000, "add", 5, size=8, returns=True)
        .semaphore_wait(0x1000, 7, "!=")
        .end_unless(0x1000, "<", 9)
        .load_gpr(1, 0x1_0000_0002)
        .load_register_mem(gpr(0), 0x1000)
        .store_register(0x1000, gpr(0))
        .load_register_reg(gpr(1), gpr(0))
        .call(0x5000)
        .chain(0x6000)
        .flush()
        .flush_store(0x1000, 1)
        .timestamp(0x1000)
        .copy(0x8_0000, 0x9_0000, 0x1000)
        .copy(0x8_0001, 0x9_0000, 3)
        .fill(0x8_0000, 0xAB, 100)
        .user_interrupt()
        .arb_check()
        .end()
    )
    assert texts(batch) == [
        "MI_STORE_DATA_IMM address=0x1000 data=[0x1]",
        "MI_STORE_DATA_IMM qword=1 address=0x1008 data=[0x0 0x100]",
        "MI_COPY_MEM_MEM destination=0x2000 source=0x3000",
        "MI_ATOMIC data_size=qword inline=1 cs_stall=1 returns=1 operation=add address=0x1000 operand1_low=5",
        "MI_SEMAPHORE_WAIT poll=1 compare=!= data=7 address=0x1000",
        "MI_CONDITIONAL_BATCH_BUFFER_END do_compare=1 compare=< data=9 address=0x1000",
        "MI_LOAD_REGISTER_IMM cs_mmio=1 pairs=[0x608 0x2 0x60c 0x1]",
        "MI_LOAD_REGISTER_MEM cs_mmio=1 register=0x600 address=0x1000",
        "MI_STORE_REGISTER_MEM cs_mmio=1 register=0x600 address=0x1000",
        "MI_LOAD_REGISTER_REG destination_cs_mmio=1 source_cs_mmio=1 source=0x600 destination=0x608",
        "MI_BATCH_BUFFER_START second_level=1 ppgtt=1 address=0x5000",
        "MI_BATCH_BUFFER_START ppgtt=1 address=0x6000",
        "MI_FLUSH_DW address=0x0 data=[0x0]",
        "MI_FLUSH_DW post_sync=immediate address=0x1000 data=[0x1 0x0]",
        "MI_FLUSH_DW post_sync=timestamp address=0x1000 data=[0x0 0x0]",
        "MEM_COPY page=1 width=0x10 height=1 source_pitch=1 destination_pitch=1 source=0x90000 destination=0x80000",
        "MEM_COPY width=3 height=1 source_pitch=1 destination_pitch=1 source=0x90000 destination=0x80001",
        "MEM_SET width=0x64 height=1 pitch=1 destination=0x80000 value=0xab",
        "MI_USER_INTERRUPT",
        "MI_ARB_CHECK",
        "MI_BATCH_BUFFER_END",
    ]


def test_labels_are_addresses_of_this_batch() -> None:
    batch = Batch().jump("out").label("loop").noop(2).jump("loop").label("out").end()
    assert texts(batch, 0x10000) == [
        "MI_BATCH_BUFFER_START ppgtt=1 address=0x10020",
        "MI_NOOP",
        "MI_NOOP",
        "MI_BATCH_BUFFER_START ppgtt=1 address=0x1000c",
        "MI_BATCH_BUFFER_END",
    ]
    assert len(batch) == len(batch.encode(0x20000)) == 0x24


def test_high_addresses_are_canonical() -> None:
    data = Batch().store_dword(0x8000_0000_0000, 1).encode()
    assert data[4:12] == (0xFFFF_8000_0000_0000).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda batch: batch.store_dword(2, 1), "not a multiple of 4"),
        (lambda batch: batch.store_dword(0, 1 << 32), "not a dword"),
        (lambda batch: batch.store_qword(0, 1 << 64), "not a qword"),
        (lambda batch: batch.atomic(0, "mul"), "no atomic operation 'mul'"),
        (lambda batch: batch.atomic(4, "add", size=8), "not a multiple of 8"),
        (lambda batch: batch.atomic(0, "add", size=2), "4 or 8 bytes, not 2"),
        (lambda batch: batch.atomic(0, "add", 1 << 32), "operand of more than 4 bytes"),
        (lambda batch: batch.semaphore_wait(0, 0, "~"), "no comparison '~'"),
        (lambda batch: batch.copy(0, 0, 0), "a copy of 0 bytes"),
        (lambda batch: batch.fill(0, 0, -1), "a fill of -1 bytes"),
        (lambda batch: batch.raw(-1), "not a dword"),
        (lambda batch: batch.label("a").label("a"), "label 'a' is already defined"),
        (lambda batch: batch.jump("a").encode(0), "no label 'a'"),
        (lambda batch: batch.label("a").jump("a").encode(), "needs the batch's address"),
    ],
)
def test_what_cannot_be_is_refused(build: Callable[[Batch], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(Batch())


def test_every_builder_method_says_what_it_emits() -> None:
    for name, method in inspect.getmembers(Batch, inspect.isfunction):
        assert name.startswith("__") or method.__doc__, name
