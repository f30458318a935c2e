# SPDX-License-Identifier: MIT
"""From the bytes of a batch to instructions and text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpu.encoding import Command
from gpu.lookup import lookup


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a batch: where it is, its dwords, and its command (None: no command has this
    header).
    """

    address: int
    words: tuple[int, ...]
    command: Command | None

    @property
    def name(self) -> str:
        """The command's name as in the kernel."""
        return self.command.name if self.command is not None else "illegal"

    @property
    def text(self) -> str:
        """The command and its fields that are not zero."""
        return str(self.command) if self.command is not None else f"illegal {self.words[0]:#010x}"

    def __str__(self) -> str:
        return f"{self.address:#014x}  {self.text}"


def decode(data: bytes, address: int = 0) -> list[Instruction]:
    """The instructions of a batch at ``address``, to the end of ``data``. Never raises.

    An unknown or truncated command is an instruction without a command, of one dword; behind it the place of
    the next one is a guess.
    """
    words = memoryview(data[: len(data) & ~3]).cast("I")
    instructions = []
    index = 0
    while index < len(words):
        kind = lookup(words[index])
        count = kind.size(words[index]) if kind is not None else 1
        command = None
        if kind is not None and count in kind.lengths and index + count <= len(words):
            command = kind(tuple(words[index : index + count]))
        else:
            count = 1
        instructions.append(Instruction(address + 4 * index, tuple(words[index : index + count]), command))
        index += count
    return instructions


def listing(instructions: Iterable[Instruction]) -> str:
    """One line per instruction; runs of MI_NOOP are one line."""
    lines: list[str] = []
    noops: list[Instruction] = []

    def flush() -> None:
        if noops:
            lines.append(str(noops[0]) + (f" x {len(noops)}" if len(noops) > 1 else ""))
            noops.clear()

    for instruction in instructions:
        if instruction.name == "MI_NOOP":
            noops.append(instruction)
            continue
        flush()
        lines.append(str(instruction))
    flush()
    return "\n".join(lines)
