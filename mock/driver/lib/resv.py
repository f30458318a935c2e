# SPDX-License-Identifier: MIT
"""Reservation objects: fences of the work in flight that uses a buffer (dma_resv)."""

from __future__ import annotations

from mock.driver.lib.fence import Fence

_FEW = 8
"""Fences that are kept at least before signalled ones are dropped."""


class Resv:
    """Fences by usage. KERNEL: moves and page table updates, which everyone waits for; BOOKKEEP: all others."""

    def __init__(self) -> None:
        self._kernel: list[Fence] = []
        self._bookkeep: list[Fence] = []
        self._room = _FEW

    def add_kernel(self, fence: Fence) -> None:
        if not fence.signaled:
            self._kernel = [*self.kernel(), fence]

    def add_bookkeep(self, fence: Fence) -> None:
        if fence.signaled:
            return
        if len(self._bookkeep) >= self._room:
            # A long list of pending fences is not looked through for each new one.
            self._bookkeep = [one for one in self._bookkeep if not one.signaled]
            self._room = max(_FEW, 2 * len(self._bookkeep))
        self._bookkeep.append(fence)

    def kernel(self) -> list[Fence]:
        """Unsignalled fences of usage KERNEL."""
        self._kernel = [fence for fence in self._kernel if not fence.signaled]
        return list(self._kernel)

    def all(self) -> list[Fence]:
        """Unsignalled fences of every usage (DMA_RESV_USAGE_BOOKKEEP includes the others)."""
        self._bookkeep = [fence for fence in self._bookkeep if not fence.signaled]
        return [*self.kernel(), *self._bookkeep]

    @property
    def idle(self) -> bool:
        return not self.all()
