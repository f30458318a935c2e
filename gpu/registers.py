# SPDX-License-Identifier: MIT
"""The registers that commands can load and store (Linux xe, regs/xe_engine_regs.h)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

CS_GPR = 0x600
TIMESTAMP = 0x358
CTX_TIMESTAMP = 0x3A8
QUEUE_TIMESTAMP = 0x4C0
ENGINE_ID = 0x8C
PREDICATE_SRC0 = 0x400
PREDICATE_SRC1 = 0x408
PREDICATE_DATA = 0x410
PREDICATE_RESULT = 0x418
PREDICATE_RESULT_1 = 0x41C
PREDICATE_RESULT_2 = 0x3BC

RENDER_RING_BASE = 0x2000

# MMIO offset where the registers of an engine start, by class and instance as the kernel names them
RING_BASES = {
    "rcs0": RENDER_RING_BASE,
    "ccs0": 0x1A000,
    "ccs1": 0x1C000,
    "ccs2": 0x1E000,
    "ccs3": 0x26000,
    "bcs0": 0x22000,
    **{f"bcs{instance}": 0x3DE000 + 0x2000 * instance for instance in range(1, 9)},
    **{
        f"vcs{instance}": 0x1C0000 + 0x10000 * (instance // 2) + 0x4000 * (instance % 2)
        for instance in range(8)
    },
    **{f"vecs{instance}": 0x1C8000 + 0x10000 * instance for instance in range(4)},
}

_LOW = 0xFFFF_FFFF
_ENGINE_SPACE = 0x1000
_CLOCKS = frozenset(
    offset + half for offset in (TIMESTAMP, CTX_TIMESTAMP, QUEUE_TIMESTAMP) for half in (0, 4)
)


def gpr(index: int) -> int:
    """Offset in the engine's registers of the low half of GPR ``index`` (0..15)."""
    return CS_GPR + 8 * index


def _user_may_write() -> Iterator[int]:
    """Registers that a batch in a PPGTT may write: GPRs, predicates, and the parameters of draws and dispatches."""
    yield from range(CS_GPR, CS_GPR + 0x80, 4)
    yield from range(PREDICATE_SRC0, PREDICATE_RESULT_1 + 1, 4)
    yield from range(0x3B8, 0x3C0, 4)
    yield from range(0x420, 0x444, 4)
    yield from range(0x500, 0x510, 4)


_USER_WRITABLE = frozenset(_user_may_write())


class Clocks(NamedTuple):
    """Values of the timestamp registers, in ticks: the engine's time, and the context's running time."""

    engine: Callable[[], int]
    context: Callable[[], int]


class Registers:
    """The register file of one context on one engine.

    Offsets below are MMIO offsets as commands carry them. Those of the engine are kept relative to its base, so that a
    context sees the same GPRs under all their offsets. Registers that were never written read as zero.
    """

    def __init__(self, base: int, clocks: Clocks, engine_id: int) -> None:
        self._base = base
        self._clocks = clocks
        self._file: dict[int, int] = {ENGINE_ID: engine_id} if engine_id else {}
        self.gpr = [0] * 16

    def _key(self, offset: int, cs_mmio: int, remap: int) -> int:
        """Engine-relative offset below 0x1000, or the absolute one of any other register."""
        offset &= 0x7FFFFC
        if cs_mmio:
            return offset if offset < _ENGINE_SPACE else offset + self._base
        if remap and RENDER_RING_BASE <= offset < RENDER_RING_BASE + _ENGINE_SPACE:
            return offset - RENDER_RING_BASE
        relative = offset - self._base
        return relative if 0 <= relative < _ENGINE_SPACE else offset | 1 << 23

    def read(self, offset: int, cs_mmio: int = 0, remap: int = 0) -> int:
        """The dword at ``offset``; with ``cs_mmio`` relative to the engine, with ``remap`` render's stands for the
        engine's.
        """
        key = self._key(offset, cs_mmio, remap)
        index = (key - CS_GPR) >> 3
        if key >= CS_GPR and index < 16:
            return self.gpr[index] >> (key & 4) * 8 & _LOW
        if key in _CLOCKS:
            clock = self._clocks.engine if key & ~4 == TIMESTAMP else self._clocks.context
            return clock() >> (key & 4) * 8 & _LOW
        return self._file.get(key, 0)

    def write(
        self, offset: int, value: int, cs_mmio: int = 0, remap: int = 0, privileged: bool = False
    ) -> None:
        """Set the dword at ``offset``. Without privilege, registers that user batches may not write keep their
        value.
        """
        key = self._key(offset, cs_mmio, remap)
        index = (key - CS_GPR) >> 3
        if key >= CS_GPR and index < 16:
            shift = (key & 4) * 8
            self.gpr[index] = self.gpr[index] & ~(_LOW << shift) | value << shift
        elif key not in _CLOCKS and (privileged or key in _USER_WRITABLE):
            self._file[key] = value

    def relative(self, offset: int) -> int:
        """The dword of the engine's register at ``offset`` from its base."""
        return self.read(offset, cs_mmio=1)

    def set_relative(self, offset: int, value: int) -> None:
        """Set the engine's register at ``offset`` from its base."""
        self.write(offset, value & _LOW, cs_mmio=1, privileged=True)

    def timestamp(self) -> int:
        """TIMESTAMP, 64 bits."""
        return self._clocks.engine() & (1 << 64) - 1

    def wide(self, offset: int) -> int:
        """A 64-bit register of the engine."""
        return self.relative(offset) | self.relative(offset + 4) << 32
