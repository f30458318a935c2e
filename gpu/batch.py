# SPDX-License-Identifier: MIT
"""Batches for tests: a builder with one method for each command."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gpu import alu
from gpu import commands as c
from gpu.address import canonical
from gpu.encoding import Command
from gpu.registers import gpr

ATOMICS = {name: code for code, name in c.ATOMICS.items()}
COMPARISONS = {text: code for code, text in c.COMPARISONS.items()}

# maximum bytes of one MEM_COPY or MEM_SET here: the kernel's limit of a page copy (xe_migrate.c:emit_mem_copy)
BLIT_MAX = 1 << 24
_PAGE_COPY_UNIT = 256


class Batch:
    """A batch buffer under construction. Addresses are GPU virtual addresses of 48 bits; every method returns
    the batch.

    A value or an address that does not fit is a ValueError. ``encode`` needs the batch's own address only if it
    jumps to labels.
    """

    def __init__(self) -> None:
        self._words: list[int] = []
        self._labels: dict[str, int] = {}
        self._jumps: dict[int, str] = {}

    def __len__(self) -> int:
        """Size in bytes."""
        return 4 * len(self._words)

    def command(self, kind: type[Command], dwords: int | None = None, **fields: int | Sequence[int]) -> Batch:
        """Any command of gpu.commands, by its fields."""
        self._words += kind.encode(dwords, **fields)
        return self

    def raw(self, *words: int) -> Batch:
        """Dwords as they are."""
        for word in words:
            if not 0 <= word < 1 << 32:
                raise ValueError(f"{word:#x} is not a dword")
        self._words += words
        return self

    def noop(self, count: int = 1) -> Batch:
        """MI_NOOP, ``count`` times."""
        return self.raw(*[0] * count)

    # Stores and loads

    def store_dword(self, address: int, value: int) -> Batch:
        """MI_STORE_DATA_IMM of one dword."""
        return self.store_dwords(address, [value])

    def store_dwords(self, address: int, values: Sequence[int]) -> Batch:
        """MI_STORE_DATA_IMM of up to 1022 dwords, one after the other."""
        return self.command(c.StoreDataImm, address=canonical(address), data=values)

    def store_qword(self, address: int, value: int) -> Batch:
        """MI_STORE_DATA_IMM of one qword."""
        return self.store_qwords(address, [value])

    def store_qwords(self, address: int, values: Sequence[int]) -> Batch:
        """MI_STORE_DATA_IMM of up to 511 qwords."""
        for value in values:
            if not 0 <= value < 1 << 64:
                raise ValueError(f"{value:#x} is not a qword")
        words = struct.unpack(f"<{2 * len(values)}I", struct.pack(f"<{len(values)}Q", *values))
        return self.command(c.StoreDataImm, qword=1, address=canonical(address), data=words)

    def copy_mem(self, destination: int, source: int) -> Batch:
        """MI_COPY_MEM_MEM: copy one dword."""
        return self.command(c.CopyMemMem, destination=canonical(destination), source=canonical(source))

    def load_register(self, register: int, value: int) -> Batch:
        """MI_LOAD_REGISTER_IMM; ``register`` is an offset from the engine's base (gpu.registers)."""
        return self.command(c.LoadRegisterImm, cs_mmio=1, pairs=[register, value])

    def load_gpr(self, index: int, value: int) -> Batch:
        """Set the 64 bits of GPR ``index``."""
        low, high = value & 0xFFFF_FFFF, value >> 32
        return self.command(c.LoadRegisterImm, cs_mmio=1, pairs=[gpr(index), low, gpr(index) + 4, high])

    def load_register_mem(self, register: int, address: int) -> Batch:
        """MI_LOAD_REGISTER_MEM: a dword of memory into a register."""
        return self.command(c.LoadRegisterMem, cs_mmio=1, register=register, address=canonical(address))

    def store_register(self, address: int, register: int) -> Batch:
        """MI_STORE_REGISTER_MEM: a register into a dword of memory."""
        return self.command(c.StoreRegisterMem, cs_mmio=1, register=register, address=canonical(address))

    def store_gpr(self, address: int, index: int) -> Batch:
        """The 64 bits of GPR ``index`` into memory."""
        return self.store_register(address, gpr(index)).store_register(address + 4, gpr(index) + 4)

    def load_register_reg(self, destination: int, source: int) -> Batch:
        """MI_LOAD_REGISTER_REG."""
        return self.command(
            c.LoadRegisterReg,
            destination_cs_mmio=1,
            source_cs_mmio=1,
            source=source,
            destination=destination,
        )

    def math(self, *instructions: tuple[str, ...]) -> Batch:
        """MI_MATH, e.g. `math(("load", "srca", "r0"), ("load", "srcb", "r1"), ("add",), ("store", "r2",
        "accu"))`.
        """
        return self.command(c.Math, alu=[alu.instruction(*instruction) for instruction in instructions])

    def atomic(
        self,
        address: int,
        operation: str,
        operand: int = 0,
        *,
        second: int = 0,
        size: int = 4,
        returns: bool = False,
    ) -> Batch:
        """MI_ATOMIC with inline operands. ``operation`` is a name of gpu.commands.ATOMICS; "cmpwr" writes
        ``second`` where memory is ``operand``. ``size`` is 4 or 8. With ``returns`` the old value goes to GPR 4.
        """
        if operation not in ATOMICS:
            raise ValueError(f"no atomic operation {operation!r}; there are {', '.join(ATOMICS)}")
        if size not in (4, 8):
            raise ValueError(f"atomics have 4 or 8 bytes, not {size}")
        if address % size:
            raise ValueError(f"{address:#x} is not a multiple of {size}")
        if max(operand, second) >> (8 * size):
            raise ValueError(f"operand of more than {size} bytes")
        return self.command(
            c.Atomic,
            dwords=11,
            inline=1,
            cs_stall=1,
            data_size=size // 8,
            returns=int(returns),
            operation=ATOMICS[operation] | (c.ATOMIC_QWORD if size == 8 else 0),
            address=canonical(address),
            operand1_low=operand & 0xFFFF_FFFF,
            operand1_high=operand >> 32,
            operand2_low=second & 0xFFFF_FFFF,
            operand2_high=second >> 32,
        )

    # Flow

    def semaphore_wait(self, address: int, value: int, compare: str = "==") -> Batch:
        """MI_SEMAPHORE_WAIT, polling, until the dword at ``address`` ``compare`` ``value``."""
        return self.command(
            c.SemaphoreWait, poll=1, compare=_comparison(compare), data=value, address=canonical(address)
        )

    def end_unless(self, address: int, compare: str, value: int) -> Batch:
        """MI_CONDITIONAL_BATCH_BUFFER_END: continue while the dword at ``address`` ``compare`` ``value``, else end the
        batch.
        """
        return self.command(
            c.ConditionalBatchBufferEnd,
            do_compare=1,
            compare=_comparison(compare),
            data=value,
            address=canonical(address),
        )

    def label(self, name: str) -> Batch:
        """Define a label here, for ``jump``."""
        if name in self._labels:
            raise ValueError(f"label {name!r} is already defined")
        self._labels[name] = len(self)
        return self

    def jump(self, name: str) -> Batch:
        """MI_BATCH_BUFFER_START at a label of this batch, before or after this place."""
        self._jumps[len(self._words)] = name
        return self.chain(0)

    def chain(self, address: int) -> Batch:
        """MI_BATCH_BUFFER_START: continue at ``address``, no return."""
        return self.command(c.BatchBufferStart, ppgtt=1, address=canonical(address))

    def call(self, address: int) -> Batch:
        """MI_BATCH_BUFFER_START of a second level batch: its MI_BATCH_BUFFER_END returns here."""
        return self.command(c.BatchBufferStart, ppgtt=1, second_level=1, address=canonical(address))

    def arb_check(self) -> Batch:
        """MI_ARB_CHECK: a place where the context may be preempted."""
        return self.command(c.ArbCheck)

    def flush(self) -> Batch:
        """MI_FLUSH_DW without a write: what was stored before is visible after. Not for rcs and ccs."""
        return self.command(c.FlushDw, dwords=4)

    def flush_store(self, address: int, value: int) -> Batch:
        """MI_FLUSH_DW with a post-sync write of a qword. Not for rcs and ccs."""
        words = [value & 0xFFFF_FFFF, value >> 32]
        return self.command(c.FlushDw, dwords=5, post_sync=1, address=canonical(address), data=words)

    def timestamp(self, address: int) -> Batch:
        """MI_FLUSH_DW with a post-sync write of the 64-bit timestamp. Not for rcs and ccs."""
        return self.command(c.FlushDw, dwords=5, post_sync=3, address=canonical(address), data=[0, 0])

    def user_interrupt(self) -> Batch:
        """MI_USER_INTERRUPT."""
        return self.command(c.UserInterrupt)

    def end(self) -> Batch:
        """MI_BATCH_BUFFER_END."""
        return self.command(c.BatchBufferEnd)

    # Blits, for copy engines (bcs) only

    def copy(self, destination: int, source: int, size: int) -> Batch:
        """MEM_COPY of ``size`` bytes, in as many commands as that takes."""
        if size <= 0:
            raise ValueError(f"a copy of {size} bytes")
        for offset in range(0, size, BLIT_MAX):
            part = min(BLIT_MAX, size - offset)
            to, source_part = destination + offset, source + offset
            page = not (part | to | source_part) % _PAGE_COPY_UNIT
            self.command(
                c.MemCopy,
                page=int(page),
                width=part // _PAGE_COPY_UNIT if page else part,
                source=canonical(source_part),
                destination=canonical(to),
            )
        return self

    def fill(self, destination: int, value: int, size: int) -> Batch:
        """MEM_SET of ``size`` bytes to the byte ``value``, in as many commands as that takes."""
        if size <= 0:
            raise ValueError(f"a fill of {size} bytes")
        for offset in range(0, size, BLIT_MAX):
            part = min(BLIT_MAX, size - offset)
            self.command(c.MemSet, width=part, destination=canonical(destination + offset), value=value)
        return self

    def encode(self, address: int | None = None) -> bytes:
        """The bytes of the batch, to be placed at ``address`` (only needed with ``jump``)."""
        words = self._words.copy()
        for place, name in self._jumps.items():
            if name not in self._labels:
                raise ValueError(f"no label {name!r}")
            if address is None:
                raise ValueError(f"the jump to {name!r} needs the batch's address: encode(address)")
            target = canonical(address + self._labels[name])
            words[place + 1 : place + 3] = target & 0xFFFF_FFFF, target >> 32
        return struct.pack(f"<{len(words)}I", *words)


def _comparison(text: str) -> int:
    if text not in COMPARISONS:
        raise ValueError(f"no comparison {text!r}; there are {' '.join(COMPARISONS)}")
    return COMPARISONS[text]
