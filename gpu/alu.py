# SPDX-License-Identifier: MIT
"""The arithmetic unit behind MI_MATH (Linux xe, instructions/xe_alu_commands.h).

An ALU instruction is a dword: opcode 31:20, operand1 19:10, operand2 9:0. Sixteen 64-bit registers R0..R15
are the command streamer's GPRs; SRCA, SRCB, ACCU, ZF and CF live for one MI_MATH.
"""

from collections.abc import Iterable

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
    """An ALU instruction that does not exist, or with an operand that it cannot have."""


def instruction(operation: str, operand1: str | None = None, operand2: str | None = None) -> int:
    """The dword for e.g. ("load", "srca", "r0"). Raises KeyError for an unknown name."""
    first = OPERANDS[operand1] if operand1 else 0
    second = OPERANDS[operand2] if operand2 else 0
    return OPCODES[operation] << 20 | first << 10 | second


def run(instructions: Iterable[int], registers: list[int]) -> None:
    """Carry out `instructions` on `registers` (16 integers of 64 bits), in place.

    Raises IllegalOperation; then `registers` may be changed, so callers pass a copy.
    """
    unit = {_SRCA: 0, _SRCB: 0, _ACCU: 0, _ZF: 0, _CF: 0}
    for word in instructions:
        name, first, second = _NAMES.get(word >> 20), word >> 10 & 0x3FF, word & 0x3FF
        if name in ("load", "loadinv"):
            if first not in (_SRCA, _SRCB) or second > 15:
                raise IllegalOperation(f"{name} with operands {first:#x}, {second:#x}")
            unit[first] = registers[second] ^ (MASK if name == "loadinv" else 0)
        elif name in ("load0", "load1"):
            if first not in (_SRCA, _SRCB):
                raise IllegalOperation(f"{name} with operand {first:#x}")
            unit[first] = MASK if name == "load1" else 0
        elif name in ("store", "storeinv"):
            if first > 15 or second not in (_ACCU, _ZF, _CF):
                raise IllegalOperation(f"{name} with operands {first:#x}, {second:#x}")
            registers[first] = unit[second] ^ (MASK if name == "storeinv" else 0)
        elif name in ("noop", "fence_rd", "fence_wr"):
            continue
        elif name is None:
            raise IllegalOperation(f"no ALU opcode {word >> 20:#x}")
        else:
            result, carry = _compute(name, unit[_SRCA], unit[_SRCB])
            unit[_ACCU] = result
            unit[_ZF] = 0 if result else MASK
            unit[_CF] = MASK if carry else 0


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
