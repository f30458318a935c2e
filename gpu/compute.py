# SPDX-License-Identifier: MIT
"""Compute walkers. There are no execution units here: a few kernels are known by their code, and their computation is
done in Python; a walker of any other kernel has no effect.

The one that is known is IGT's compute test (lib/intel_compute_square_kernels.c, Xe2): it squares an array.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from gpu import commands as c
from gpu.address import AddressSpace, translated

if TYPE_CHECKING:
    from gpu.execute import Execution

Perform = Callable[["Execution", c.ComputeWalker, AddressSpace, bytes], None]
"""Does the computation of a kernel; the bytes are its arguments."""
XE2_WALKER = 40
"""Dwords of a walker whose fields are where ``ComputeWalker`` says."""
LONGEST = 1 << 20
"""Largest number of elements of a walker."""


def state_base_address(ex: Execution, cmd: c.StateBaseAddress) -> None:
    """Store the bases of the offsets in walkers."""
    if cmd.set_general_state:
        ex.general_state = cmd.general_state
    if cmd.set_instructions:
        ex.instructions = cmd.instructions


def compute_walker(ex: Execution, cmd: c.ComputeWalker) -> None:
    """Do the computation of the walker's kernel, if it is known."""
    space = ex.space(0)
    if space is None or len(cmd.words) != XE2_WALKER or ex.instructions is None or ex.general_state is None:
        return
    perform = _known(space, ex.instructions + cmd.kernel_offset)
    if perform is not None and cmd.indirect_size >= _ARGUMENTS.size:
        arguments = space.read(translated(ex.general_state + cmd.indirect_offset), _ARGUMENTS.size)
        perform(ex, cmd, space, arguments)


def _known(space: AddressSpace, kernel: int) -> Perform | None:
    """The function of the kernel at an address. Of an unknown kernel, only the first instruction is read."""
    if space.read(translated(kernel), len(_SQUARE_START)) != _SQUARE_START:
        return None
    code = space.read(translated(kernel), _SQUARE_SIZE)
    return _square if hashlib.sha256(code).hexdigest() == _SQUARE else None


_SQUARE_START = bytes.fromhex("650000802082057f04000002c0ffffff")
_SQUARE_SIZE = 336
_SQUARE = "c760290b96cfafa5a619cf45a45e545bf875d98a8a2c9ec66568d7d36562b37d"
_ARGUMENTS = struct.Struct("<2QI")
"""Arguments of the kernel: input, output, and the number of elements."""


def _square(ex: Execution, cmd: c.ComputeWalker, space: AddressSpace, arguments: bytes) -> None:
    source, destination, count = _ARGUMENTS.unpack(arguments)
    values = array("f", space.read(translated(source), 4 * min(count, LONGEST)))
    squares = array("f", [value * value for value in values])
    ex.store(cmd, space, translated(destination), squares.tobytes())
