# SPDX-License-Identifier: MIT
"""Batches that begin their accesses together: several faults at the same time."""

from __future__ import annotations

from fixtures.checks import wait_until
from fixtures.given import MakeBo
from fixtures.sizes import SZ_64K
from fixtures.xe.flags import IMMEDIATE
from fixtures.xe.vm import Vm
from gpu import Batch


class Gate:
    """A word that batches of a VM wait for, in a BO that is bound, so that waiting for it causes no fault."""

    def __init__(self, vm: Vm, bo: MakeBo) -> None:
        made = bo(SZ_64K)
        self._word = made.map_at_own_address()
        vm.map(made, self._word.address, flags=IMMEDIATE)
        self._batches = 0

    def batch(self) -> Batch:
        """A batch that waits."""
        self._batches += 1
        batch = Batch().store_dword(self._word.address + 64 * self._batches, 1)
        return batch.semaphore_wait(self._word.address, 1)

    def reached(self) -> None:
        """Wait until all of its batches are there. Each needs an engine of its own."""
        __tracebackhide__ = True
        places = range(1, self._batches + 1)
        wait_until(
            lambda: all(self._word.u32(64 * place) for place in places), what="the batches to reach the gate"
        )

    def open(self) -> None:
        """Let them all go."""
        self._word.set_u32(0, 1)
