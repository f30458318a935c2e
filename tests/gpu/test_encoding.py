# SPDX-License-Identifier: MIT
"""Commands are encoded as the kernel encodes them, and decoded to the same fields."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu import Command, alu, commands, decode, skipped
from gpu.commands import (
    Atomic,
    BatchBufferStart,
    CopyMemMem,
    FastColour,
    FastCopy,
    FlushDw,
    LoadRegisterImm,
    LoadRegisterMem,
    LoadRegisterReg,
    Math,
    MemCopy,
    MemSet,
    PipeControl,
    SemaphoreWait,
    StoreDataImm,
    StoreRegisterMem,
)
from gpu.encoding import Address, Less, Tail
from gpu.lookup import lookup

COMMANDS = [
    command
    for module in (commands, skipped)
    for command in vars(module).values()
    if isinstance(command, type) and issubclass(command, Command) and command is not Command
]


# Each line is a header that Linux xe emits (the function that does), and the same from the definitions here.
@pytest.mark.parametrize(
    ("header", "words"),
    [
        pytest.param(0x10400002, StoreDataImm.encode(ggtt=1, data=[0]), id="emit_store_imm_ggtt"),
        pytest.param(0x10200003, StoreDataImm.encode(qword=1, data=[0, 0]), id="emit_store_imm_ppgtt_posted"),
        pytest.param(0x102003FD, StoreDataImm.encode(qword=1, data=[0] * 1020), id="emit_pte-0x1FE"),
        pytest.param(0x13004002, FlushDw.encode(4, post_sync=1), id="emit_flush_imm_ggtt"),
        pytest.param(
            0x13044002, FlushDw.encode(4, post_sync=1, invalidate_tlb=1), id="emit_flush_invalidate"
        ),
        pytest.param(0x13000002, FlushDw.encode(4), id="emit_flush_dw"),
        pytest.param(0x18800101, BatchBufferStart.encode(ppgtt=1), id="emit_bb_start"),
        pytest.param(0x18800001, BatchBufferStart.encode(), id="emit_bb_start-ggtt"),
        pytest.param(0x7A000004, PipeControl.encode(), id="emit_pipe_control"),
        pytest.param(0x12480002, StoreRegisterMem.encode(ggtt=1, cs_mmio=1), id="emit_copy_timestamp"),
        pytest.param(
            0x11080003, LoadRegisterImm.encode(cs_mmio=1, pairs=[0] * 4), id="emit_fake_watchdog-lri"
        ),
        pytest.param(
            0x0E40C003, SemaphoreWait.encode(ggtt=1, poll=1, compare=4), id="emit_fake_watchdog-sem"
        ),
        pytest.param(
            0x0E01C003, SemaphoreWait.encode(register=1, poll=1, compare=4), id="__emit_aux_table_inv"
        ),
        pytest.param(
            0x11020001, LoadRegisterImm.encode(remap=1, pairs=[0] * 2), id="__emit_aux_table_inv-lri"
        ),
        pytest.param(0x14C80002, LoadRegisterMem.encode(ggtt=1, cs_mmio=1), id="setup_timestamp_wa"),
        pytest.param(0x15080001, LoadRegisterReg.encode(destination_cs_mmio=1), id="emit_wa_job-lrr-from"),
        pytest.param(0x15040001, LoadRegisterReg.encode(source_cs_mmio=1), id="emit_wa_job-lrr-to"),
        pytest.param(0x0D000007, Math.encode(alu=[0] * 8), id="emit_wa_job-math"),
        pytest.param(0x17000003, CopyMemMem.encode(), id="MI_COPY_MEM_MEM"),
        pytest.param(0x56880008, MemCopy.encode(page=1), id="emit_mem_copy-page"),
        pytest.param(0x56820008, MemCopy.encode(matrix=1), id="emit_mem_copy-matrix"),
        pytest.param(0x56800008, MemCopy.encode(), id="emit_mem_copy-linear"),
        pytest.param(0x56C20005, MemSet.encode(matrix=1), id="emit_clear_link_copy"),
        pytest.param(0x50800008, FastCopy.encode(), id="emit_xy_fast_copy"),
        pytest.param(0x5110000E, FastColour.encode(colour=2), id="emit_clear_main_copy"),
        pytest.param(0x51100009, FastColour.encode(11, colour=2), id="emit_clear_main_copy-before-12.50"),
        pytest.param(0x52000003, commands.CtrlSurfCopy.encode(), id="emit_copy_ccs"),
        pytest.param(0x01000000, commands.UserInterrupt.encode(), id="emit_user_interrupt"),
        pytest.param(0x04000001, commands.ArbOnOff.encode(enable=1), id="emit_user_interrupt-arb"),
        pytest.param(0x02800101, commands.ArbCheck.encode(mask=1, disable=1), id="preparser_disable"),
        pytest.param(0x05000000, commands.BatchBufferEnd.encode(), id="MI_BATCH_BUFFER_END"),
        pytest.param(0x17800501, Atomic.encode(operation=5), id="atomic-inc"),
        pytest.param(0x17840709, Atomic.encode(11, inline=1, operation=7), id="atomic-add-inline"),
        pytest.param(
            0x1B200002, commands.ConditionalBatchBufferEnd.encode(do_compare=1), id="conditional-end-gt"
        ),
        pytest.param(0x07000000, skipped.SetAppId.encode(), id="MI_SET_APPID"),
    ],
)
def test_header_is_the_one_the_kernel_emits(header: int, words: list[int]) -> None:
    assert words[0] == header


def test_store_of_a_user_fence_is_the_kernels_dwords() -> None:
    """xe_ring_ops.c:emit_store_imm_ppgtt_posted."""
    words = StoreDataImm.encode(qword=1, address=0xFFFF_8000_1234_5678, data=[0x89ABCDEF, 0x01234567])
    assert words == [0x10200003, 0x12345678, 0xFFFF8000, 0x89ABCDEF, 0x01234567]


def test_mem_copy_of_2_mib_is_the_kernels_dwords() -> None:
    """xe_migrate.c:emit_mem_copy with size 2 MiB, pitch 4 KiB and MOCS index 3."""
    words = MemCopy.encode(
        page=1,
        width=0x2000,
        height=512,
        source_pitch=4096,
        destination_pitch=4096,
        source=0x41_0000_0000,
        destination=0x20_0000,
        source_mocs=3,
        destination_mocs=3,
    )
    assert words == [0x56880008, 0x1FFF, 511, 4095, 4095, 0, 0x41, 0x200000, 0, 0x30000018]


def test_alu_dwords_are_the_kernels() -> None:
    """instructions/xe_alu_commands.h: CS_ALU_INSTR_LOADINV(SRCB, REG1) and CS_ALU_INSTR_STORE(REG0, ACCU)."""
    assert alu.instruction("loadinv", "srcb", "r1") == 0x480 << 20 | 0x21 << 10 | 1
    assert alu.instruction("store", "r0", "accu") == 0x180 << 20 | 0x31


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_header_of_every_command_finds_it_again(command: type[Command]) -> None:
    for size in command.lengths if isinstance(command.lengths, tuple) else (command.lengths[0],):
        words = command.encode(size)
        assert lookup(words[0]) is command
        assert command.size(words[0]) == size


@st.composite
def encoded(draw: st.DrawFn) -> tuple[type[Command], list[int], dict[str, object]]:
    command = draw(st.sampled_from([command for command in COMMANDS if command.fields]))
    sizes = command.lengths
    size = draw(st.sampled_from(sizes[:40]))
    values: dict[str, object] = {}
    for name, field in command.fields.items():
        if isinstance(field, Tail):
            if size > field.first:
                count = size - field.first
                values[name] = draw(st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count))
        elif isinstance(field, Address):
            if size > field.first + 1:
                align = (~field.low & 0xFFFFFFFF) + 1
                values[name] = draw(st.integers(0, 2**64 // align - 1)) * align
        elif size > field.first:
            low = 1 if isinstance(field, Less) else 0
            values[name] = draw(st.integers(low, field.mask + low))
    return command, command.encode(size, **values), values  # type: ignore[arg-type]


@given(encoded())
@settings(max_examples=400, deadline=None, derandomize=True)
def test_every_field_comes_back_from_its_encoding(example: tuple[type[Command], list[int], dict]) -> None:
    command, words, values = example
    [instruction] = decode(b"".join(word.to_bytes(4, "little") for word in words))
    assert type(instruction.command) is command
    for name, value in values.items():
        assert getattr(instruction.command, name) == (tuple(value) if isinstance(value, list) else value), (
            name
        )
    assert instruction.text.startswith(command.name)


def test_fields_of_a_command_do_not_overlap() -> None:
    for command in COMMANDS:
        used: dict[int, int] = {0: command.length_mask}
        for name, field in command.fields.items():
            if isinstance(field, Tail):
                continue
            parts = (
                [(field.first, field.low), (field.first + 1, 2**32 - 1)]
                if isinstance(field, Address)
                else [(field.first, field.mask << field.shift)]
            )
            for dword, bits in parts:
                assert not used.get(dword, 0) & bits, f"{command.name}.{name}"
                used[dword] = used.get(dword, 0) | bits
        assert not used[0] & command.header, command.name


@pytest.mark.parametrize(
    ("command", "values", "message"),
    [
        (StoreDataImm, {"address": 2, "data": [1]}, "address=0x2 is not a multiple of 4"),
        (StoreDataImm, {"address": 1 << 64, "data": [1]}, "is not an address"),
        (StoreDataImm, {"data": [1 << 32]}, "is not a dword"),
        (StoreDataImm, {"data": [0] * 1023}, "cannot have 1026 dwords"),
        (StoreDataImm, {"data": []}, "cannot have 3 dwords"),
        (MemSet, {"value": 256}, "value=0x100 does not fit into 8 bits"),
        (MemSet, {"width": 0}, "width=0 is not in 1..16777216"),
        (MemSet, {"depth": 0}, "MEM_SET has no field depth"),
        (SemaphoreWait, {"dwords": 4, "token": 1}, "MI_SEMAPHORE_WAIT of 4 dwords has no field token"),
        (SemaphoreWait, {"dwords": 6}, "cannot have 6 dwords"),
    ],
)
def test_value_that_does_not_fit_is_refused(command: type[Command], values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        command.encode(**values)
