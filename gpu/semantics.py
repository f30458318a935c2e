# SPDX-License-Identifier: MIT
"""Commands of the command streamer, one function for each; those of the copy engine are in gpu.blit.

Each either completes, or raises before it has changed anything that another run of it would see.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpu import alu, blit, compute
from gpu import commands as c
from gpu.address import AddressSpace, translated
from gpu.encoding import Command
from gpu.registers import (
    PREDICATE_DATA,
    PREDICATE_RESULT,
    PREDICATE_RESULT_2,
    PREDICATE_SRC0,
    PREDICATE_SRC1,
)
from gpu.stop import IllegalInstruction, Progress, Wait, Waiting

if TYPE_CHECKING:
    from gpu.execute import Execution

COMPARE: dict[int, Callable[[int, int], bool]] = {
    0: operator.gt,
    1: operator.ge,
    2: operator.lt,
    3: operator.le,
    4: operator.eq,
    5: operator.ne,
}
_DWORD = struct.Struct("<I")
_QWORD = struct.Struct("<Q")
_MASK_32, _MASK_64 = (1 << 32) - 1, (1 << 64) - 1


def _dword(space: AddressSpace, address: int) -> int:
    return int.from_bytes(space.read(translated(address), 4), "little")


def _store_data_imm(ex: Execution, cmd: c.StoreDataImm) -> None:
    words = cmd.words
    if cmd.qword and len(words) % 2 == 0:
        raise IllegalInstruction(f"MI_STORE_DATA_IMM of qwords with {len(words) - 3} dwords of data")
    space = ex.space(cmd.ggtt)
    if space is None:
        return
    address = translated(cmd.address)
    data = _DWORD.pack(words[3]) if len(words) == 4 else struct.pack(f"<{len(words) - 3}I", *words[3:])
    ex.store(cmd, space, address, data)


def _load_register_imm(ex: Execution, cmd: c.LoadRegisterImm) -> None:
    pairs = cmd.pairs
    for offset, value in zip(pairs[::2], pairs[1::2], strict=True):
        ex.registers.write(offset, value, cmd.cs_mmio, cmd.remap, ex.privileged)


def _load_register_reg(ex: Execution, cmd: c.LoadRegisterReg) -> None:
    value = ex.registers.read(cmd.source, cmd.source_cs_mmio, cmd.source_remap)
    ex.registers.write(cmd.destination, value, cmd.destination_cs_mmio, cmd.destination_remap, ex.privileged)


def _load_register_mem(ex: Execution, cmd: c.LoadRegisterMem) -> None:
    space = ex.space(cmd.ggtt)
    if space is not None:
        value = _dword(space, cmd.address)
        ex.registers.write(cmd.register, value, cmd.cs_mmio, cmd.remap, ex.privileged)


def _store_register_mem(ex: Execution, cmd: c.StoreRegisterMem) -> None:
    space = ex.space(cmd.ggtt)
    if space is None or (cmd.predicate and not ex.registers.relative(PREDICATE_RESULT) & 1):
        return
    value = ex.registers.read(cmd.register, cmd.cs_mmio, cmd.remap)
    ex.store(cmd, space, translated(cmd.address), _DWORD.pack(value))


def _copy_mem_mem(ex: Execution, cmd: c.CopyMemMem) -> None:
    source, destination = ex.space(cmd.source_ggtt), ex.space(cmd.destination_ggtt)
    if source is None or destination is None:
        return
    data = source.read(translated(cmd.source), 4)
    ex.store(cmd, destination, translated(cmd.destination), data)


def _math(ex: Execution, cmd: c.Math) -> None:
    space = ex.space(0)

    def load(address: int) -> int:
        if space is None:
            raise IllegalInstruction("MI_MATH: LOADIND in a context without a PPGTT")
        return int.from_bytes(space.read(translated(address) & ~7, 8), "little")

    def store(address: int, value: int) -> None:
        if space is None:
            raise IllegalInstruction("MI_MATH: STOREIND in a context without a PPGTT")
        fault = ex.write(space, translated(address) & ~7, _QWORD.pack(value))
        if fault is not None:
            raise fault

    if ex.progress is None or ex.progress.unit is None:
        ex.progress = Progress(cmd, unit=alu.Unit(ex.registers.gpr, load, store))
    unit = ex.progress.unit
    assert unit is not None
    try:
        unit.run(cmd.words[1:])
    except alu.IllegalOperation as error:
        raise IllegalInstruction(f"MI_MATH: {error}") from None
    ex.registers.gpr = unit.registers


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


ATOMIC_RESULT: dict[str, Callable[[int, int, int, int], int]] = {
    "and": lambda old, one, two, bits: old & one,
    "or": lambda old, one, two, bits: old | one,
    "xor": lambda old, one, two, bits: old ^ one,
    "move": lambda old, one, two, bits: one,
    "inc": lambda old, one, two, bits: old + 1,
    "dec": lambda old, one, two, bits: old - 1,
    "add": lambda old, one, two, bits: old + one,
    "sub": lambda old, one, two, bits: old - one,
    "rsub": lambda old, one, two, bits: one - old,
    "imax": lambda old, one, two, bits: max(old, one, key=lambda value: _signed(value, bits)),
    "imin": lambda old, one, two, bits: min(old, one, key=lambda value: _signed(value, bits)),
    "umax": lambda old, one, two, bits: max(old, one),
    "umin": lambda old, one, two, bits: min(old, one),
    "cmpwr": lambda old, one, two, bits: two if old == one else old,
}


def _atomic(ex: Execution, cmd: c.Atomic) -> None:
    name = c.ATOMICS.get(cmd.operation & ~c.ATOMIC_QWORD)
    if name is None:
        raise IllegalInstruction(f"MI_ATOMIC has no operation {cmd.operation:#x}")
    if cmd.inline != (len(cmd.words) == 11):
        raise IllegalInstruction(f"MI_ATOMIC of {len(cmd.words)} dwords with inline={cmd.inline}")
    space = ex.space(cmd.ggtt)
    if space is None:
        return
    size, mask = (8, _MASK_64) if cmd.operation & c.ATOMIC_QWORD else (4, _MASK_32)
    gpr = ex.registers.gpr
    if cmd.inline:
        one = (cmd.operand1_low | cmd.operand1_high << 32) & mask
        two = (cmd.operand2_low | cmd.operand2_high << 32) & mask
    else:
        one, two = gpr[0] & mask, gpr[2] & mask
    result = ATOMIC_RESULT[name]
    address = translated(cmd.address) & ~(size - 1)
    ex.forget_fetched(space, address, size)
    old = space.atomic(address, size, lambda value: result(value, one, two, size * 8) & mask)
    if cmd.returns:
        gpr[4] = old if size == 8 else gpr[4] & ~_MASK_32 | old


def _semaphore_wait(ex: Execution, cmd: c.SemaphoreWait) -> None:
    compare = COMPARE.get(cmd.compare)
    if compare is None:
        raise IllegalInstruction(f"MI_SEMAPHORE_WAIT has no comparison {cmd.compare}")
    if ex.satisfied:
        ex.satisfied = False
        return
    if cmd.register:
        where, address = "register", cmd.address & 0x7FFFFC
        value = ex.registers.read(address)
    else:
        space = ex.space(cmd.ggtt)
        if space is None:
            return
        where, address = "ggtt" if space is ex.ggtt else "ppgtt", translated(cmd.address)
        value = _dword(space, address)
    if not compare(value, cmd.data):
        raise Waiting(Wait(where, address, c.COMPARISONS[cmd.compare], cmd.data, value, bool(cmd.poll)))


def _batch_buffer_start(ex: Execution, cmd: c.BatchBufferStart) -> None:
    ex.start_batch(cmd.address, bool(cmd.ppgtt), bool(cmd.second_level))


def _batch_buffer_end(ex: Execution, cmd: c.BatchBufferEnd) -> None:
    ex.end_batch()


def _conditional_batch_buffer_end(ex: Execution, cmd: c.ConditionalBatchBufferEnd) -> None:
    compare = COMPARE.get(cmd.compare)
    if compare is None:
        raise IllegalInstruction(f"MI_CONDITIONAL_BATCH_BUFFER_END has no comparison {cmd.compare}")
    if not cmd.do_compare:
        return
    space = ex.space(cmd.ggtt)
    if space is None:
        return
    if cmd.mask_mode:
        pair = space.read(translated(cmd.address) & ~7, 8)
        value = int.from_bytes(pair[:4], "little") & int.from_bytes(pair[4:], "little")
    else:
        value = _dword(space, cmd.address)
    if not compare(value, cmd.data):
        ex.end_batch(all_levels=not cmd.current_level)


def _post_sync_space(ex: Execution, index: int, ggtt: int, offset: int) -> tuple[AddressSpace | None, int]:
    """Target of a post-sync write: an address, or an offset in the context's status page."""
    if not index:
        return ex.space(ggtt), translated(offset)
    if ex.status_page is None or not ex.privileged:
        return None, 0
    return ex.ggtt, ex.status_page + (offset & 0xFF8)


