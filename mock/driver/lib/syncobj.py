# SPDX-License-Identifier: MIT
"""Sync objects: a replaceable fence, or a timeline of them (drm_syncobj.c)."""

from __future__ import annotations

import errno

from mock.driver.lib.blocking import WaitQueue
from mock.driver.lib.errors import Refused
from mock.driver.lib.fence import Fence, FenceChain, stub


class Syncobj:
    """One sync object. ``changed`` wakes when the fence is replaced or a point is added."""

    def __init__(self, *, signaled: bool = False) -> None:
        self.fence: Fence | None = stub() if signaled else None
        self.changed = WaitQueue()

    def replace(self, fence: Fence | None) -> None:
        """drm_syncobj_replace_fence()."""
        self.fence = fence
        self.changed.wake()

    def add_point(self, fence: Fence, point: int) -> None:
        """drm_syncobj_add_point()."""
        self.fence = FenceChain(self.fence, fence, point)
        self.changed.wake()

    def in_fence(self, point: int) -> Fence | None:
        """The fence of a timeline point, or that of the whole syncobj for point 0.

        None: the point has signalled and its fence is gone (dma_fence_chain_find_seqno). Raises Refused(EINVAL) if
        there is no fence yet, or the point was not submitted.
        """
        fence = self.fence
        if fence is None:
            raise Refused(errno.EINVAL, "syncobj has no fence")
        if point == 0:
            return fence
        if not isinstance(fence, FenceChain) or fence.seqno < point:
            raise Refused(errno.EINVAL, f"point {point} was not submitted")
        return fence.find(point)

    def value(self, *, submitted: bool) -> int:
        """Last signalled point, or last submitted one; 0 if it is not a timeline (drm_syncobj_query_ioctl)."""
        fence = self.fence
        if not isinstance(fence, FenceChain):
            return 0
        if submitted:
            return fence.seqno
        last: Fence = fence
        for node in fence.walk():
            if node.context != fence.context:
                break
            last = node
        if last.signaled:
            return last.seqno
        return last.previous_seqno if isinstance(last, FenceChain) else 0
