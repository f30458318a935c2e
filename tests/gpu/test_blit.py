# SPDX-License-Identifier: MIT
"""Effects of the copy engine's commands on memory."""

from __future__ import annotations

import random

import pytest

from gpu import Batch, Execution, Reason, Stop
from gpu import commands as c
from tests.gpu.space import Pages

BATCH, SOURCE, TARGET = 0x1_0000, 0x10_0000, 0x80_0000
SIZE = 0x30_0000


@pytest.fixture
def space() -> Pages:
    space = Pages(
        [BATCH // 4096, *(base // 4096 + page for base in (SOURCE, TARGET) for page in range(SIZE // 4096))]
    )
    space.poke(SOURCE, random.Random(1).randbytes(SIZE))
    space.poke(TARGET, b"\xee" * SIZE)
    return space


def run(space: Pages, batch: Batch, budget: int = 10_000) -> Stop:
    space.poke(BATCH, batch.end().encode())
    return Execution(space, BATCH).run(budget)


def rows(space: Pages, address: int, pitch: int, width: int, height: int) -> list[bytes]:
    return [space.peek(address + row * pitch, width) for row in range(height)]


@pytest.mark.parametrize(
    ("target", "source", "size"),
    [
        (0, 0, 1),
        (3, 5, 7),
        (0, 0x100, 0x1000),
        (0xFFF, 0x1FFD, 0x2003),
        (0, 0, 2 << 20),
        (0x100, 0x2300, 0x12300),
    ],
)
def test_copy_moves_exactly_its_bytes(space: Pages, target: int, source: int, size: int) -> None:
    expected = space.peek(SOURCE + source, size)
    assert run(space, Batch().copy(TARGET + target, SOURCE + source, size)).reason is Reason.FINISHED
    assert space.peek(TARGET + target, size) == expected
    assert space.peek(TARGET + target + size, 256) == b"\xee" * 256
    assert space.peek(TARGET, target) == b"\xee" * target


@pytest.mark.parametrize("size", [1, 255, 0x1000, 0x12345])
def test_fill_sets_exactly_its_bytes(space: Pages, size: int) -> None:
    assert run(space, Batch().fill(TARGET + 3, 0x5A, size)).reason is Reason.FINISHED
    assert space.peek(TARGET, size + 6) == b"\xee" * 3 + b"\x5a" * size + b"\xee" * 3


def test_matrix_copy_moves_rows_between_pitches(space: Pages) -> None:
    copy = {"matrix": 1, "width": 100, "height": 9, "source_pitch": 300, "destination_pitch": 5000}
    run(space, Batch().command(c.MemCopy, source=SOURCE + 1, destination=TARGET + 7, **copy))
    assert rows(space, TARGET + 7, 5000, 100, 9) == rows(space, SOURCE + 1, 300, 100, 9)
    assert space.peek(TARGET + 107, 4900) == b"\xee" * 4900


def test_matrix_fill_as_the_kernel_clears(space: Pages) -> None:
    """xe_migrate.c:emit_clear_link_copy clears rows of 4 KiB without a gap."""
    run(
        space,
        Batch().command(c.MemSet, matrix=1, width=4096, height=20, pitch=4096, destination=TARGET, value=0),
    )
    assert space.peek(TARGET, 20 * 4096 + 1) == bytes(20 * 4096) + b"\xee"


def test_matrix_fill_leaves_what_is_between_rows(space: Pages) -> None:
    run(space, Batch().command(c.MemSet, matrix=1, width=5, height=3, pitch=8, destination=TARGET, value=1))
    assert space.peek(TARGET, 24) == (b"\x01" * 5 + b"\xee" * 3) * 3


def test_fast_copy_as_the_kernel_copies(space: Pages) -> None:
    """xe_migrate.c:emit_xy_fast_copy: rows of 4 KiB in 32-bit pixels, both sides with the Tile4 bit."""
    fields = {"source_tile4": 1, "destination_tile4": 1, "colour": 3, "right": 1024, "bottom": 64}
    fields |= {"destination_pitch": 4096, "source_pitch": 4096}
    run(space, Batch().command(c.FastCopy, source=SOURCE, destination=TARGET, **fields))
    assert space.peek(TARGET, 64 * 4096) == space.peek(SOURCE, 64 * 4096)
    assert space.peek(TARGET + 64 * 4096, 1) == b"\xee"


@pytest.mark.parametrize(("colour", "pixel"), [(0, 1), (1, 2), (3, 4), (4, 8), (5, 16)])
def test_fast_copy_of_a_rectangle(space: Pages, colour: int, pixel: int) -> None:
    fields = {"left": 3, "top": 2, "right": 13, "bottom": 7, "source_left": 5, "source_top": 1}
    fields |= {"destination_pitch": 1024, "source_pitch": 2048, "colour": colour}
    run(space, Batch().command(c.FastCopy, source=SOURCE, destination=TARGET, **fields))
    source = rows(space, SOURCE + 2048 + 5 * pixel, 2048, 10 * pixel, 5)
    assert rows(space, TARGET + 2 * 1024 + 3 * pixel, 1024, 10 * pixel, 5) == source
    assert space.peek(TARGET + 2 * 1024 + 2 * pixel, pixel) == b"\xee" * pixel


def test_fast_copy_between_layouts_is_illegal(space: Pages) -> None:
    fields = {"colour": 3, "right": 4, "bottom": 1, "source": SOURCE, "destination": TARGET}
    assert run(space, Batch().command(c.FastCopy, source_tile4=1, **fields)).reason is Reason.ILLEGAL
    assert space.peek(TARGET, 16) == b"\xee" * 16


@pytest.mark.parametrize(("colour", "pixel"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 12), (5, 16)])
def test_block_copy_of_a_rectangle_with_offsets(space: Pages, colour: int, pixel: int) -> None:
    fields = {"left": 3, "top": 2, "right": 13, "bottom": 7, "source_left": 5, "source_top": 1}
    fields |= {"destination_x": 1, "destination_y": 2, "source_x": 3, "source_y": 4}
    fields |= {"destination_pitch": 1000, "source_pitch": 2000, "colour": colour}
    run(space, Batch().command(c.BlockCopy, source=SOURCE, destination=TARGET, **fields))
    source = rows(space, SOURCE + 5 * 2000 + 8 * pixel, 2000, 10 * pixel, 5)
    assert rows(space, TARGET + 4 * 1000 + 4 * pixel, 1000, 10 * pixel, 5) == source


