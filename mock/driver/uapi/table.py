# SPDX-License-Identifier: MIT
"""The ioctl table of the driver (xe_device.c: xe_ioctls, drm_ioctl.c: drm_ioctls)."""

from __future__ import annotations

from ioctl import drm, xe
from mock.driver.level import FEATURES, Level
from mock.driver.uapi import (
    bind,
    core,
    gem,
    madvise,
    observation,
    prime,
    query,
    queue_ioctl,
    syncobj_ioctl,
    vm_ioctl,
    wait,
)
from mock.driver.uapi import exec as execution
from mock.driver.uapi.dispatch import Ioctl, Table


def make_table(level: Level) -> Table:
    """All ioctls of a level."""
    return Table(level, [*_core_ioctls(), *_xe_ioctls()], core.refuse_unknown)


def _core_ioctls() -> list[Ioctl]:
    return [
        Ioctl(drm.DRM_IOCTL_VERSION, core.version),
        Ioctl(drm.DRM_IOCTL_GET_UNIQUE, core.get_unique, render_allowed=False),
        Ioctl(drm.DRM_IOCTL_GET_CAP, core.get_cap),
        Ioctl(drm.DRM_IOCTL_SET_CLIENT_CAP, core.set_client_cap, render_allowed=False),
        Ioctl(drm.DRM_IOCTL_SET_CLIENT_NAME, core.set_client_name),
        Ioctl(drm.DRM_IOCTL_SET_MASTER, core.set_master, render_allowed=False),
        Ioctl(drm.DRM_IOCTL_DROP_MASTER, core.drop_master, render_allowed=False),
        Ioctl(drm.DRM_IOCTL_GEM_CLOSE, gem.close),
        Ioctl(drm.DRM_IOCTL_GEM_FLINK, core.flink, render_allowed=False),
        Ioctl(drm.DRM_IOCTL_GEM_OPEN, core.gem_open, render_allowed=False),
        Ioctl(drm.DRM_IOCTL_GEM_CHANGE_HANDLE, core.invalid),
        Ioctl(drm.DRM_IOCTL_PRIME_HANDLE_TO_FD, prime.handle_to_fd),
        Ioctl(drm.DRM_IOCTL_PRIME_FD_TO_HANDLE, prime.fd_to_handle),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_CREATE, syncobj_ioctl.create),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_DESTROY, syncobj_ioctl.destroy),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, syncobj_ioctl.handle_to_fd),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, syncobj_ioctl.fd_to_handle),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_TRANSFER, syncobj_ioctl.transfer),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_WAIT, syncobj_ioctl.wait),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, syncobj_ioctl.timeline_wait),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_EVENTFD, syncobj_ioctl.eventfd),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_RESET, syncobj_ioctl.reset),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_SIGNAL, syncobj_ioctl.signal),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, syncobj_ioctl.timeline_signal),
        Ioctl(drm.DRM_IOCTL_SYNCOBJ_QUERY, syncobj_ioctl.query),
    ]


def _xe_ioctls() -> list[Ioctl]:
    madvise_since = FEATURES["madvise"]
    return [
        Ioctl(xe.DRM_IOCTL_XE_DEVICE_QUERY, query.device_query),
        Ioctl(xe.DRM_IOCTL_XE_GEM_CREATE, gem.create),
        Ioctl(xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, gem.mmap_offset),
        Ioctl(xe.DRM_IOCTL_XE_VM_CREATE, vm_ioctl.create),
        Ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, vm_ioctl.destroy),
        Ioctl(xe.DRM_IOCTL_XE_VM_BIND, bind.bind),
        Ioctl(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, vm_ioctl.get_property, since=FEATURES["vm-faults"]),
        Ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, queue_ioctl.create),
        Ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, queue_ioctl.destroy),
        Ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, queue_ioctl.get_property),
        Ioctl(
            xe.DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY, queue_ioctl.set_property, since=FEATURES["multi-queue"]
        ),
        Ioctl(xe.DRM_IOCTL_XE_EXEC, execution.execute),
        Ioctl(xe.DRM_IOCTL_XE_WAIT_USER_FENCE, wait.wait_user_fence),
        Ioctl(xe.DRM_IOCTL_XE_OBSERVATION, observation.observation),
        Ioctl(xe.DRM_IOCTL_XE_MADVISE, madvise.madvise, since=madvise_since),
        Ioctl(xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, madvise.query_mem_range_attrs, since=madvise_since),
    ]
