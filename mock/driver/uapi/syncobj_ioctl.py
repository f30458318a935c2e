# SPDX-License-Identifier: MIT
"""The SYNCOBJ ioctls (drm_syncobj.c)."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ioctl import drm
from mock.driver.arguments import unknown_flags
from mock.driver.lib import user
from mock.driver.lib.blocking import Blocking, wait_until
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.fence import Fence, stub
from mock.driver.lib.syncobj import Syncobj

if TYPE_CHECKING:
    from mock.driver.file import DrmFile
    from mock.driver.uapi.dispatch import Call
    from mock.kernel import Loop

ALL = drm.DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL
FOR_SUBMIT = drm.DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT
AVAILABLE = drm.DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE
DEADLINE = drm.DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE

SUBMIT_TIMEOUT_S = 5.0
"""DRM_SYNCOBJ_WAIT_FOR_SUBMIT_TIMEOUT"""

_KMALLOC_MAX = 4 << 20
"""KMALLOC_MAX_SIZE, which limits arrays of handles."""

NO_INDEX = 0xFFFFFFFF


def _find(file: DrmFile, handle: int, code: int = errno.ENOENT) -> Syncobj:
    syncobj = file.syncobjs.get(handle)
    if syncobj is None:
        raise Refused(code, "no such syncobj")
    return syncobj


def _add(file: DrmFile, syncobj: Syncobj) -> int:
    handle = file.syncobjs.add(syncobj)
    if handle is None:
        raise Refused(errno.EBUSY, "no handle left")
    return handle


def create(call: Call, args: Any) -> None:
    refuse_if(unknown_flags(call.device.level, args), errno.EINVAL, "flags")
    args.handle = _add(call.file, Syncobj(signaled=bool(args.flags)))


def destroy(call: Call, args: Any) -> None:
    refuse_if(args.pad, errno.EINVAL, "pad")
    refuse_if(call.file.syncobjs.pop(args.handle) is None, errno.EINVAL, "no such syncobj")


# Handles and descriptors


def handle_to_fd(call: Call, args: Any) -> None:
    """A descriptor of the syncobj, or a sync file with its fence (drm_syncobj_handle_to_fd_ioctl)."""
    export = drm.DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE
    timeline = drm.DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE
    refuse_if(args.pad, errno.EINVAL, "pad")
    refuse_if(
        unknown_flags(call.device.level, args, request=drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD),
        errno.EINVAL,
        "flags",
    )
    exports = call.device.machine.exports
    if args.flags & export:
        point = args.point if args.flags & timeline else 0
        fence = _find(call.file, args.handle).in_fence(point) or stub()
        args.fd = call.task.install(exports.sync_file(fence))
        return
    refuse_if(args.point, errno.EINVAL, "point")
    args.fd = call.task.install(exports.syncobj_file(_find(call.file, args.handle, errno.EINVAL)))


def fd_to_handle(call: Call, args: Any) -> None:
    """drm_syncobj_fd_to_handle_ioctl()."""
    import_file = drm.DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE
    timeline = drm.DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE
    refuse_if(args.pad, errno.EINVAL, "pad")
    refuse_if(
        unknown_flags(call.device.level, args, request=drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE),
        errno.EINVAL,
        "flags",
    )
    file = call.task.lookup(args.fd)
    exports = call.device.machine.exports
    if args.flags & import_file:
        fence = exports.fence_of(file)
        if fence is None:
            raise Refused(errno.EINVAL, "not a sync file")
        syncobj = _find(call.file, args.handle)
        point = args.point if args.flags & timeline else 0
        if point:
            syncobj.add_point(fence, point)
        else:
            syncobj.replace(fence)
        return
    refuse_if(args.point, errno.EINVAL, "point")
    shared = exports.syncobj_of(file)
    if shared is None:
        raise Refused(errno.EINVAL, "not a syncobj file")
    args.handle = _add(call.file, shared)


# Fences


def transfer(call: Call, args: Any) -> Blocking[None]:
    """drm_syncobj_transfer_ioctl()."""
    refuse_if(args.pad, errno.EINVAL, "pad")
    target = _find(call.file, args.dst_handle)
    source = _find(call.file, args.src_handle)
    refuse_if(args.flags & ~FOR_SUBMIT, errno.EINVAL, "flags")
    deadline = call.device.services.loop.time() + SUBMIT_TIMEOUT_S
    while True:
        try:
            fence = source.in_fence(args.src_point) or stub()
            break
        except Refused:
            if not args.flags & FOR_SUBMIT:
                raise
        changed = yield from wait_until(
            call.device.services.loop, [source.changed.event], deadline, interruptible=True
        )
        refuse_if(not changed, errno.ETIME, "no fence was submitted")
    if args.dst_point:
        target.add_point(fence, args.dst_point)
    else:
        target.replace(fence)


def reset(call: Call, args: Any) -> None:
    for syncobj in _array(call, args):
        syncobj.replace(None)


def signal(call: Call, args: Any) -> None:
    for syncobj in _array(call, args):
        syncobj.replace(stub())


def _array(call: Call, args: Any) -> list[Syncobj]:
    refuse_if(args.pad, errno.EINVAL, "pad")
    refuse_if(args.count_handles == 0, errno.EINVAL, "no handles")
    return _find_all(call, args.handles, args.count_handles)


def _find_all(call: Call, address: int, count: int) -> list[Syncobj]:
    """drm_syncobj_array_find(): ENOMEM, EFAULT or ENOENT."""
    refuse_if(count * 4 > _KMALLOC_MAX, errno.ENOMEM, "array of handles")
    handles = user.get_ints(call.task.mm, address, 4, count)
    refuse_if(count * 8 > _KMALLOC_MAX, errno.ENOMEM, "array of syncobjs")
    return [_find(call.file, handle) for handle in handles]


def _points(call: Call, address: int, count: int) -> list[int]:
    return user.get_ints(call.task.mm, address, 8, count) if address else [0] * count


def timeline_signal(call: Call, args: Any) -> None:
    refuse_if(args.flags, errno.EINVAL, "flags")
    refuse_if(args.count_handles == 0, errno.EINVAL, "no handles")
    syncobjs = _find_all(call, args.handles, args.count_handles)
    points = _points(call, args.points, len(syncobjs))
    for syncobj, point in zip(syncobjs, points, strict=True):
        syncobj.add_point(stub(), point)


def query(call: Call, args: Any) -> None:
    submitted = drm.DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED
    refuse_if(unknown_flags(call.device.level, args), errno.EINVAL, "flags")
    refuse_if(args.count_handles == 0, errno.EINVAL, "no handles")
    syncobjs = _find_all(call, args.handles, args.count_handles)
    for index, syncobj in enumerate(syncobjs):
        value = syncobj.value(submitted=bool(args.flags & submitted))
        call.task.mm.write(args.points + 8 * index, value.to_bytes(8, "little"))


# Waits


def wait(call: Call, args: Any) -> Blocking[None]:
    refuse_if(args.flags & ~(ALL | FOR_SUBMIT | DEADLINE), errno.EINVAL, "flags")
    if args.count_handles == 0:
        return
    syncobjs = _find_all(call, args.handles, args.count_handles)
    entries = [_Entry(syncobj, 0) for syncobj in syncobjs]
    args.first_signaled = yield from _wait(call.device.services.loop, entries, args.flags, args.timeout_nsec)


def timeline_wait(call: Call, args: Any) -> Blocking[None]:
    refuse_if(args.flags & ~(ALL | FOR_SUBMIT | AVAILABLE | DEADLINE), errno.EINVAL, "flags")
    if args.count_handles == 0:
        return
    syncobjs = _find_all(call, args.handles, args.count_handles)
    points = _points(call, args.points, len(syncobjs))
    entries = [_Entry(syncobj, point) for syncobj, point in zip(syncobjs, points, strict=True)]
    args.first_signaled = yield from _wait(call.device.services.loop, entries, args.flags, args.timeout_nsec)


@dataclass
class _Entry:
    """One syncobj to wait for; ``fence`` is set once there is one for the point."""

    syncobj: Syncobj
    point: int
    fence: Fence | None = None

    def look(self) -> bool:
        """Get the fence. Returns whether there is one."""
        if self.fence is None:
            try:
                self.fence = self.syncobj.in_fence(self.point) or stub()
            except Refused:
                return False
        return True


def _wait(loop: Loop, entries: list[_Entry], flags: int, timeout_nsec: int) -> Blocking[int]:
    """drm_syncobj_array_wait_timeout(): the index of the first that has signalled, NO_INDEX with WAIT_ALL.

    Raises Refused: EINVAL for a syncobj without a fence unless submission is waited for, ETIME.
    """
    for entry in entries:
        if not entry.look():
            refuse_if(not flags & (FOR_SUBMIT | AVAILABLE), errno.EINVAL, "syncobj without a fence")
    # The first pass returns the index of the first one, even with WAIT_ALL, if all have signalled already.
    done = [index for index, entry in enumerate(entries) if _is_done(entry, flags)]
    if len(done) == len(entries) or (done and not flags & ALL):
        return done[0]
    first = done[0] if done else NO_INDEX
    deadline = max(timeout_nsec, 0) / 1e9
    while True:
        done = [index for index, entry in enumerate(entries) if _is_done(entry, flags)]
        if flags & ALL:
            if len(done) == len(entries):
                return first
        elif done:
            return done[0]
        refuse_if(deadline <= loop.time(), errno.ETIME, "timeout")
        events = [
            entry.syncobj.changed.event if entry.fence is None else entry.fence
            for entry in entries
            if entry.fence is None or not entry.fence.signaled
        ]
        yield from wait_until(loop, events, deadline, interruptible=True)


def _is_done(entry: _Entry, flags: int) -> bool:
    if not entry.look() or entry.fence is None:
        return False
    return bool(flags & AVAILABLE) or entry.fence.signaled


def eventfd(call: Call, args: Any) -> None:
    """drm_syncobj_eventfd_ioctl(): signal the eventfd once the point has signalled, or once it has a fence."""
    refuse_if(args.flags & ~AVAILABLE, errno.EINVAL, "flags")
    refuse_if(args.pad, errno.EINVAL, "pad")
    entry = _Entry(_find(call.file, args.handle), args.point)
    counter = call.task.eventfd(args.fd)
    available = bool(args.flags & AVAILABLE)

    def look() -> None:
        if not entry.look() or entry.fence is None:
            entry.syncobj.changed.event.then(look)
        elif available:
            counter.signal()
        else:
            entry.fence.then(counter.signal)

    look()
