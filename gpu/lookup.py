# SPDX-License-Identifier: MIT
"""From a header dword to its command."""

from __future__ import annotations

from gpu import commands, skipped
from gpu.encoding import BLT, GFX_STATE, GFXPIPE, MI, Command


def _table(kind: int, shift: int, size: int) -> list[type[Command] | None]:
    table: list[type[Command] | None] = [None] * size
    for module in (commands, skipped):
        for command in vars(module).values():
            defined = isinstance(command, type) and issubclass(command, Command) and command is not Command
            if defined and command.header >> 29 == kind:
                table[command.header >> shift & (size - 1)] = command
    return table


_MI = _table(MI, 23, 64)
_BLT = _table(BLT, 22, 128)
_PIPELINE: dict[int, type[Command]] = {
    command.header >> 16: command
    for command in (commands.PipeControl, commands.StateBaseAddress, commands.ComputeWalker)
}


def lookup(header: int) -> type[Command] | None:
    """The command that ``header`` starts; None for an unknown one."""
    kind = header >> 29
    if kind == MI:
        return _MI[header >> 23]
    if kind == BLT:
        return _BLT[header >> 22 & 0x7F]
    if kind == GFXPIPE:
        return _PIPELINE.get(header >> 16) or skipped.gfxpipe(header)
    if kind == GFX_STATE:
        return skipped.GfxState
    return None
