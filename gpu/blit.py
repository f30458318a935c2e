# SPDX-License-Identifier: MIT
"""Commands of the copy engine: rows of bytes, copied or filled in chunks.

Source and destination must not overlap: the hardware does not define the result. Tiled layouts are not modelled, but a
copy between equal layouts moves the same bytes as a linear one does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from gpu import commands as c
from gpu.address import AddressSpace, GpuFault, translated
from gpu.encoding import Command
from gpu.stop import IllegalInstruction, Progress

if TYPE_CHECKING:
    from gpu.execute import Execution

# bytes moved at a time, which count as one instruction
CHUNK = 64 * 1024
# unit of a page copy (xe_migrate.c:PAGE_COPY_MODE_PS)
PAGE_COPY_UNIT = 256


def _ppgtt(ex: Execution) -> AddressSpace:
    """Blits have no GGTT bit: they work in the context's VM, or in the GGTT if it has none."""
    space = ex.ggtt if ex.ppgtt is None else ex.ppgtt
    assert space is not None
    return space


def _read(space: AddressSpace, address: int, size: int) -> bytes:
    """Up to ``size`` bytes at ``address``, before a page that cannot be read. Raises GpuFault if there are none."""
    try:
        return space.read(address, size)
    except GpuFault as fault:
        ahead = fault.address - address
        if 0 < ahead < size:
            return space.read(address, ahead)
        raise


class _Surface(NamedTuple):
    """Rows of bytes, ``pitch`` apart."""

    address: int
    pitch: int

    def at(self, position: int, width: int) -> int:
        """Address of byte ``position`` of rows of ``width`` bytes."""
        row, column = divmod(position, width)
        return self.address + row * self.pitch + column


class _Area(NamedTuple):
    """``rows`` rows of ``width`` bytes."""

    width: int
    rows: int


# gives up to `size` bytes of what belongs to a position in an area
_Source = Callable[[int, int], bytes]


def _move(ex: Execution, cmd: Command, to: _Surface, area: _Area, source: _Source) -> None:
    """Store what ``source`` returns; can stop and continue at any byte.

    Bytes that were read are stored, even if a fault of the store removes the page that they came from.
    """
    space = _ppgtt(ex)
    total = area.rows * area.width
    state = ex.progress or Progress(cmd)
    ex.progress = state
    while state.done < total:
        address = to.at(state.done, area.width)
        if not state.pending:
            state.pending = source(state.done, min(area.width - state.done % area.width, CHUNK))
        fault = ex.write(space, address, state.pending)
        stored = len(state.pending) if fault is None else fault.address - address
        state.done += stored
        state.pending = state.pending[stored:]
        if fault is not None:
            raise fault
        if state.done < total:
            ex.spend()


def _copy(ex: Execution, cmd: Command, to: _Surface, source: _Surface, area: _Area) -> None:
    if area.rows == 1 or to.pitch == source.pitch == area.width:
        area = _Area(area.width * area.rows, 1)
    space = _ppgtt(ex)
    origin = _Surface(translated(source.address), source.pitch)

    def get(position: int, size: int) -> bytes:
        return _read(space, origin.at(position, area.width), size)

    _move(ex, cmd, _Surface(translated(to.address), to.pitch), area, get)


