# SPDX-License-Identifier: MIT
"""PRIME: export and import of BOs, within a device and between devices (drm_prime.c, xe_dma_buf.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ioctl import drm
from mock.driver.arguments import unknown_flags
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.ttm.bo import PL_TT, Bo, Place, Purgeable

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.uapi.dispatch import Call


def handle_to_fd(call: Call, args: Any) -> None:
    """drm_prime_handle_to_fd_ioctl(). Raises Refused: EINVAL, ENOENT, EPERM for a BO private to a VM, EBUSY."""
    refuse_if(unknown_flags(call.device.level, args), errno.EINVAL, "flags")
    bo = call.file.bos.get(args.handle)
    if bo is None:
        raise Refused(errno.ENOENT, "no such object")
    if bo.import_source is not None:
        bo = bo.import_source
    elif bo.dma_buf is None:
        refuse_if(bo.private, errno.EPERM, "object is private to a VM")
        refuse_if(bo.purgeable is Purgeable.DONTNEED, errno.EBUSY, "object is marked as not needed")
        refuse_if(bo.purgeable is Purgeable.PURGED, errno.EINVAL, "object is purged")
    file = call.device.machine.dma_bufs.export(bo)
    args.fd = call.task.install(file, cloexec=bool(args.flags & drm.DRM_CLOEXEC))
    call.file.prime_handles[bo] = args.handle


def fd_to_handle(call: Call, args: Any) -> None:
    """drm_prime_fd_to_handle_ioctl(). Raises Refused: EBADF, EINVAL if it is not a dma-buf, EOPNOTSUPP."""
    file = call.task.lookup(args.fd)
    bo = call.device.machine.dma_bufs.find(file)
    if bo is None:
        # dma_buf_get() distinguishes a closed descriptor from one that is not a dma-buf.
        raise Refused(errno.EINVAL if file is not None else errno.EBADF, "not a dma-buf")
    handle = call.file.prime_handles.get(bo)
    if handle is None:
        imported = bo if bo.ttm is call.device.ttm else _import(call.device, bo)
        handle = call.file.add_handle(imported)
        call.file.prime_handles[bo] = handle
    args.handle = handle


def _import(device: Device, bo: Bo) -> Bo:
    """Import a BO of another device (xe_gem_prime_import); the exporter keeps its memory.

    Raises Refused(EOPNOTSUPP) if the devices have no fast link and the BO cannot be in system memory.
    """
    if bo.ttm.index not in device.links:
        refuse_if(not bo.can_migrate(PL_TT), errno.EOPNOTSUPP, "no way to reach the exporter's VRAM")
        bo.migrate(PL_TT)
    return Bo(device.ttm, bo.size, [Place(PL_TT)], bo.storage, resv=bo.resv, import_source=bo.get())