def _flush_dw(ex: Execution, cmd: c.FlushDw) -> None:
    if cmd.post_sync and len(cmd.words) == 3:
        raise IllegalInstruction("MI_FLUSH_DW of 3 dwords with a post-sync operation")
    if cmd.invalidate_tlb:
        ex.engine.invalidate_tlb()
    if cmd.post_sync in (1, 3):
        space, address = _post_sync_space(ex, cmd.store_index, cmd.ggtt, cmd.address)
        if space is not None:
            data = struct.pack(f"<{len(cmd.words) - 3}I", *cmd.data)
            ex.store(
                cmd, space, address, data if cmd.post_sync == 1 else _QWORD.pack(ex.registers.timestamp())
            )
    if cmd.notify:
        ex.engine.user_interrupt()


def _pipe_control(ex: Execution, cmd: c.PipeControl) -> None:
    if cmd.invalidate_tlb:
        ex.engine.invalidate_tlb()
    if cmd.lri_post_sync:
        ex.registers.write(cmd.address, cmd.low, privileged=ex.privileged)
    elif cmd.post_sync:
        space, address = _post_sync_space(ex, cmd.store_index, cmd.ggtt, cmd.address)
        if space is not None:
            value = (0, cmd.low | cmd.high << 32, 0, ex.registers.timestamp())[cmd.post_sync]
            ex.store(cmd, space, address & ~7, _QWORD.pack(value))
    if cmd.notify:
        ex.engine.user_interrupt()


