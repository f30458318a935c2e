# SPDX-License-Identifier: MIT
"""In and out syncs of EXEC and VM_BIND, and user fences (xe_sync.c)."""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ioctl import xe
from mock.driver.arguments import unknown_flags
from mock.driver.lib import user
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.fence import Fence, FenceArray
from mock.driver.lib.syncobj import Syncobj
from mock.driver.lib.ufence import UserFence

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.lib.ids import IdMap
    from mock.driver.lib.timeline import Timeline
    from mock.kernel import Mm


SIZE = ctypes.sizeof(xe.drm_xe_sync)


@dataclass
class SyncEntry:
    """struct xe_sync_entry: one parsed drm_xe_sync.

    fence       fence to wait for (an in-sync)
    address     GPU address of the user fence of an exec
    """

    type: int
    signal: bool
    timeline_value: int
    """The value that the user fence stores."""
    syncobj: Syncobj | None = None
    fence: Fence | None = None
    address: int | None = None
    ufence: UserFence | None = None
    ufence_timeline: Syncobj | None = None
    ufence_point: int = 0

    @property
    def needs_wait(self) -> bool:
        return self.fence is not None and not self.fence.signaled

    def signal_with(self, fence: Fence) -> None:
        """Signal an out-sync when a fence signals (xe_sync_entry_signal)."""
        if not self.signal:
            return
        if self.syncobj is not None:
            if self.type == xe.DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ:
                self.syncobj.add_point(fence, self.timeline_value)
            else:
                self.syncobj.replace(fence)
        elif self.ufence is not None and self.ufence_timeline is not None:
            # User fences of one bind queue are written in the order of the binds.
            self.ufence_timeline.add_point(fence, self.ufence_point)
            assert self.ufence_timeline.fence is not None
            self.ufence_timeline.fence.then(self.ufence.kick)


def parse(
    device: Device,
    syncobjs: IdMap[Syncobj],
    mm: Mm,
    address: int,
    *,
    executing: bool,
    lr_mode: bool,
    no_user_fence: bool = False,
) -> SyncEntry:
    """Check one drm_xe_sync at a CPU address and look up its syncobj (xe_sync_entry_parse).

    syncobjs       those of the open file
    executing      for EXEC: the user fence is a GPU address that the GPU writes
    lr_mode        out-syncobjs are refused with EOPNOTSUPP
    no_user_fence  VM_BIND without any bind: EOPNOTSUPP
    """
    sync = user.get(mm, address, xe.drm_xe_sync)
    refuse_if(unknown_flags(device.level, sync), errno.EINVAL, "sync flags")
    refuse_if(any(sync.reserved), errno.EINVAL, "sync reserved")
    signal = bool(sync.flags & xe.DRM_XE_SYNC_FLAG_SIGNAL)
    entry = SyncEntry(sync.type, signal, sync.timeline_value)
    if sync.type in (xe.DRM_XE_SYNC_TYPE_SYNCOBJ, xe.DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ):
        timeline = sync.type == xe.DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ
        refuse_if(lr_mode and signal, errno.EOPNOTSUPP, "out-syncobj with a long-running VM")
        refuse_if(sync.addr >> 32, errno.EINVAL, "upper half of the handle")
        refuse_if(timeline and sync.timeline_value == 0, errno.EINVAL, "timeline point 0")
        entry.syncobj = syncobjs.get(sync.handle)
        if entry.syncobj is None:
            raise Refused(errno.ENOENT, "no such syncobj")
        if not signal:
            entry.fence = entry.syncobj.in_fence(sync.timeline_value if timeline else 0)
        return entry
    if sync.type == xe.DRM_XE_SYNC_TYPE_USER_FENCE:
        refuse_if(no_user_fence, errno.EOPNOTSUPP, "user fence without a bind")
        refuse_if(not signal, errno.EOPNOTSUPP, "user fence as in-sync")
        refuse_if(sync.addr & 7, errno.EINVAL, "user fence is not qword aligned")
        if executing:
            entry.address = sync.addr
        else:
            entry.ufence = UserFence(device.services, device.ufence_wq, mm, sync.addr, sync.timeline_value)
        return entry
    raise Refused(errno.EINVAL, "sync type")


def follow_last(device: Device, queue: Timeline, syncs: list[SyncEntry]) -> None:
    """Without work, the out-syncs signal with the queue's last job or bind (xe_sync_in_fence_get).

    Raises Refused(EOPNOTSUPP) if there are in-syncs; before Linux 7.0 they were waited for.
    """
    fences = [one.fence for one in syncs if one.fence is not None]
    if fences:
        refuse_if(device.has("idle-in-sync-refused"), errno.EOPNOTSUPP, "in-sync without work")
    last: Fence = FenceArray([queue.last_fence, *fences]) if fences else queue.last_fence
    for one in syncs:
        one.signal_with(last)
