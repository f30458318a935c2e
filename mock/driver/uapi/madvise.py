# SPDX-License-Identifier: MIT
"""MADVISE and VM_QUERY_MEM_RANGE_ATTRS: attributes of VMAs (xe_vm_madvise.c, xe_vm.c)."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.arguments import is_unknown
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_4K
from mock.driver.pagemap.devmem import Pagemap
from mock.driver.platform import Coherency
from mock.driver.ttm.bo import PL_TT, Bo, Purgeable, is_vram
from mock.driver.uapi.bind_check import pat_fits_cpu_memory
from mock.driver.vm.remap import split
from mock.driver.vm.vma import Vma, VmaKind

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.lib.blocking import Blocking
    from mock.driver.uapi.dispatch import Call
    from mock.driver.vm.vm import Vm

_PREFERRED = xe.DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC
_ATOMIC = xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC
_PAT = xe.DRM_XE_MEM_RANGE_ATTR_PAT
_PURGEABLE = xe.DRM_XE_VMA_ATTR_PURGEABLE_STATE
_MAX_ALLOCATION = 0x7FFF_FFFF
_FIRST_VMAS = 8
"""Areas for which MADVISE has room at first; twice as many each time (get_vmas: max_vmas)."""


def madvise(call: Call, args: Any) -> Blocking[None]:
    """xe_vm_madvise_ioctl()."""
    vm = call.file.vms.get(args.vm_id)
    if vm is None:
        raise Refused(errno.EINVAL, "no such VM")
    refuse_if(not _sane(call.device, args), errno.EINVAL, "arguments")
    retained = args.purge_state_val.retained_ptr if args.type == _PURGEABLE else 0
    if retained:
        refuse_if(any(call.task.mm.read(retained, 4)), errno.EINVAL, "retained is not 0 before")
    yield from vm.svm.flush()
    refuse_if(vm.closed_or_banned, errno.ENOENT, "VM is closed or banned")
    pagemap = _pagemap(call, vm, args)
    start = args.start & ((1 << vm.device.profile.va_bits) - 1)
    end = start + args.range
    faults, tid = call.device.machine.faults, call.task.tid
    faults.kmalloc(tid)  # the operations that split areas (xe_vm_alloc_madvise_vma)
    split(vm, start, end)
    vmas = list(vm.vmas.overlapping(start, end))
    room = _FIRST_VMAS
    faults.kmalloc(tid)  # the list of areas (get_vmas)
    while room < len(vmas):
        room *= 2
        faults.kmalloc(tid)
    _check(vm, vmas, args)
    purged = False
    for vma in vmas:
        if args.type == _PREFERRED:
            vma.skip_invalidation = not _prefer(vma, args.preferred_mem_loc, pagemap)
        elif args.type == _ATOMIC:
            vma.skip_invalidation = not _set_atomic(vma, args.atomic.val)
        elif args.type == _PAT:
            vma.skip_invalidation = vma.attr.pat_index == args.pat_index.val
            vma.attr.pat_index = args.pat_index.val
        else:
            purged |= _set_purgeable(vma, args.purge_state_val.val)
    if args.type != _PURGEABLE:
        _invalidate(vm, vmas)
    if retained:
        call.task.mm.write(retained, int(not purged).to_bytes(4, "little"))


# Arguments


def _sane(device: Device, args: Any) -> bool:
    """madvise_args_are_sane()."""
    if args.start % SZ_4K or args.range % SZ_4K or args.range < SZ_4K or any(args.reserved):
        return False
    if args.type == _PREFERRED:
        return _preferred_is_sane(device, args.preferred_mem_loc)
    if args.type == _ATOMIC:
        atomic = args.atomic
        return not is_unknown(device.level, atomic, "val") and not atomic.pad and not atomic.reserved
    if args.type == _PAT:
        pat, table = args.pat_index, device.profile.pat
        if pat.val >= len(table) or table[pat.val].coherency is Coherency.RESERVED:
            return False
        return not pat.pad and not pat.reserved
    if args.type == _PURGEABLE and device.has("purgeable"):
        state = args.purge_state_val
        return not is_unknown(device.level, state, "val") and not state.pad
    return False


def _preferred_is_sane(device: Device, location: Any) -> bool:
    fd = _signed(location.devmem_fd)
    if fd < xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM:
        return False
    # Older levels cannot name regions of other devices: the field is padding.
    named = fd > xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE and device.has("preferred-location-region")
    if location.region_instance and not named:
        return False
    return not is_unknown(device.level, location, "migration_policy") and not location.reserved


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _pagemap(call: Call, vm: Vm, args: Any) -> Pagemap | None:
    """The device memory that a preferred location names (xe_drm_pagemap_from_fd).

    Raises Refused: ENOENT if the descriptor is not an xe device's or the region is not its VRAM, ENOLINK if the VM's
    device has no fast link to it.
    """
    if args.type != _PREFERRED or not vm.device.has("preferred-location-region"):
        return None
    location = args.preferred_mem_loc
    fd = _signed(location.devmem_fd)
    if fd <= xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE:
        return None
    file = call.task.lookup(fd)
    device = call.device.machine.open_files.get(file) if file is not None else None
    if device is None:
        raise Refused(errno.ENOENT, "not a descriptor of an xe device")
    tile = device.tile_of_region(location.region_instance)
    if tile is None or tile.pagemap is None:
        raise Refused(errno.ENOENT, "not a VRAM region of that device")
    pagemap = tile.pagemap.get()
    refuse_if(pagemap.owner is not vm.peer.owner, errno.ENOLINK, "no fast link to that device")
    return pagemap


def _check(vm: Vm, vmas: list[Vma], args: Any) -> None:
    """check_pat_args_are_sane(), check_bo_args_are_sane(). Raises Refused(EINVAL)."""
    profile = vm.device.profile
    if args.type == _PAT and not pat_fits_cpu_memory(vm.device, args.pat_index.val):
        foreign = any(vma.is_mirror or vma.is_userptr or (vma.bo and vma.bo.imported) for vma in vmas)
        refuse_if(foreign, errno.EINVAL, "pat_index without CPU visibility")
    if args.type == _PAT and not profile.discrete:
        incoherent = profile.pat[args.pat_index.val].coherency is Coherency.NONE
        for vma in vmas:
            cached = vma.bo.cpu_caching != xe.DRM_XE_GEM_CPU_CACHING_WC if vma.bo else not vma.is_null
            refuse_if(incoherent and cached, errno.EINVAL, "incoherent pat_index for cached memory")
    if args.type == _ATOMIC:
        for bo in {vma.bo: None for vma in vmas if vma.bo is not None}:
            refuse_if(
                not _atomic_fits(vm.device, bo, args.atomic.val), errno.EINVAL, "atomic mode and placement"
            )


def _atomic_fits(device: Device, bo: Bo, mode: int) -> bool:
    system = any(place.mem_type == PL_TT for place in bo.placements)
    vram = any(is_vram(place.mem_type) for place in bo.placements)
    if mode == xe.DRM_XE_ATOMIC_CPU:
        return system
    if mode == xe.DRM_XE_ATOMIC_DEVICE:
        return vram or (system and device.profile.device_atomics_on_smem)
    if mode == xe.DRM_XE_ATOMIC_GLOBAL:
        return system and vram
    return True


# Changes


def _prefer(vma: Vma, location: Any, pagemap: Pagemap | None) -> bool:
    """madvise_preferred_mem_loc(). Returns whether anything changed."""
    attr, fd = vma.attr, _signed(location.devmem_fd)
    if not vma.is_mirror or (attr.devmem_fd, attr.migration_policy) == (fd, location.migration_policy):
        return False
    attr.devmem_fd, attr.migration_policy, attr.pagemap = fd, location.migration_policy, pagemap
    return True


def _set_atomic(vma: Vma, mode: int) -> bool:
    """madvise_atomic(). Returns whether anything changed."""
    on_smem = vma.vm.device.profile.device_atomics_on_smem
    if vma.is_userptr and not (mode == xe.DRM_XE_ATOMIC_DEVICE and on_smem):
        return False
    changed = vma.attr.atomic_access != mode
    vma.attr.atomic_access = mode
    if vma.bo is not None and vma.bo.atomic_access != mode:
        vma.bo.atomic_access = mode
        changed = True
        if vma.bo.in_vram and mode in (xe.DRM_XE_ATOMIC_CPU, xe.DRM_XE_ATOMIC_GLOBAL):
            # The kernel waits for the next CPU access (xe_bo_fault_migrate), which the mock cannot see.
            vma.bo.migrate(PL_TT)
    return changed


def _set_purgeable(vma: Vma, state: int) -> bool:
    """madvise_purgeable(). Returns whether the BO is purged already."""
    bo = vma.bo
    if bo is None:
        return False
    if bo.purgeable is Purgeable.PURGED:
        return True
    wanted = Purgeable.DONTNEED if state == xe.DRM_XE_VMA_PURGEABLE_STATE_DONTNEED else Purgeable.WILLNEED
    if vma.attr.purgeable is not wanted:
        vma.attr.purgeable = wanted
        if wanted is Purgeable.WILLNEED:
            bo.willneed_get()
        else:
            bo.willneed_put()
    return False


def _invalidate(vm: Vm, vmas: list[Vma]) -> None:
    """Zap entries, so that the next access uses the new attributes (xe_vm_invalidate_madvise_range)."""
    for vma in vmas:
        if vma.skip_invalidation or vma.is_null:
            continue
        if vma.kind is VmaKind.CPU_ADDR_MIRROR:
            vm.svm.zap(vma.start, vma.end)
        else:
            vm.invalidate(vma)


def query_mem_range_attrs(call: Call, args: Any) -> None:
    """xe_vm_query_vmas_attrs_ioctl()."""
    size = ctypes.sizeof(xe.drm_xe_mem_range_attr)
    count, pointer = args.num_mem_ranges, args.vector_of_mem_attr
    if count:
        refuse_if(
            not pointer or args.sizeof_mem_range_attr != size, errno.EINVAL, "vector or its element size"
        )
    else:
        refuse_if(pointer or args.sizeof_mem_range_attr, errno.EINVAL, "vector without elements")
    vm = call.file.vms.get(args.vm_id)
    if vm is None:
        raise Refused(errno.EINVAL, "no such VM")
    end = (args.start + args.range) & 0xFFFF_FFFF_FFFF_FFFF
    vmas = list(vm.vmas.overlapping(args.start, end))
    if not count:
        args.num_mem_ranges = len(vmas)
        args.sizeof_mem_range_attr = size
        return
    refuse_if(count * size > _MAX_ALLOCATION, errno.ENOBUFS, "array of attributes")
    refuse_if(len(vmas) > count, errno.ENOSPC, "more VMAs than elements")
    args.num_mem_ranges = len(vmas)
    call.task.mm.write(pointer, b"".join(bytes(_attributes(vma)) for vma in vmas))


def _attributes(vma: Vma) -> xe.drm_xe_mem_range_attr:
    reply = xe.drm_xe_mem_range_attr(start=vma.start, end=vma.end)
    reply.atomic.val = vma.attr.atomic_access
    reply.pat_index.val = vma.attr.pat_index
    reply.preferred_mem_loc.devmem_fd = vma.attr.devmem_fd
    reply.preferred_mem_loc.migration_policy = vma.attr.migration_policy
    return reply
