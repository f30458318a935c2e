# SPDX-License-Identifier: MIT
"""The arithmetic unit computes as the hardware's: 64 bits, flags are all ones or zero."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu.alu import MASK, IllegalOperation, Unit, instruction

QWORD = st.integers(0, MASK) | st.sampled_from([0, 1, MASK, 1 << 63])


def run(program: list[tuple[str, ...]], *registers: int) -> list[int]:
    unit = Unit([*registers, *[0] * (16 - len(registers))], lambda address: 0, lambda address, value: None)
    unit.run([instruction(*words) for words in program])
    return unit.registers


def binary(operation: str, one: int, two: int) -> tuple[int, int, int]:
    """ACCU, ZF and CF of an operation."""
    program = [
        ("load", "srca", "r0"),
        ("load", "srcb", "r1"),
        (operation,),
        ("store", "r2", "accu"),
        ("store", "r3", "zf"),
        ("store", "r4", "cf"),
    ]
    registers = run(program, one, two)
    assert registers[:2] == [one, two]
    return registers[2], registers[3], registers[4]


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


@given(QWORD, QWORD)
@settings(deadline=None, derandomize=True)
def test_operations_and_their_flags(one: int, two: int) -> None:
    expected = {
        "add": (one + two, one + two > MASK),
        "sub": (one - two, one < two),
        "and": (one & two, False),
        "or": (one | two, False),
        "xor": (one ^ two, False),
        "shl": (one << (two & 63), False),
        "shr": (one >> (two & 63), False),
        "sar": (signed(one) >> (two & 63), False),
    }
    for operation, (result, carry) in expected.items():
        result &= MASK  # noqa: PLW2901
        flags = (MASK if result == 0 else 0, MASK if carry else 0)
        assert binary(operation, one, two) == (result, *flags), operation


def test_inverted_and_constant_loads_and_inverted_store() -> None:
    program = [
        ("loadinv", "srca", "r0"),
        ("load0", "srcb"),
        ("or",),
        ("store", "r1", "accu"),
        ("storeinv", "r2", "accu"),
        ("load1", "srca"),
        ("xor",),
        ("store", "r3", "accu"),
    ]
    value = 0x0123_4567_89AB_CDEF
    assert run(program, value)[:4] == [value, value ^ MASK, value, MASK]


def test_indirect_load_and_store_use_the_accumulator_as_address() -> None:
    memory = {0x1000: 0xC0FFEE}
    unit = Unit([0x1000, 0x10, *[0] * 14], memory.__getitem__, memory.__setitem__)
    load = [("load", "srca", "r0"), ("load0", "srcb"), ("add",), ("loadind", "r5", "accu"), ("fence_rd",)]
    store = [("load", "srcb", "r1"), ("add",), ("storeind", "accu", "r5"), ("fence_wr",), ("noop",)]
    unit.run([instruction(*words) for words in load + store])
    assert unit.registers[5] == 0xC0FFEE
    assert memory == {0x1000: 0xC0FFEE, 0x1010: 0xC0FFEE}


def test_unit_goes_on_at_the_access_that_raised() -> None:
    """Results are not computed twice after a fault: an earlier increment counts once."""
    faults = [KeyError("fault"), KeyError("fault")]

    def load(address: int) -> int:
        if faults:
            raise faults.pop()
        return address + 7

    program = [("load", "srca", "r0"), ("load", "srcb", "r1"), ("add",), ("store", "r0", "accu")]
    words = [instruction(*entry) for entry in [*program, ("loadind", "r2", "accu")]]
    unit = Unit([100, 1, *[0] * 14], load, lambda address, value: None)
    for _ in range(2):
        with pytest.raises(KeyError):
            unit.run(words)
    unit.run(words)
    assert unit.registers[:3] == [101, 1, 108]


@pytest.mark.parametrize(
    "word",
    [
        0xFFF << 20,
        0x080 << 20 | 0x22 << 10,
        0x080 << 20 | 0x20 << 10 | 16,
        0x081 << 20 | 0x31 << 10,
        0x180 << 20 | 16 << 10 | 0x31,
        0x180 << 20 | 0x20,
        0x082 << 20 | 0x20,
        0x181 << 20 | 0x20 << 10,
    ],
)
def test_instruction_that_does_not_exist_is_refused(word: int) -> None:
    unit = Unit([0] * 16, lambda address: 0, lambda address, value: None)
    with pytest.raises(IllegalOperation):
        unit.run([word])
