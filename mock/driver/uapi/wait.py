# SPDX-License-Identifier: MIT
"""WAIT_USER_FENCE (xe_wait_user_fence.c)."""

from __future__ import annotations

import errno
import operator
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.arguments import unknown_flags
from mock.driver.lib.blocking import Blocking, wait_until
from mock.driver.lib.errors import Refused, refuse_if

if TYPE_CHECKING:
    from mock.driver.uapi.dispatch import Call

_COMPARE = {
    xe.DRM_XE_UFENCE_WAIT_OP_EQ: operator.eq,
    xe.DRM_XE_UFENCE_WAIT_OP_NEQ: operator.ne,
    xe.DRM_XE_UFENCE_WAIT_OP_GT: operator.gt,
    xe.DRM_XE_UFENCE_WAIT_OP_GTE: operator.ge,
    xe.DRM_XE_UFENCE_WAIT_OP_LT: operator.lt,
    xe.DRM_XE_UFENCE_WAIT_OP_LTE: operator.le,
}

MAX_SCHEDULE_TIMEOUT = (1 << 63) - 1


def wait_user_fence(call: Call, args: Any) -> Blocking[None]:
    """xe_wait_user_fence_ioctl(): wait until (*addr & mask) op (value & mask).

    Raises Refused: EINVAL, ENOENT, EFAULT if the address cannot be read, EIO if the queue was reset, ETIME. The rest
    of a relative timeout is written back in every case.
    """
    refuse_if(args.extensions, errno.EINVAL, "extensions")
    refuse_if(args.pad or args.pad2 or any(args.reserved), errno.EINVAL, "pad or reserved")
    refuse_if(unknown_flags(call.device.level, args), errno.EINVAL, "flags")
    refuse_if(args.op not in _COMPARE, errno.EINVAL, "op")
    refuse_if(args.addr & 7, errno.EINVAL, "addr is not qword aligned")
    queue = None
    if args.exec_queue_id:
        queue = call.file.queues.get(args.exec_queue_id)
        if queue is None:
            raise Refused(errno.ENOENT, "no such exec queue")
    device, mm = call.device, call.task.mm
    loop = device.services.loop
    start = loop.time()
    deadline = _deadline(args, start)
    try:
        while True:
            value = int.from_bytes(mm.read(args.addr, 8), "little") & args.mask
            if _COMPARE[args.op](value, args.value & args.mask):
                return
            refuse_if(queue is not None and queue.dead, errno.EIO, "exec queue was reset")
            refuse_if(deadline <= loop.time(), errno.ETIME, "timeout")
            yield from wait_until(loop, [device.ufence_wq.event], deadline, interruptible=True)
    finally:
        if not args.flags & xe.DRM_XE_UFENCE_WAIT_FLAG_ABSTIME:
            args.timeout = max(args.timeout - int((loop.time() - start) * 1e9), 0)


def _deadline(args: Any, now: float) -> float:
    """Seconds of CLOCK_MONOTONIC (to_jiffies_timeout). A negative timeout never expires."""
    if args.timeout < 0:
        args.timeout = MAX_SCHEDULE_TIMEOUT
        return float("inf")
    if args.timeout and args.flags & xe.DRM_XE_UFENCE_WAIT_FLAG_ABSTIME:
        return float(args.timeout / 1e9)
    return float(now + args.timeout / 1e9)
