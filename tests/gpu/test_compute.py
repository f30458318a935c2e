# SPDX-License-Identifier: MIT
"""Compute walkers: a known kernel has its effect, any other has none."""

from __future__ import annotations

import hashlib
import random
import struct
from array import array

import pytest

from gpu import Batch, Execution, Reason, Stop, compute
from gpu import commands as c
from tests.gpu.space import Pages

BATCH, GENERAL, INSTRUCTIONS, SOURCE, TARGET = 0x1_0000, 0x10_0000, 0x20_0000, 0x40_0000, 0x60_0000
INDIRECT, KERNEL, COUNT = 0x1040, 0x2000, 2000
CODE = compute._SQUARE_START + random.Random(3).randbytes(compute._SQUARE_SIZE - len(compute._SQUARE_START))


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Pages:
    """A made-up kernel replaces the known one."""
    monkeypatch.setattr(compute, "_SQUARE", hashlib.sha256(CODE).hexdigest())
    space = Pages(
        base // 4096 + page for base in (BATCH, GENERAL, INSTRUCTIONS, SOURCE, TARGET) for page in range(4)
    )
    space.poke(GENERAL + INDIRECT, struct.pack("<2QI", SOURCE, TARGET, COUNT))
    space.poke(INSTRUCTIONS + KERNEL, CODE)
    space.poke(SOURCE, array("f", [index / 7 for index in range(COUNT)]).tobytes())
    return space


def bases() -> list[int]:
    return c.StateBaseAddress.encode(
        22, set_general_state=1, general_state=GENERAL, set_instructions=1, instructions=INSTRUCTIONS
    )


def walker(length: int = 40) -> list[int]:
    return c.ComputeWalker.encode(length, indirect_size=64, indirect_offset=INDIRECT, kernel_offset=KERNEL)


def start(space: Pages, *commands: list[int]) -> tuple[Execution, Stop]:
    batch = Batch()
    for words in commands:
        batch.raw(*words)
    space.poke(BATCH, batch.end().encode())
    execution = Execution(space, BATCH)
    return execution, execution.run(100)


def output(space: Pages) -> list[float]:
    return array("f", space.peek(TARGET, 4 * COUNT)).tolist()


def expected() -> list[float]:
    values = array("f", [index / 7 for index in range(COUNT)])
    return array("f", [value * value for value in values]).tolist()


def test_the_known_kernel_squares_an_array(space: Pages) -> None:
    _, stop = start(space, bases(), walker())
    assert stop.reason is Reason.FINISHED
    assert output(space) == expected()


@pytest.mark.parametrize("page", [SOURCE, TARGET + 4096, GENERAL + INDIRECT, INSTRUCTIONS + KERNEL])
def test_a_fault_is_served_and_the_walker_goes_on(space: Pages, page: int) -> None:
    space.absent.add(page // 4096)
    execution, stop = start(space, bases(), walker())
    assert stop.fault is not None
    assert stop.fault.address // 4096 == page // 4096
    space.serve(stop.fault)
    assert execution.run(100).reason is Reason.FINISHED
    assert output(space) == expected()


@pytest.mark.parametrize(
    "what", ["other kernel", "same beginning", "no bases", "other length", "no arguments"]
)
def test_any_other_walker_does_nothing(space: Pages, what: str) -> None:
    if what == "other kernel":
        space.poke(INSTRUCTIONS + KERNEL, bytes(16))
    if what == "same beginning":
        space.poke(INSTRUCTIONS + KERNEL + 100, bytes(16))
    first = [] if what == "no bases" else bases()
    second = walker(39 if what == "other length" else 40)
    if what == "no arguments":
        second[2] = 0
    _, stop = start(space, first, second)
    assert stop.reason is Reason.FINISHED
    assert not any(output(space))
