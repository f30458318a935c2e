# SPDX-License-Identifier: MIT
"""Fences of the jobs and binds of a queue, which complete in order (xe_exec_queue_types.h)."""

from __future__ import annotations

from mock.driver.lib.fence import Fence, new_context, stub
from mock.driver.lib.syncobj import Syncobj


class Timeline:
    """The fences of a queue.

    last_fence       of the newest job (dma-fence mode) or bind
    ufence_timeline  orders the user fences of binds (struct xe_exec_queue: ufence_syncobj)
    ufence_value     its newest point
    """

    def __init__(self) -> None:
        self._context = new_context()
        self._seqno = 0
        self.last_fence = stub()
        self.ufence_timeline = Syncobj(signaled=True)
        self.ufence_value = 0

    def next_fence(self) -> Fence:
        self._seqno += 1
        return Fence(self._context, self._seqno)