def _fill(ex: Execution, cmd: Command, to: _Surface, area: _Area, pixel: bytes) -> None:
    if area.rows == 1 or to.pitch == area.width:
        area = _Area(area.width * area.rows, 1)
    data = pixel * (min(area.width, CHUNK) // len(pixel) + 2)

    def get(position: int, size: int) -> bytes:
        phase = position % area.width % len(pixel)
        return data[phase : phase + size]

    _move(ex, cmd, _Surface(translated(to.address), to.pitch), area, get)


def mem_copy(ex: Execution, cmd: c.MemCopy) -> None:
    """MEM_COPY (xe_migrate.c:emit_mem_copy)."""
    if cmd.page and cmd.matrix:
        raise IllegalInstruction("MEM_COPY of pages as a matrix")
    area = _Area(cmd.width * PAGE_COPY_UNIT if cmd.page else cmd.width, cmd.height if cmd.matrix else 1)
    to = _Surface(cmd.destination, cmd.destination_pitch)
    _copy(ex, cmd, to, _Surface(cmd.source, cmd.source_pitch), area)


def mem_set(ex: Execution, cmd: c.MemSet) -> None:
    """MEM_SET (xe_migrate.c:emit_clear_link_copy)."""
    if cmd.fast_clear:
        raise IllegalInstruction("MEM_SET of compression state")
    area = _Area(cmd.width, cmd.height if cmd.matrix else 1)
    _fill(ex, cmd, _Surface(cmd.destination, cmd.pitch), area, bytes([cmd.value]))


def _pixel_size(cmd: Command, sizes: dict[int, int], code: int) -> int:
    size = sizes.get(code)
    if size is None:
        raise IllegalInstruction(f"{cmd.name} has no colour depth {code}")
    return size


def _rectangle(cmd: c.FastCopy | c.BlockCopy | c.FastColour, size: int) -> _Area:
    """The area of a command with coordinates; right and bottom are outside it."""
    return _Area(max(cmd.right - cmd.left, 0) * size, max(cmd.bottom - cmd.top, 0))


def fast_copy(ex: Execution, cmd: c.FastCopy) -> None:
    """XY_FAST_COPY_BLT (xe_migrate.c:emit_xy_fast_copy)."""
    if (cmd.source_tiling, cmd.source_tile4) != (cmd.destination_tiling, cmd.destination_tile4):
        raise IllegalInstruction("XY_FAST_COPY_BLT between different layouts")
    size = _pixel_size(cmd, c.FAST_COPY_BYTES, cmd.colour)
    to = cmd.destination + cmd.top * cmd.destination_pitch + cmd.left * size
    source = cmd.source + cmd.source_top * cmd.source_pitch + cmd.source_left * size
    area = _rectangle(cmd, size)
    _copy(ex, cmd, _Surface(to, cmd.destination_pitch), _Surface(source, cmd.source_pitch), area)


def block_copy(ex: Execution, cmd: c.BlockCopy) -> None:
    """XY_BLOCK_COPY_BLT between linear surfaces."""
    if cmd.source_tiling or cmd.destination_tiling:
        raise IllegalInstruction("XY_BLOCK_COPY_BLT of a tiled surface")
    size = _pixel_size(cmd, c.COLOUR_BYTES, cmd.colour)
    left, top = cmd.left + cmd.destination_x, cmd.top + cmd.destination_y
    to = cmd.destination + top * cmd.destination_pitch + left * size
    left, top = cmd.source_left + cmd.source_x, cmd.source_top + cmd.source_y
    source = cmd.source + top * cmd.source_pitch + left * size
    area = _rectangle(cmd, size)
    _copy(ex, cmd, _Surface(to, cmd.destination_pitch), _Surface(source, cmd.source_pitch), area)


def fast_colour(ex: Execution, cmd: c.FastColour) -> None:
    """XY_FAST_COLOR_BLT of a linear surface (xe_migrate.c:emit_clear_main_copy)."""
    if cmd.tiling:
        raise IllegalInstruction("XY_FAST_COLOR_BLT of a tiled surface")
    size = _pixel_size(cmd, c.COLOUR_BYTES, cmd.colour)
    colour = struct.pack("<4I", cmd.pixel0, cmd.pixel1, cmd.pixel2, cmd.pixel3)
    to = cmd.destination + (cmd.top + cmd.y) * cmd.pitch + (cmd.left + cmd.x) * size
    _fill(ex, cmd, _Surface(to, cmd.pitch), _rectangle(cmd, size), colour[:size])