def _user_interrupt(ex: Execution, cmd: c.UserInterrupt) -> None:
    ex.engine.user_interrupt()


def _arb_on_off(ex: Execution, cmd: c.ArbOnOff) -> None:
    if ex.privileged:
        ex.arbitration = bool(cmd.enable)


def _arb_check(ex: Execution, cmd: c.ArbCheck) -> None:
    ex.drop_fetched()


def _set_predicate(ex: Execution, cmd: c.SetPredicate) -> None:
    result = ex.registers.relative(PREDICATE_RESULT) & 1
    result2 = ex.registers.relative(PREDICATE_RESULT_2) & 1
    off = {1: not result2, 2: bool(result2), 3: not result, 4: bool(result), 15: True}
    ex.predicated_off = off.get(cmd.enable, False)


def _predicate(ex: Execution, cmd: c.Predicate) -> None:
    registers = ex.registers
    source0, source1 = registers.wide(PREDICATE_SRC0), registers.wide(PREDICATE_SRC1)
    compared = (
        True,
        False,
        source0 == source1,
        source0 - source1 & _MASK_64 == registers.wide(PREDICATE_DATA),
    )[cmd.compare]
    old = bool(registers.relative(PREDICATE_RESULT) & 1)
    combined = (compared, compared and old, compared or old, compared != old)[cmd.combine]
    if cmd.load & 2:
        registers.set_relative(PREDICATE_RESULT, combined != (cmd.load == 3))


SEMANTICS: dict[type[Command], Callable[[Execution, Any], None]] = {
    c.SetPredicate: _set_predicate,
    c.UserInterrupt: _user_interrupt,
    c.ArbCheck: _arb_check,
    c.ArbOnOff: _arb_on_off,
    c.BatchBufferEnd: _batch_buffer_end,
    c.Predicate: _predicate,
    c.Math: _math,
    c.SemaphoreWait: _semaphore_wait,
    c.StoreDataImm: _store_data_imm,
    c.LoadRegisterImm: _load_register_imm,
    c.StoreRegisterMem: _store_register_mem,
    c.FlushDw: _flush_dw,
    c.LoadRegisterMem: _load_register_mem,
    c.LoadRegisterReg: _load_register_reg,
    c.CopyMemMem: _copy_mem_mem,
    c.Atomic: _atomic,
    c.BatchBufferStart: _batch_buffer_start,
    c.ConditionalBatchBufferEnd: _conditional_batch_buffer_end,
    c.PipeControl: _pipe_control,
    c.StateBaseAddress: compute.state_base_address,
    c.ComputeWalker: compute.compute_walker,
    c.BlockCopy: blit.block_copy,
    c.FastCopy: blit.fast_copy,
    c.FastColour: blit.fast_colour,
    c.MemCopy: blit.mem_copy,
    c.MemSet: blit.mem_set,
}
