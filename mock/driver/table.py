# SPDX-License-Identifier: MIT
"""The ioctl table of the driver (xe_device.c: xe_ioctls, drm_ioctl.c: drm_ioctls)."""

from __future__ import annotations

from ioctl import xe
from mock.driver import exec as execution
from mock.driver import gem, queue_ioctl, vm_ioctl
from mock.driver.dispatch import Ioctl, Table
from mock.driver.level import FEATURES, Level


def make_table(level: Level) -> Table:
    """Every ioctl the level knows."""
    return Table(level, [*_xe_ioctls()])


def _xe_ioctls() -> list[Ioctl]:
    return [
        Ioctl(xe.DRM_IOCTL_XE_GEM_CREATE, gem.create),
        Ioctl(xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, gem.mmap_offset),
        Ioctl(xe.DRM_IOCTL_XE_VM_CREATE, vm_ioctl.create),
        Ioctl(xe.DRM_IOCTL_XE_VM_DESTROY, vm_ioctl.destroy),
        Ioctl(xe.DRM_IOCTL_XE_VM_GET_PROPERTY, vm_ioctl.get_property, since=FEATURES["vm-faults"]),
        Ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, queue_ioctl.create),
        Ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, queue_ioctl.destroy),
        Ioctl(xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, queue_ioctl.get_property),
        Ioctl(
            xe.DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY, queue_ioctl.set_property, since=FEATURES["multi-queue"]
        ),
        Ioctl(xe.DRM_IOCTL_XE_EXEC, execution.execute),
    ]
