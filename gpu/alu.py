# SPDX-License-Identifier: MIT
"""The arithmetic unit behind MI_MATH (Linux xe, instructions/xe_alu_commands.h).

An ALU instruction is a dword: opcode 31:20, operand1 19:10, operand2 9:0. The sixteen 64-bit registers R0..R15 are the
command streamer's GPRs; SRCA, SRCB, ACCU, ZF and CF last for one MI_MATH.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

MASK = (1 << 64) - 1

OPCODES = {
    "noop": 0x000,
    "fence_rd": 0x001,
    "fence_wr": 0x002,
    "load": 0x080,
    "loadinv": 0x480,
    "load0": 0x081,
    "load1": 0x481,
    "add": 0x100,
    "sub": 0x101,
    "and": 0x102,
    "or": 0x103,
    "xor": 0x104,
    "shl": 0x105,
    "shr": 0x106,
    "sar": 0x107,
    "store": 0x180,
    "storeinv": 0x580,
    "loadind": 0x082,
    "storeind": 0x181,
}
OPERANDS = {f"r{n}": n for n in range(16)} | {
    "srca": 0x20,
    "srcb": 0x21,
    "accu": 0x31,
    "zf": 0x32,
    "cf": 0x33,
}

_NAMES = {code: name for name, code in OPCODES.items()}
_SRCA, _SRCB, _ACCU, _ZF, _CF = 0x20, 0x21, 0x31, 0x32, 0x33


class IllegalOperation(Exception):  # noqa: N818 - becomes a Stop
    """An ALU instruction that does not exist, or has an invalid operand."""


def instruction(operation: str, operand1: str | None = None, operand2: str | None = None) -> int:
    """The dword for e.g. ("load", "srca", "r0"). Raises KeyError for an unknown name."""
    first = OPERANDS[operand1] if operand1 else 0
    second = OPERANDS[operand2] if operand2 else 0
    return OPCODES[operation] << 20 | first << 10 | second


class Unit:
    """The state of one MI_MATH: a fault can stop it, and it can be resumed.

    ``load`` and ``store`` access a qword of memory (LOADIND and STOREIND); if they raise, the unit stays at that
    instruction.
    """

    def __init__(
        self,
        registers: Sequence[int],
        load: Callable[[int], int],
        store: Callable[[int, int], None],
    ) -> None:
        self.registers = list(registers)
        self._load = load
        self._store = store
        self._state = {_SRCA: 0, _SRCB: 0, _ACCU: 0, _ZF: 0, _CF: 0}
        self._done = 0

    def run(self, instructions: Sequence[int]) -> None:
        """Execute the rest of ``instructions``. Raises IllegalOperation."""
        while self._done < len(instructions):
            self._step(instructions[self._done])
            self._done += 1

    def _step(self, word: int) -> None:
        name, first, second = _NAMES.get(word >> 20), word >> 10 & 0x3FF, word & 0x3FF
        state, registers = self._state, self.registers
        match name:
            case "load" | "loadinv":
                _check(name, first in (_SRCA, _SRCB) and second < 16, word)
                state[first] = registers[second] ^ (MASK if name == "loadinv" else 0)
            case "load0" | "load1":
                _check(name, first in (_SRCA, _SRCB), word)
                state[first] = MASK if name == "load1" else 0
            case "store" | "storeinv":
                _check(name, first < 16 and second in (_ACCU, _ZF, _CF), word)
                registers[first] = state[second] ^ (MASK if name == "storeinv" else 0)
            case "loadind":
                _check(name, first < 16 and second == _ACCU, word)
                registers[first] = self._load(state[_ACCU])
            case "storeind":
                _check(name, first == _ACCU and second < 16, word)
                self._store(state[_ACCU], registers[second])
            case "noop" | "fence_rd" | "fence_wr":
                pass
            case None:
                raise IllegalOperation(f"no ALU opcode {word >> 20:#x}")
            case _:
                result, carry = _compute(name, state[_SRCA], state[_SRCB])
                state[_ACCU] = result
                state[_ZF] = 0 if result else MASK
                state[_CF] = MASK if carry else 0


def _check(name: str, legal: bool, word: int) -> None:
    if not legal:
        raise IllegalOperation(f"{name} with the operands of {word:#010x}")


def _compute(name: str, a: int, b: int) -> tuple[int, bool]:
    """Result (64 bits) and carry or borrow."""
    match name:
        case "add":
            return a + b & MASK, a + b > MASK
        case "sub":
            return a - b & MASK, a < b
        case "and":
            return a & b, False
        case "or":
            return a | b, False
        case "xor":
            return a ^ b, False
        case "shl":
            return a << (b & 63) & MASK, False
        case "shr":
            return a >> (b & 63), False
        case _:
            signed = a - (1 << 64) if a >> 63 else a
            return signed >> (b & 63) & MASK, False
