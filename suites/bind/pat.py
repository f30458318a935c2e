# SPDX-License-Identifier: MIT
"""Mirrors with a PAT index."""

from __future__ import annotations

from fixtures import landed
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.xe.flags import MIRROR
from fixtures.xe.vm import Vm


def mirror_works(vm: Vm, memory: Memory, sentinel: Sentinel, index: int) -> None:
    """A mirror of the whole address space is bound with this PAT index, and the GPU's store through it lands."""
    vm.bind_and_wait(addr=0, range=vm.size, flags=MIRROR, pat_index=index)
    buffer, value = memory(PAGE), sentinel()
    vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
