# SPDX-License-Identifier: MIT
"""Observable state of a VM: its VMAs with their attributes, and what the GPU reads from a neighbouring BO."""

from __future__ import annotations

from typing import Any

from fixtures.xe.bo import Bo
from fixtures.xe.vm import Vm
from gpu import Batch

AT = 1 << 20
"""GPU address of what a call is about; bytes below are the neighbour's."""


def areas(vm: Vm) -> list[tuple[int, ...]]:
    """Everything bound in a VM, by VM_QUERY_MEM_RANGE_ATTRS: bounds, atomic mode, PAT, location, policy."""
    return [
        (
            area.start,
            area.end,
            area.atomic.val,
            area.pat_index.val,
            area.preferred_mem_loc.devmem_fd,
            area.preferred_mem_loc.migration_policy,
        )
        for area in vm.attributes(0, vm.size)
    ]


class Neighbour:
    """A BO bound just below ``AT``, with a value in it that the GPU can be asked for."""

    def __init__(self, vm: Vm, bo: Bo, value: int) -> None:
        self._queue = vm.queue()
        self._content = bo.map()
        self._content.set_u32(0, value)
        vm.map(bo, AT - bo.size)
        self._at = AT - bo.size

    def seen(self) -> int:
        """The value that the GPU reads there: it copies it to the next word, which is cleared before."""
        self._content.set_u32(4, 0)
        self._queue.run(Batch().copy_mem(self._at + 4, self._at))
        return self._content.u32(4)


def whole(vm: Vm, neighbour: Neighbour) -> Any:
    """VMAs, and the neighbour's value as the GPU sees it."""
    seen = neighbour.seen()  # first: it binds what its queue needs
    return areas(vm), seen
