# SPDX-License-Identifier: MIT
"""GEM_CREATE, GEM_MMAP_OFFSET, GEM_CLOSE (xe_bo.c, drm_gem.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.arguments import is_unknown, unknown_flags
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_4K, SZ_64K
from mock.driver.ttm.bo import PL_TT, PL_VRAM0, Bo, Place, Purgeable
from mock.driver.ttm.storage import PCI_BARRIER_OFFSET
from mock.driver.uapi import extension

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.file import DrmFile
    from mock.driver.uapi.dispatch import Call
    from mock.kernel import MapRequest, Task


def places(device: Device, placement: int) -> list[Place]:
    """Allowed places of a placement mask: VRAM by tile, then system memory, as a fallback if there is VRAM."""
    vram = [Place(PL_VRAM0 + tile.id) for tile in device.tiles if placement & 2 << tile.id]
    return vram + ([Place(PL_TT, fallback=bool(vram))] if placement & 1 else [])


def create(call: Call, args: Any) -> None:
    """xe_gem_create_ioctl()."""
    device, profile = call.device, call.device.profile
    refuse_if(any(args.pad) or any(args.reserved), errno.EINVAL, "pad or reserved")
    refuse_if(args.placement & ~device.mem_region_mask or not args.placement, errno.EINVAL, "placement")
    refuse_if(unknown_flags(device.level, args), errno.EINVAL, "flags")
    refuse_if(args.handle, errno.EINVAL, "handle is an output")
    refuse_if(not args.size, errno.EINVAL, "size 0")
    refuse_if(args.size % SZ_4K, errno.EINVAL, "size is not a multiple of a page")
    if args.flags & xe.DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION:
        refuse_if(profile.graphics_version < 20, errno.EOPNOTSUPP, "no compression control before Xe2")
    vram = args.placement & ~1
    scanout = args.flags & xe.DRM_XE_GEM_CREATE_FLAG_SCANOUT
    needs_64k = vram and scanout and not profile.needs_64k and args.size % SZ_64K == 0
    if args.flags & xe.DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM:
        refuse_if(not vram, errno.EINVAL, "visible VRAM without a VRAM placement")
    caching = args.cpu_caching
    refuse_if(is_unknown(device.level, args, "cpu_caching"), errno.EINVAL, "cpu_caching")
    refuse_if(vram and caching != xe.DRM_XE_GEM_CPU_CACHING_WC, errno.EINVAL, "VRAM must be WC")
    refuse_if(scanout and caching == xe.DRM_XE_GEM_CPU_CACHING_WB, errno.EINVAL, "scanout cannot be WB")
    vm = None
    if args.vm_id:
        vm = call.file.vms.get(args.vm_id)
        if vm is None:
            raise Refused(errno.ENOENT, "no such VM")
    device.ttm.mappings.collect()
    internal_64k = bool(vram and (profile.needs_64k or needs_64k))
    refuse_if(internal_64k and args.size % SZ_64K, errno.EINVAL, "size is not a multiple of 64 KiB")
    bo = Bo.create(
        device.ttm,
        call.file.memory,
        args.size,
        places(device, args.placement),
        resv=vm.resv if vm is not None else None,
        private=vm is not None,
        cpu_caching=caching,
        flags=args.flags,
        internal_64k=internal_64k,
    ).get()
    try:
        if not args.flags & xe.DRM_XE_GEM_CREATE_FLAG_DEFER_BACKING:
            bo.validate()
        if args.extensions:
            extension.walk(
                call.task.mm, args.extensions, _set_property, xe.DRM_XE_GEM_CREATE_SET_PROPERTY_PXP_TYPE
            )
        args.handle = call.file.add_handle(bo)
    finally:
        bo.put()


def _set_property(ext: Any) -> None:
    """The only property is the type of PXP session (gem_create_set_pxp_type)."""
    if ext.value == xe.DRM_XE_PXP_TYPE_NONE:
        return
    refuse_if(ext.value != xe.DRM_XE_PXP_TYPE_HWDRM, errno.EINVAL, "PXP type")
    # xe_pxp_key_assign: the mock's GPUs have PXP disabled.
    raise Refused(errno.ENODEV, "PXP is not enabled")


def mmap_offset(call: Call, args: Any) -> None:
    """xe_gem_mmap_offset_ioctl()."""
    refuse_if(args.extensions, errno.EINVAL, "extensions")
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    refuse_if(unknown_flags(call.device.level, args), errno.EINVAL, "flags")
    if args.flags & xe.DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER:
        refuse_if(not call.device.profile.discrete, errno.EINVAL, "no PCI barrier on integrated GPUs")
        refuse_if(args.handle, errno.EINVAL, "handle with the PCI barrier")
        args.offset = PCI_BARRIER_OFFSET
        return
    bo = call.file.bos.get(args.handle)
    if bo is None:
        raise Refused(errno.ENOENT, "no such object")
    args.offset = bo.storage.base


def mmap(file: DrmFile, task: Task, request: MapRequest) -> None:
    """drm_gem_mmap() of the BO at a fake offset.

    Raises Refused: EINVAL if no BO of the device has this offset or it is smaller, EACCES if the file has no handle
    of it, EBUSY for a BO marked DONTNEED, EINVAL for a purged one, EOPNOTSUPP for an imported one.
    """
    size = file.device.ttm.offsets.size_at(request.offset)
    refuse_if(not size or request.length > size, errno.EINVAL, "no object at this offset")
    own = (bo for bo in file.bos if bo.storage.base == request.offset and not bo.imported)
    bo = next(own, None)
    if bo is None:
        raise Refused(errno.EACCES, "no handle of the object")
    refuse_if(bo.purgeable is Purgeable.DONTNEED, errno.EBUSY, "object is marked as not needed")
    refuse_if(bo.purgeable is Purgeable.PURGED, errno.EINVAL, "object is purged")
    refuse_if(not request.shared, errno.EINVAL, "private mapping")
    # The bytes are in the exporter's file, but a mapping is of the caller's file.
    refuse_if(
        bo.storage.memory.file is not file.memory.file,
        errno.EOPNOTSUPP,
        "the mock only maps objects of the same file",
    )
    file.device.ttm.mappings.add(bo, task.mm)


def close(call: Call, args: Any) -> None:
    """drm_gem_close_ioctl(): EINVAL if the handle does not exist."""
    call.file.close_handle(args.handle)
    call.device.ttm.mappings.collect()
