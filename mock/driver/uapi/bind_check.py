# SPDX-License-Identifier: MIT
"""The argument rules of VM_BIND (vm_bind_ioctl_check_args, xe_vm_bind_ioctl_validate_bo)."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.arguments import is_unknown, unknown_flags
from mock.driver.lib import user
from mock.driver.lib.errors import refuse_if
from mock.driver.lib.sizes import SZ_4K, SZ_64K
from mock.driver.platform import Coherency

if TYPE_CHECKING:
    from mock.driver.device import Device
    from mock.driver.ttm.bo import Bo
    from mock.driver.uapi.dispatch import Call
    from mock.driver.vm.vm import Vm
    from mock.kernel import Mm

OP_MAP = xe.DRM_XE_VM_BIND_OP_MAP
OP_UNMAP = xe.DRM_XE_VM_BIND_OP_UNMAP
OP_MAP_USERPTR = xe.DRM_XE_VM_BIND_OP_MAP_USERPTR
OP_UNMAP_ALL = xe.DRM_XE_VM_BIND_OP_UNMAP_ALL
OP_PREFETCH = xe.DRM_XE_VM_BIND_OP_PREFETCH
NULL = xe.DRM_XE_VM_BIND_FLAG_NULL
MIRROR = xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
DECOMPRESS = xe.DRM_XE_VM_BIND_FLAG_DECOMPRESS
AUTORESET = xe.DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET
CONSULT = xe.DRM_XE_CONSULT_MEM_ADVISE_PREF_LOC & 0xFFFFFFFF

# The kernel cannot allocate larger arrays. Smaller ones are read in pieces, so that a bad pointer fails early.
_MAX_ALLOCATION = 0x7FFFFFFF
_CHUNK = 4096


def read_ops(call: Call, args: Any) -> list[Any]:
    """The bind operations of the argument. Raises Refused(ENOBUFS) or OSError(EFAULT)."""
    mm: Mm = call.task.mm
    count = args.num_binds
    if count == 1:
        return [args.bind]
    size = ctypes.sizeof(xe.drm_xe_vm_bind_op)
    refuse_if(count * size > _MAX_ALLOCATION, errno.ENOBUFS, "array of binds")
    if count:
        call.device.machine.faults.kmalloc(call.task.tid, errno.ENOBUFS)
    ops: list[Any] = []
    while len(ops) < count:
        chunk = min(_CHUNK, count - len(ops))
        ops += user.get_array(mm, args.vector_of_binds + len(ops) * size, xe.drm_xe_vm_bind_op, chunk)
    return ops


def check_header(args: Any) -> None:
    refuse_if(args.pad or args.pad2, errno.EINVAL, "pad")
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    refuse_if(args.extensions, errno.EINVAL, "extensions")
    refuse_if(args.num_syncs > xe.DRM_XE_MAX_SYNCS, errno.EINVAL, "num_syncs")


def check_op(vm: Vm, bind: Any) -> None:
    """Check one operation against the rules that need no lookup. Raises Refused(EINVAL), EOPNOTSUPP for DECOMPRESS."""
    device, profile = vm.device, vm.device.profile
    op, flags = bind.op, bind.flags
    null, mirror, decompress = flags & NULL, flags & MIRROR, flags & DECOMPRESS
    refuse_if(mirror and not vm.fault_mode, errno.EINVAL, "CPU address mirror without fault mode")
    refuse_if(mirror and not device.kconfig.drm_xe_gpusvm, errno.EINVAL, "kernel without CPU address mirrors")
    refuse_if(bind.pat_index >= len(profile.pat), errno.EINVAL, "pat_index")
    pat = profile.pat[bind.pat_index]
    refuse_if(pat.coherency is Coherency.RESERVED, errno.EINVAL, "reserved pat_index")
    region = bind.prefetch_mem_region_instance
    region_known = (region == CONSULT and device.has("consult-preferred-location")) or (
        region < 32 and 1 << region & device.mem_region_mask
    )
    rules = (
        (is_unknown(device.level, bind, "op"), "op"),
        (unknown_flags(device.level, bind), "flags"),
        (bind.obj and (null or mirror), "obj with NULL or CPU address mirror"),
        (bind.obj_offset and (null or mirror), "obj_offset with NULL or CPU address mirror"),
        (op != OP_MAP and (decompress or null or mirror), "flag is only for MAP"),
        (decompress and pat.compressed, "DECOMPRESS with a compressing pat_index"),
        (not bind.obj and op == OP_MAP and not null and not mirror, "MAP without obj"),
        (not bind.obj and op == OP_UNMAP_ALL, "UNMAP_ALL without obj"),
        (bind.addr and op == OP_UNMAP_ALL, "UNMAP_ALL with addr"),
        (bind.range and op == OP_UNMAP_ALL, "UNMAP_ALL with range"),
        (bind.obj and op == OP_MAP_USERPTR, "MAP_USERPTR with obj"),
        (
            pat.coherency is Coherency.NONE and op == OP_MAP_USERPTR,
            "MAP_USERPTR with an incoherent pat_index",
        ),
        (
            not profile.discrete
            and pat.coherency is Coherency.NONE
            and mirror
            and device.has("incoherent-mirror-refused"),
            "CPU address mirror with an incoherent pat_index",
        ),
        (
            (op == OP_MAP_USERPTR or mirror) and not pat_fits_cpu_memory(device, bind.pat_index),
            "pat_index that does not reach the CPU",
        ),
        (
            pat.compressed and op == OP_MAP_USERPTR and device.has("compressed-userptr-refused"),
            "MAP_USERPTR with a compressing pat_index",
        ),
        (op == OP_MAP_USERPTR and not device.kconfig.drm_gpusvm, "kernel without userptr"),
        (bind.obj and op == OP_PREFETCH, "PREFETCH with obj"),
        (region and op != OP_PREFETCH, "prefetch region without PREFETCH"),
        (not region_known, "prefetch region"),
        (bind.obj and op == OP_UNMAP, "UNMAP with obj"),
        (flags & AUTORESET and (not mirror or op != OP_MAP), "MADVISE_AUTORESET is only for MAP of a mirror"),
        (bind.obj_offset % SZ_4K, "obj_offset is not a multiple of a page"),
        (bind.addr % SZ_4K, "addr is not a multiple of a page"),
        (bind.range % SZ_4K, "range is not a multiple of a page"),
        (not bind.range and op != OP_UNMAP_ALL, "range 0"),
    )
    for broken, why in rules:
        refuse_if(broken, errno.EINVAL, why)
    if decompress:
        able = profile.has_flat_ccs and profile.graphics_version >= 20 and profile.discrete
        refuse_if(not able, errno.EOPNOTSUPP, "DECOMPRESS")


def pat_fits_cpu_memory(device: Device, pat_index: int) -> bool:
    """Whether memory that the CPU accesses at any time may be bound with a PAT index."""
    profile = device.profile
    bound_by_rule = profile.l2_flush_optimized and device.has("l2-flush-pat")
    return not bound_by_rule or profile.reaches_cpu(pat_index)


def check_range(vm: Vm, bind: Any) -> None:
    refuse_if(bind.range > vm.size or bind.addr > vm.size - bind.range, errno.EINVAL, "beyond the VM")


def check_bo(device: Device, bo: Bo, bind: Any) -> None:
    """Check a BO against the operation (xe_vm_bind_ioctl_validate_bo). Raises Refused(EINVAL)."""
    pat = device.profile.pat[bind.pat_index]
    no_compression = bo.flags & xe.DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION
    refuse_if(no_compression and pat.compressed, errno.EINVAL, "compression on a NO_COMPRESSION object")
    refuse_if(bind.range > bo.size, errno.EINVAL, "range beyond the object")
    refuse_if(bind.obj_offset > bo.size - bind.range, errno.EINVAL, "obj_offset beyond the object")
    if bo.internal_64k and device.profile.needs_64k:
        for name in ("obj_offset", "addr", "range"):
            refuse_if(getattr(bind, name) % SZ_64K, errno.EINVAL, f"{name} is not a multiple of 64 KiB")
    incoherent = pat.coherency is Coherency.NONE
    if bo.cpu_caching:
        cached = bo.cpu_caching == xe.DRM_XE_GEM_CPU_CACHING_WB
        refuse_if(incoherent and cached, errno.EINVAL, "incoherent pat_index for a cached object")
    else:
        refuse_if(incoherent, errno.EINVAL, "incoherent pat_index for an imported object")
    refuse_if(bo.imported and pat.compressed, errno.EINVAL, "compression on an imported object")
    fits = not bo.imported or pat_fits_cpu_memory(device, bind.pat_index)
    refuse_if(not fits, errno.EINVAL, "pat_index without CPU visibility for an imported object")
