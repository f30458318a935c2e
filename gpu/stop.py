# SPDX-License-Identifier: MIT
"""Reasons of an Execution to stop, and the state of an incomplete instruction."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gpu.address import GpuFault
from gpu.alu import Unit
from gpu.encoding import Command


class Reason(enum.Enum):
    """Reason why an Execution stopped."""

    FINISHED = "finished"  # the batch has ended, or the ring's head has reached its tail
    BUDGET = "out of budget"
    WAITING = "waiting for a semaphore"
    FAULT = "page fault"
    ILLEGAL = "illegal instruction"  # the engine hangs; every further run stops the same way


@dataclass(frozen=True, slots=True)
class Wait:
    """The condition of an MI_SEMAPHORE_WAIT: ``value`` (of memory) ``compare`` ``data``.

    ``where`` is "ppgtt", "ggtt" or "register"; ``address`` that of the dword, or the register's offset.
    """

    where: str
    address: int
    compare: str
    data: int
    value: int
    poll: bool

    def __str__(self) -> str:
        return f"{self.where} {self.address:#x} is {self.value:#x}, must be {self.compare} {self.data:#x}"


@dataclass(frozen=True, slots=True)
class Stop:
    """Reason and place (``pc``, the address of the next instruction) of a stop."""

    reason: Reason
    pc: int
    text: str = ""
    fault: GpuFault | None = None
    wait: Wait | None = None

    def __str__(self) -> str:
        return f"{self.reason.value} at {self.pc:#x}" + (f": {self.text}" if self.text else "")


class IllegalInstruction(Exception):  # noqa: N818 - becomes a Stop
    """The instruction cannot be executed; the engine hangs on it."""


class Waiting(Exception):  # noqa: N818 - becomes a Stop
    """The semaphore is not satisfied."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait)
        self.wait = wait


class Exhausted(Exception):  # noqa: N818 - becomes a Stop
    """The budget ran out within an instruction."""


@dataclass(slots=True)
class Progress:
    """Progress of an instruction: ``done`` bytes are stored, ``pending`` are read and follow them;
    ``unit`` is the arithmetic unit in the middle of an MI_MATH.
    """

    command: Command
    done: int = 0
    pending: bytes = b""
    unit: Unit | None = None
