# SPDX-License-Identifier: MIT
"""Cost of the transcript for a call: ``python -m tests.ioctl.measure_call`` prints microseconds.

The ioctl is FIONREAD on a pipe, about the cheapest there is, so nearly all of the difference is ours.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
import timeit
from collections.abc import Callable
from ctypes import addressof, c_uint64

from ioctl import call, xe
from ioctl.encoding import Request
from ioctl.layout import Structure

FIONREAD = 0x541B
ROUNDS = 20000


def measured(name: str, act: Callable[[], object]) -> None:
    """Prints the best of five runs."""
    best = min(timeit.repeat(act, number=ROUNDS, repeat=5)) / ROUNDS * 1e6
    print(f"{name:45} {best:6.2f}")


def main() -> None:
    """One line a case."""
    pipe, _ = os.pipe()

    def answered(request: Request, arg: Structure) -> Callable[[], object]:
        other = copy.copy(request)
        object.__setattr__(other, "number", FIONREAD)
        return lambda: call(pipe, other, arg)

    def refused(act: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            with contextlib.suppress(OSError):
                act()

        return run

    create, bind, madvise = xe.drm_xe_vm_create(), xe.drm_xe_vm_bind(num_binds=1), xe.drm_xe_madvise()
    sync, ops, fence = xe.drm_xe_sync(), (xe.drm_xe_vm_bind_op * 32)(), c_uint64()
    synced = xe.drm_xe_vm_bind(num_binds=1, num_syncs=1, syncs=addressof(sync))
    many = xe.drm_xe_vm_bind(num_binds=32, vector_of_binds=addressof(ops))
    bad = xe.drm_xe_vm_bind(num_binds=1, num_syncs=1, syncs=0xDEAD0000)
    wait = xe.drm_xe_wait_user_fence(addr=addressof(fence))
    vm_bind = xe.DRM_IOCTL_XE_VM_BIND
    measured("fcntl.ioctl alone", lambda: fcntl.ioctl(pipe, FIONREAD, create, True))
    measured("call, no pointers", answered(xe.DRM_IOCTL_XE_VM_CREATE, create))
    measured("call, pointers that are null", answered(vm_bind, bind))
    measured("call, one sync", answered(vm_bind, synced))
    measured("call, 32 binds", answered(vm_bind, many))
    measured("call, a bad pointer", answered(vm_bind, bad))
    measured("call, a user fence before and after", answered(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, wait))
    refusal = xe.DRM_IOCTL_XE_MADVISE
    measured("fcntl.ioctl alone, refused", refused(lambda: fcntl.ioctl(pipe, refusal.number, madvise, True)))
    measured("call, refused", refused(lambda: call(pipe, refusal, madvise)))


if __name__ == "__main__":
    main()