@pytest.mark.parametrize(("colour", "pixel"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 12), (5, 16)])
def test_fast_colour_fills_a_rectangle_with_a_pixel(space: Pages, colour: int, pixel: int) -> None:
    fields = {"colour": colour, "pitch": 512, "left": 2, "top": 1, "right": 7, "bottom": 4}
    words = {f"pixel{index}": 0x04030201 + index * 0x04040404 for index in range(4)}
    run(space, Batch().command(c.FastColour, destination=TARGET, **fields, **words))
    assert rows(space, TARGET + 512 + 2 * pixel, 512, 5 * pixel, 3) == [bytes(range(1, pixel + 1)) * 5] * 3
    assert space.peek(TARGET + 512, 2 * pixel) == b"\xee" * 2 * pixel


def test_fast_colour_as_the_kernel_clears(space: Pages) -> None:
    """xe_migrate.c:emit_clear_main_copy."""
    fields = {"colour": 2, "pitch": 4096, "right": 1024, "bottom": 32, "destination": TARGET}
    run(space, Batch().command(c.FastColour, **fields))
    assert space.peek(TARGET, 32 * 4096 + 1) == bytes(32 * 4096) + b"\xee"


@pytest.mark.parametrize("empty", [{"left": 5, "right": 5, "bottom": 9}, {"right": 5, "top": 9, "bottom": 3}])
def test_empty_rectangle_is_nothing(space: Pages, empty: dict) -> None:
    for command in (c.FastCopy, c.BlockCopy, c.FastColour):
        assert run(space, Batch().command(command, destination=TARGET, **empty)).reason is Reason.FINISHED
    assert space.peek(TARGET, 4096) == b"\xee" * 4096


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (c.MemCopy, {"page": 1, "matrix": 1}),
        (c.MemSet, {"fast_clear": 1}),
        (c.FastCopy, {"colour": 7}),
        (c.BlockCopy, {"colour": 6}),
        (c.BlockCopy, {"source_tiling": 2}),
        (c.FastColour, {"colour": 7}),
        (c.FastColour, {"tiling": 1}),
    ],
)
def test_blit_that_is_not_modelled_stops_as_illegal(space: Pages, command: type, fields: dict) -> None:
    assert run(space, Batch().command(command, **fields)).reason is Reason.ILLEGAL


def test_budget_stops_a_long_copy_and_it_goes_on(space: Pages) -> None:
    space.poke(BATCH, Batch().copy(TARGET, SOURCE, 2 << 20).end().encode())
    execution = Execution(space, BATCH)
    stop = execution.run(4)
    assert (stop.reason, stop.pc) == (Reason.BUDGET, BATCH)
    assert space.peek(TARGET + 4 * 0x10000, 4) == b"\xee" * 4
    assert execution.run(1000).reason is Reason.FINISHED
    assert space.peek(TARGET, 2 << 20) == space.peek(SOURCE, 2 << 20)
    assert sum(size for _, size in space.stores) == 2 << 20


def test_copy_of_more_than_a_command_can_takes_several() -> None:
    batch = Batch().copy(0, 1 << 40, (32 << 20) + 5)
    assert len(batch) == 3 * 40
