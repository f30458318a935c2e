# SPDX-License-Identifier: MIT
"""The xe driver's uAPI, include/uapi/drm/xe_drm.h of ``LINUX``: every structure, number, flag and enum value.

Names are those of the header, letter for letter, and come in its order. Unnamed unions stay unnamed:
``op.userptr`` and ``op.obj_offset`` read as in C. A flexible array is an array of 0 elements at the right
offset. ``pad`` and ``reserved`` must be zero. User pointers are u64 numbers: take ``ctypes.addressof`` and
keep the object alive.

``ioctl.history`` has the kernel that added each name; ``svmcts abi`` compares this file with a header.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from ioctl import drm
from ioctl.about import (
    Chain,
    Element,
    Family,
    Flexible,
    Id,
    Pointer,
    Rows,
    Selected,
    array,
    flags,
    one,
    or_number,
    output,
    reply,
    values,
)
from ioctl.encoding import Direction, Request
from ioctl.layout import Structure, Union, char, s32, s64, u8, u16, u32, u64

LINUX = "7.3"
"""The kernel whose header this is; later ones may be recorded already (``ioctl.history``)."""

# Numbers in the driver's range, added to DRM_COMMAND_BASE.
DRM_XE_DEVICE_QUERY = 0x00
DRM_XE_GEM_CREATE = 0x01
DRM_XE_GEM_MMAP_OFFSET = 0x02
DRM_XE_VM_CREATE = 0x03
DRM_XE_VM_DESTROY = 0x04
DRM_XE_VM_BIND = 0x05
DRM_XE_EXEC_QUEUE_CREATE = 0x06
DRM_XE_EXEC_QUEUE_DESTROY = 0x07
DRM_XE_EXEC_QUEUE_GET_PROPERTY = 0x08
DRM_XE_EXEC = 0x09
DRM_XE_WAIT_USER_FENCE = 0x0A
DRM_XE_OBSERVATION = 0x0B
DRM_XE_MADVISE = 0x0C
DRM_XE_VM_QUERY_MEM_RANGE_ATTRS = 0x0D
DRM_XE_EXEC_QUEUE_SET_PROPERTY = 0x0E
DRM_XE_VM_GET_PROPERTY = 0x0F


class drm_xe_user_extension(Structure):
    """Head of every extension: a singly linked list through next_extension, 0 ends it."""

    __slots__ = ()
    _fields_ = (
        ("next_extension", u64),
        ("name", u32),
        ("pad", u32),
    )


class _drm_xe_ext_set_property_union(Union):
    __slots__ = ()
    _fields_ = (
        ("value", u64),
        ("ptr", u64),
    )


class drm_xe_ext_set_property(Structure):
    """The one extension xe has: sets a property of the object being created."""

    __slots__ = ()
    _anonymous_ = ("_value",)
    _fields_ = (
        ("base", drm_xe_user_extension),
        ("property", u32),
        ("pad", u32),
        ("_value", _drm_xe_ext_set_property_union),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "base.next_extension": Chain(lambda _: OA_EXTENSIONS, None, "base.next_extension"),
        "_value": Selected(
            lambda ext: "ptr" if ext.property == DRM_XE_EXEC_QUEUE_SET_HANG_REPLAY_STATE else "value"
        ),
    }


def _extensions(names: Family, properties: Family) -> Chain:
    """A chain of extensions of one sort."""
    families = {"name": names, "property": properties}
    return Chain(lambda _: families, drm_xe_ext_set_property, "base.next_extension")


DRM_XE_ENGINE_CLASS_RENDER = 0
DRM_XE_ENGINE_CLASS_COPY = 1
DRM_XE_ENGINE_CLASS_VIDEO_DECODE = 2
DRM_XE_ENGINE_CLASS_VIDEO_ENHANCE = 3
DRM_XE_ENGINE_CLASS_COMPUTE = 4
DRM_XE_ENGINE_CLASS_VM_BIND = 5


class drm_xe_engine_class_instance(Structure):
    """An engine: class, instance within the class, and GT."""

    __slots__ = ()
    _fields_ = (
        ("engine_class", u16),
        ("engine_instance", u16),
        ("gt_id", u16),
        ("pad", u16),
    )
    _about_ = {
        "engine_class": values("DRM_XE_ENGINE_CLASS_"),
    }


class drm_xe_engine(Structure):
    """One element of the reply to DRM_XE_DEVICE_QUERY_ENGINES."""

    __slots__ = ()
    _fields_ = (
        ("instance", drm_xe_engine_class_instance),
        ("reserved", u64 * 3),
    )


class drm_xe_query_engines(Structure):
    """Reply to DRM_XE_DEVICE_QUERY_ENGINES."""

    __slots__ = ()
    _fields_ = (
        ("num_engines", u32),
        ("pad", u32),
        ("engines", drm_xe_engine * 0),
    )
    _about_ = {
        "engines": Flexible("num_engines"),
    }


# enum drm_xe_memory_class
DRM_XE_MEM_REGION_CLASS_SYSMEM = 0
DRM_XE_MEM_REGION_CLASS_VRAM = 1


class drm_xe_mem_region(Structure):
    """One element of the reply to DRM_XE_DEVICE_QUERY_MEM_REGIONS."""

    __slots__ = ()
    _fields_ = (
        ("mem_class", u16),
        ("instance", u16),  # index of the bit in placement and near/far_mem_regions
        ("min_page_size", u32),  # bytes
        ("total_size", u64),  # bytes
        ("used", u64),  # bytes
        ("cpu_visible_size", u64),  # bytes
        ("cpu_visible_used", u64),  # bytes
        ("reserved", u64 * 6),
    )
    _about_ = {
        "mem_class": values("DRM_XE_MEM_REGION_CLASS_"),
    }


class drm_xe_query_mem_regions(Structure):
    """Reply to DRM_XE_DEVICE_QUERY_MEM_REGIONS."""

    __slots__ = ()
    _fields_ = (
        ("num_mem_regions", u32),
        ("pad", u32),
        ("mem_regions", drm_xe_mem_region * 0),
    )
    _about_ = {
        "mem_regions": Flexible("num_mem_regions"),
    }


DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID = 0
DRM_XE_QUERY_CONFIG_FLAGS = 1
DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM = 1 << 0
DRM_XE_QUERY_CONFIG_FLAG_HAS_LOW_LATENCY = 1 << 1
DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR = 1 << 2
DRM_XE_QUERY_CONFIG_FLAG_HAS_NO_COMPRESSION_HINT = 1 << 3
DRM_XE_QUERY_CONFIG_FLAG_HAS_DISABLE_STATE_CACHE_PERF_FIX = 1 << 4
DRM_XE_QUERY_CONFIG_FLAG_HAS_PURGING_SUPPORT = 1 << 5
DRM_XE_QUERY_CONFIG_MIN_ALIGNMENT = 2
DRM_XE_QUERY_CONFIG_VA_BITS = 3
DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY = 4


class drm_xe_query_config(Structure):
    """Reply to DRM_XE_DEVICE_QUERY_CONFIG; info is indexed by DRM_XE_QUERY_CONFIG_*."""

    __slots__ = ()
    _fields_ = (
        ("num_params", u32),
        ("pad", u32),
        ("info", u64 * 0),
    )
    _about_ = {
        "info": Flexible(
            "num_params",
            index=values("DRM_XE_QUERY_CONFIG_"),
            by_index={DRM_XE_QUERY_CONFIG_FLAGS: flags("DRM_XE_QUERY_CONFIG_FLAG_")},
        ),
    }


DRM_XE_QUERY_GT_TYPE_MAIN = 0
DRM_XE_QUERY_GT_TYPE_MEDIA = 1


class drm_xe_gt(Structure):
    """One element of the reply to DRM_XE_DEVICE_QUERY_GT_LIST."""

    __slots__ = ()
    _fields_ = (
        ("type", u16),
        ("tile_id", u16),
        ("gt_id", u16),
        ("pad", u16 * 3),
        ("reference_clock", u32),  # Hz
        ("near_mem_regions", u64),  # bit mask of region instances
        ("far_mem_regions", u64),  # bit mask of region instances
        ("ip_ver_major", u16),
        ("ip_ver_minor", u16),
        ("ip_ver_rev", u16),
        ("pad2", u16),
        ("reserved", u64 * 7),
    )
    _about_ = {
        "type": values("DRM_XE_QUERY_GT_TYPE_"),
    }


class drm_xe_query_gt_list(Structure):
    """Reply to DRM_XE_DEVICE_QUERY_GT_LIST."""

    __slots__ = ()
    _fields_ = (
        ("num_gt", u32),
        ("pad", u32),
        ("gt_list", drm_xe_gt * 0),
    )
    _about_ = {
        "gt_list": Flexible("num_gt"),
    }


DRM_XE_TOPO_DSS_GEOMETRY = 1
DRM_XE_TOPO_DSS_COMPUTE = 2
DRM_XE_TOPO_L3_BANK = 3
DRM_XE_TOPO_EU_PER_DSS = 4
DRM_XE_TOPO_SIMD16_EU_PER_DSS = 5
TOPOLOGY_MASK = values("DRM_XE_TOPO_")


class drm_xe_query_topology_mask(Structure):
    """Element of the reply to DRM_XE_DEVICE_QUERY_GT_TOPOLOGY; the next one follows the mask at once."""

    __slots__ = ()
    _fields_ = (
        ("gt_id", u16),
        ("type", u16),
        ("num_bytes", u32),  # bytes in mask
        ("mask", u8 * 0),
    )
    _about_ = {
        "type": TOPOLOGY_MASK,
        "mask": Flexible("num_bytes"),
    }


class drm_xe_query_engine_cycles(Structure):
    """In and out of DRM_XE_DEVICE_QUERY_ENGINE_CYCLES: eci and clockid are read, the rest is written."""

    __slots__ = ()
    _fields_ = (
        ("eci", drm_xe_engine_class_instance),
        ("clockid", s32),
        ("width", u32),  # bits
        ("engine_cycles", u64),
        ("cpu_timestamp", u64),  # ns of clockid
        ("cpu_delta", u64),  # ns
    )


XE_QUERY_UC_TYPE_GUC_SUBMISSION = 0
XE_QUERY_UC_TYPE_HUC = 1


class drm_xe_query_uc_fw_version(Structure):
    """In and out of DRM_XE_DEVICE_QUERY_UC_FW_VERSION: uc_type is read, the rest is written."""

    __slots__ = ()
    _fields_ = (
        ("uc_type", u16),
        ("pad", u16),
        ("branch_ver", u32),
        ("major_ver", u32),
        ("minor_ver", u32),
        ("patch_ver", u32),
        ("pad2", u32),
        ("reserved", u64),
    )
    _about_ = {
        "uc_type": values("XE_QUERY_UC_TYPE_"),
    }


class drm_xe_query_pxp_status(Structure):
    """Reply to DRM_XE_DEVICE_QUERY_PXP_STATUS."""

    __slots__ = ()
    _fields_ = (
        ("status", u32),
        ("supported_session_types", u32),
    )


DRM_XE_DEVICE_QUERY_ENGINES = 0
DRM_XE_DEVICE_QUERY_MEM_REGIONS = 1
DRM_XE_DEVICE_QUERY_CONFIG = 2
DRM_XE_DEVICE_QUERY_GT_LIST = 3
DRM_XE_DEVICE_QUERY_HWCONFIG = 4
DRM_XE_DEVICE_QUERY_GT_TOPOLOGY = 5
DRM_XE_DEVICE_QUERY_ENGINE_CYCLES = 6
DRM_XE_DEVICE_QUERY_UC_FW_VERSION = 7
DRM_XE_DEVICE_QUERY_OA_UNITS = 8
DRM_XE_DEVICE_QUERY_PXP_STATUS = 9
DRM_XE_DEVICE_QUERY_EU_STALL = 10

_REPLIES: dict[int, Callable[[], Element | Rows]] = {
    DRM_XE_DEVICE_QUERY_ENGINES: lambda: drm_xe_query_engines,
    DRM_XE_DEVICE_QUERY_MEM_REGIONS: lambda: drm_xe_query_mem_regions,
    DRM_XE_DEVICE_QUERY_CONFIG: lambda: drm_xe_query_config,
    DRM_XE_DEVICE_QUERY_GT_LIST: lambda: drm_xe_query_gt_list,
    DRM_XE_DEVICE_QUERY_HWCONFIG: lambda: u32,
    DRM_XE_DEVICE_QUERY_GT_TOPOLOGY: lambda: Rows(drm_xe_query_topology_mask),
    DRM_XE_DEVICE_QUERY_ENGINE_CYCLES: lambda: drm_xe_query_engine_cycles,
    DRM_XE_DEVICE_QUERY_UC_FW_VERSION: lambda: drm_xe_query_uc_fw_version,
    DRM_XE_DEVICE_QUERY_OA_UNITS: lambda: drm_xe_query_oa_units,
    DRM_XE_DEVICE_QUERY_PXP_STATUS: lambda: drm_xe_query_pxp_status,
    DRM_XE_DEVICE_QUERY_EU_STALL: lambda: drm_xe_query_eu_stall,
}


class drm_xe_device_query(Structure):
    """Argument of DRM_IOCTL_XE_DEVICE_QUERY: size 0 asks for the size of the reply."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("query", u32),
        ("size", u32),  # bytes at data
        ("data", u64),  # user pointer to the reply
        ("reserved", u64 * 2),
    )
    _about_ = {
        "query": values("DRM_XE_DEVICE_QUERY_"),
        "data": reply("size", lambda arg: _REPLIES.get(arg.query, lambda: None)()),
    }


DRM_XE_GEM_CREATE_EXTENSION_SET_PROPERTY = 0
DRM_XE_GEM_CREATE_SET_PROPERTY_PXP_TYPE = 0
DRM_XE_GEM_CREATE_FLAG_DEFER_BACKING = 1 << 0
DRM_XE_GEM_CREATE_FLAG_SCANOUT = 1 << 1
DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM = 1 << 2
DRM_XE_GEM_CREATE_FLAG_NO_COMPRESSION = 1 << 3
DRM_XE_GEM_CPU_CACHING_WB = 1
DRM_XE_GEM_CPU_CACHING_WC = 2

GEM_EXTENSION = values("DRM_XE_GEM_CREATE_EXTENSION_")
GEM_PROPERTY = values("DRM_XE_GEM_CREATE_SET_PROPERTY_")


class drm_xe_gem_create(Structure):
    """Argument of DRM_IOCTL_XE_GEM_CREATE; handle is written."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("size", u64),  # bytes
        ("placement", u32),  # bit mask of region instances
        ("flags", u32),
        ("vm_id", u32),  # 0: shareable, otherwise private to that VM
        ("handle", u32),
        ("cpu_caching", u16),
        ("pad", u16 * 3),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "extensions": _extensions(GEM_EXTENSION, GEM_PROPERTY),
        "flags": flags("DRM_XE_GEM_CREATE_FLAG_"),
        "vm_id": Id("vm"),
        "handle": Id("bo", made=True),
        "cpu_caching": values("DRM_XE_GEM_CPU_CACHING_"),
    }


DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER = 1 << 0


class drm_xe_gem_mmap_offset(Structure):
    """Argument of DRM_IOCTL_XE_GEM_MMAP_OFFSET; offset is written."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("handle", u32),
        ("flags", u32),
        ("offset", u64),  # bytes, for mmap(2)
        ("reserved", u64 * 2),
    )
    _about_ = {
        "handle": Id("bo"),
        "flags": flags("DRM_XE_MMAP_OFFSET_FLAG_"),
    }


DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE = 1 << 0
DRM_XE_VM_CREATE_FLAG_LR_MODE = 1 << 1
DRM_XE_VM_CREATE_FLAG_FAULT_MODE = 1 << 2
DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT = 1 << 3


class drm_xe_vm_create(Structure):
    """Argument of DRM_IOCTL_XE_VM_CREATE; vm_id is written."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("flags", u32),
        ("vm_id", u32),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "flags": flags("DRM_XE_VM_CREATE_FLAG_"),
        "vm_id": Id("vm", made=True),
    }


class drm_xe_vm_destroy(Structure):
    """Argument of DRM_IOCTL_XE_VM_DESTROY."""

    __slots__ = ()
    _fields_ = (
        ("vm_id", u32),
        ("pad", u32),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "vm_id": Id("vm"),
    }


DRM_XE_VM_BIND_OP_MAP = 0x0
DRM_XE_VM_BIND_OP_UNMAP = 0x1
DRM_XE_VM_BIND_OP_MAP_USERPTR = 0x2
DRM_XE_VM_BIND_OP_UNMAP_ALL = 0x3
DRM_XE_VM_BIND_OP_PREFETCH = 0x4
DRM_XE_VM_BIND_FLAG_READONLY = 1 << 0
DRM_XE_VM_BIND_FLAG_IMMEDIATE = 1 << 1
DRM_XE_VM_BIND_FLAG_NULL = 1 << 2
DRM_XE_VM_BIND_FLAG_DUMPABLE = 1 << 3
DRM_XE_VM_BIND_FLAG_CHECK_PXP = 1 << 4
DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR = 1 << 5
DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET = 1 << 6
DRM_XE_VM_BIND_FLAG_DECOMPRESS = 1 << 7
DRM_XE_CONSULT_MEM_ADVISE_PREF_LOC = -1


class _drm_xe_vm_bind_op_union(Union):
    __slots__ = ()
    _fields_ = (
        ("obj_offset", u64),  # bytes
        ("userptr", u64),  # CPU address
        ("cpu_addr_mirror_offset", s64),
    )


class drm_xe_vm_bind_op(Structure):
    """One operation of DRM_IOCTL_XE_VM_BIND."""

    __slots__ = ()
    _anonymous_ = ("_obj_offset",)
    _fields_ = (
        ("extensions", u64),
        ("obj", u32),
        ("pat_index", u16),
        ("pad", u16),
        ("_obj_offset", _drm_xe_vm_bind_op_union),
        ("range", u64),  # bytes
        ("addr", u64),  # GPU virtual address
        ("op", u32),
        ("flags", u32),
        ("prefetch_mem_region_instance", u32),
        ("pad2", u32),
        ("reserved", u64 * 3),
    )
    _about_ = {
        "obj": Id("bo"),
        "_obj_offset": Selected(
            lambda op: (
                "userptr"
                if op.op == DRM_XE_VM_BIND_OP_MAP_USERPTR
                else "cpu_addr_mirror_offset"
                if op.flags & DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
                else "obj_offset"
            )
        ),
        "op": values("DRM_XE_VM_BIND_OP_"),
        "flags": flags("DRM_XE_VM_BIND_FLAG_"),
        "prefetch_mem_region_instance": or_number("DRM_XE_CONSULT_MEM_ADVISE_"),
    }


SYNCS = Pointer(lambda arg: arg.num_syncs * ctypes.sizeof(drm_xe_sync), lambda _: drm_xe_sync)


class _drm_xe_vm_bind_union(Union):
    __slots__ = ()
    _fields_ = (
        ("bind", drm_xe_vm_bind_op),
        ("vector_of_binds", u64),  # user pointer to num_binds drm_xe_vm_bind_op
    )


class drm_xe_vm_bind(Structure):
    """Argument of DRM_IOCTL_XE_VM_BIND: one operation in place, or a pointer to num_binds of them."""

    __slots__ = ()
    _anonymous_ = ("_bind",)
    _fields_ = (
        ("extensions", u64),
        ("vm_id", u32),
        ("exec_queue_id", u32),
        ("pad", u32),
        ("num_binds", u32),
        ("_bind", _drm_xe_vm_bind_union),
        ("pad2", u32),
        ("num_syncs", u32),
        ("syncs", u64),  # user pointer to num_syncs drm_xe_sync
        ("reserved", u64 * 2),
    )
    _about_ = {
        "vm_id": Id("vm"),
        "exec_queue_id": Id("queue"),
        "_bind": Selected(lambda bind: "bind" if bind.num_binds == 1 else "vector_of_binds"),
        "vector_of_binds": array(drm_xe_vm_bind_op, lambda bind: bind.num_binds if bind.num_binds > 1 else 0),
        "syncs": SYNCS,
    }


FAULT_ACCESS_TYPE_READ = 0
FAULT_ACCESS_TYPE_WRITE = 1
FAULT_ACCESS_TYPE_ATOMIC = 2
FAULT_TYPE_NOT_PRESENT = 0
FAULT_TYPE_WRITE_ACCESS = 1
FAULT_TYPE_ATOMIC_ACCESS = 2
FAULT_LEVEL_PTE = 0
FAULT_LEVEL_PDE = 1
FAULT_LEVEL_PDP = 2
FAULT_LEVEL_PML4 = 3
FAULT_LEVEL_PML5 = 4


class xe_vm_fault(Structure):
    """One element of the reply to DRM_XE_VM_GET_PROPERTY_FAULTS."""

    __slots__ = ()
    _fields_ = (
        ("address", u64),
        ("address_precision", u32),  # bytes
        ("access_type", u8),
        ("fault_type", u8),
        ("fault_level", u8),
        ("pad", u8),
        ("reserved", u64 * 4),
    )
    _about_ = {
        "access_type": values("FAULT_ACCESS_TYPE_"),
        "fault_type": values("FAULT_TYPE_"),
        "fault_level": values("FAULT_LEVEL_"),
    }


DRM_XE_VM_GET_PROPERTY_FAULTS = 0


class _drm_xe_vm_get_property_union(Union):
    __slots__ = ()
    _fields_ = (
        ("data", u64),  # user pointer to the reply
        ("value", u64),
    )


class drm_xe_vm_get_property(Structure):
    """Argument of DRM_IOCTL_XE_VM_GET_PROPERTY: size 0 asks for the size of the reply."""

    __slots__ = ()
    _anonymous_ = ("_data",)
    _fields_ = (
        ("extensions", u64),
        ("vm_id", u32),
        ("property", u32),
        ("size", u32),  # bytes at data
        ("pad", u32),
        ("_data", _drm_xe_vm_get_property_union),
        ("reserved", u64 * 3),
    )
    _about_ = {
        "vm_id": Id("vm"),
        "property": values("DRM_XE_VM_GET_PROPERTY_"),
        "_data": Selected(lambda get: "data" if get.size else "value"),
        "data": output("size", xe_vm_fault),
    }


DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY = 0
DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY = 0
DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE = 1
DRM_XE_EXEC_QUEUE_SET_PROPERTY_PXP_TYPE = 2
DRM_XE_EXEC_QUEUE_SET_HANG_REPLAY_STATE = 3
DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_GROUP = 4
DRM_XE_MULTI_GROUP_CREATE = 1 << 63
DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_QUEUE_PRIORITY = 5
DRM_XE_EXEC_QUEUE_SET_DISABLE_STATE_CACHE_PERF_FIX = 6
DRM_XE_EXEC_QUEUE_LOW_LATENCY_HINT = 1 << 0

QUEUE_EXTENSION = values("DRM_XE_EXEC_QUEUE_EXTENSION_")
QUEUE_PROPERTY = values("DRM_XE_EXEC_QUEUE_SET_")
QUEUE_GROUP = flags("DRM_XE_MULTI_GROUP_")  # value of SET_PROPERTY_MULTI_GROUP


class drm_xe_exec_queue_create(Structure):
    """Argument of DRM_IOCTL_XE_EXEC_QUEUE_CREATE; exec_queue_id is written."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("width", u16),  # batches an EXEC
        ("num_placements", u16),
        ("vm_id", u32),
        ("flags", u32),
        ("exec_queue_id", u32),
        ("instances", u64),  # user pointer to width * num_placements drm_xe_engine_class_instance
        ("reserved", u64 * 2),
    )
    _about_ = {
        "extensions": _extensions(QUEUE_EXTENSION, QUEUE_PROPERTY),
        "vm_id": Id("vm"),
        "flags": flags("DRM_XE_EXEC_QUEUE_"),
        "exec_queue_id": Id("queue", made=True),
        "instances": array(drm_xe_engine_class_instance, lambda arg: arg.width * arg.num_placements),
    }


class drm_xe_exec_queue_destroy(Structure):
    """Argument of DRM_IOCTL_XE_EXEC_QUEUE_DESTROY."""

    __slots__ = ()
    _fields_ = (
        ("exec_queue_id", u32),
        ("pad", u32),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "exec_queue_id": Id("queue"),
    }


DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN = 0


class drm_xe_exec_queue_get_property(Structure):
    """Argument of DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY; value is written."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("exec_queue_id", u32),
        ("property", u32),
        ("value", u64),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "exec_queue_id": Id("queue"),
        "property": values("DRM_XE_EXEC_QUEUE_GET_PROPERTY_"),
    }


DRM_XE_SYNC_TYPE_SYNCOBJ = 0x0
DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ = 0x1
DRM_XE_SYNC_TYPE_USER_FENCE = 0x2
DRM_XE_SYNC_FLAG_SIGNAL = 1 << 0


class _drm_xe_sync_union(Union):
    __slots__ = ()
    _fields_ = (
        ("handle", u32),
        ("addr", u64),
    )


class drm_xe_sync(Structure):
    """A fence to wait for, or to signal; addr is a GPU address in EXEC, a CPU address in VM_BIND."""

    __slots__ = ()
    _anonymous_ = ("_handle",)
    _fields_ = (
        ("extensions", u64),
        ("type", u32),
        ("flags", u32),
        ("_handle", _drm_xe_sync_union),
        ("timeline_value", u64),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "type": values("DRM_XE_SYNC_TYPE_"),
        "flags": flags("DRM_XE_SYNC_FLAG_"),
        "_handle": Selected(lambda sync: "addr" if sync.type == DRM_XE_SYNC_TYPE_USER_FENCE else "handle"),
        "handle": Id("syncobj"),
    }


DRM_XE_MAX_SYNCS = 1024


class drm_xe_exec(Structure):
    """Argument of DRM_IOCTL_XE_EXEC: one batch address in place, or a pointer to num_batch_buffer u64."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("exec_queue_id", u32),
        ("num_syncs", u32),
        ("syncs", u64),  # user pointer to num_syncs drm_xe_sync
        ("address", u64),
        ("num_batch_buffer", u16),
        ("pad", u16 * 3),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "exec_queue_id": Id("queue"),
        "syncs": SYNCS,
        "address": array(u64, lambda arg: arg.num_batch_buffer if arg.num_batch_buffer > 1 else 0),
    }


DRM_XE_UFENCE_WAIT_OP_EQ = 0x0
DRM_XE_UFENCE_WAIT_OP_NEQ = 0x1
DRM_XE_UFENCE_WAIT_OP_GT = 0x2
DRM_XE_UFENCE_WAIT_OP_GTE = 0x3
DRM_XE_UFENCE_WAIT_OP_LT = 0x4
DRM_XE_UFENCE_WAIT_OP_LTE = 0x5
DRM_XE_UFENCE_WAIT_FLAG_ABSTIME = 1 << 0


class drm_xe_wait_user_fence(Structure):
    """Argument of DRM_IOCTL_XE_WAIT_USER_FENCE: waits until (*addr & mask) op (value & mask)."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("addr", u64),  # CPU address, multiple of 8
        ("op", u16),
        ("flags", u16),
        ("pad", u32),
        ("value", u64),
        ("mask", u64),
        ("timeout", s64),  # ns; relative: time left is written back; negative: no timeout
        ("exec_queue_id", u32),
        ("pad2", u32),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "addr": one(u64),
        "op": values("DRM_XE_UFENCE_WAIT_OP_"),
        "flags": flags("DRM_XE_UFENCE_WAIT_FLAG_"),
        "exec_queue_id": Id("queue"),
    }


# enum drm_xe_observation_type
DRM_XE_OBSERVATION_TYPE_OA = 0
DRM_XE_OBSERVATION_TYPE_EU_STALL = 1

# enum drm_xe_observation_op
DRM_XE_OBSERVATION_OP_STREAM_OPEN = 0
DRM_XE_OBSERVATION_OP_ADD_CONFIG = 1
DRM_XE_OBSERVATION_OP_REMOVE_CONFIG = 2


_OBSERVATION_PARAMS: dict[int, Callable[[], type[Any]]] = {
    DRM_XE_OBSERVATION_OP_ADD_CONFIG: lambda: drm_xe_oa_config,
    DRM_XE_OBSERVATION_OP_REMOVE_CONFIG: lambda: u64,
}


def _observation_param(arg: Any) -> type[Any] | None:
    """Target of param, except for the extensions of a stream."""
    return _OBSERVATION_PARAMS.get(arg.observation_op, lambda: None)()


def _stream_extensions(arg: Any) -> Mapping[str, Family] | None:
    """Kind of the extensions at param, if the operation opens a stream."""
    if arg.observation_op != DRM_XE_OBSERVATION_OP_STREAM_OPEN:
        return None
    return {
        DRM_XE_OBSERVATION_TYPE_OA: OA_EXTENSIONS,
        DRM_XE_OBSERVATION_TYPE_EU_STALL: EU_STALL_EXTENSIONS,
    }.get(arg.observation_type)


class drm_xe_observation_param(Structure):
    """Argument of DRM_IOCTL_XE_OBSERVATION; param points to what the operation needs."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("observation_type", u64),
        ("observation_op", u64),
        ("param", u64),
    )
    _about_ = {
        "observation_type": values("DRM_XE_OBSERVATION_TYPE_"),
        "observation_op": values("DRM_XE_OBSERVATION_OP_"),
        "param": (
            Chain(_stream_extensions, drm_xe_ext_set_property, "base.next_extension"),
            Pointer(
                lambda arg: ctypes.sizeof(_observation_param(arg) or char * 0),
                _observation_param,
                single=True,
            ),
        ),
    }


# enum drm_xe_oa_unit_type
DRM_XE_OA_UNIT_TYPE_OAG = 0
DRM_XE_OA_UNIT_TYPE_OAM = 1
DRM_XE_OA_UNIT_TYPE_OAM_SAG = 2
DRM_XE_OA_UNIT_TYPE_MERT = 3

DRM_XE_OA_CAPS_BASE = 1 << 0
DRM_XE_OA_CAPS_SYNCS = 1 << 1
DRM_XE_OA_CAPS_OA_BUFFER_SIZE = 1 << 2
DRM_XE_OA_CAPS_WAIT_NUM_REPORTS = 1 << 3
DRM_XE_OA_CAPS_OAM = 1 << 4
DRM_XE_OA_CAPS_OA_UNIT_GT_ID = 1 << 5


class drm_xe_oa_unit(Structure):
    """Element of the reply to DRM_XE_DEVICE_QUERY_OA_UNITS; the next one follows eci at once."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("oa_unit_id", u32),
        ("oa_unit_type", u32),
        ("capabilities", u64),
        ("oa_timestamp_freq", u64),  # Hz
        ("gt_id", u16),
        ("reserved1", u16 * 3),
        ("reserved", u64 * 3),
        ("num_engines", u64),
        ("eci", drm_xe_engine_class_instance * 0),
    )
    _about_ = {
        "oa_unit_type": values("DRM_XE_OA_UNIT_TYPE_"),
        "capabilities": flags("DRM_XE_OA_CAPS_"),
        "eci": Flexible("num_engines"),
    }


class drm_xe_query_oa_units(Structure):
    """Reply to DRM_XE_DEVICE_QUERY_OA_UNITS: drm_xe_oa_unit elements of different sizes."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("num_oa_units", u32),
        ("pad", u32),
        ("oa_units", u64 * 0),
    )
    _about_ = {
        "oa_units": Flexible(rows=drm_xe_oa_unit),
    }


# enum drm_xe_oa_format_type
DRM_XE_OA_FMT_TYPE_OAG = 0
DRM_XE_OA_FMT_TYPE_OAR = 1
DRM_XE_OA_FMT_TYPE_OAM = 2
DRM_XE_OA_FMT_TYPE_OAC = 3
DRM_XE_OA_FMT_TYPE_OAM_MPEC = 4
DRM_XE_OA_FMT_TYPE_PEC = 5

# enum drm_xe_oa_property_id
DRM_XE_OA_PROPERTY_OA_UNIT_ID = 1
DRM_XE_OA_PROPERTY_SAMPLE_OA = 2
DRM_XE_OA_PROPERTY_OA_METRIC_SET = 3
DRM_XE_OA_PROPERTY_OA_FORMAT = 4
DRM_XE_OA_PROPERTY_OA_PERIOD_EXPONENT = 5
DRM_XE_OA_PROPERTY_OA_DISABLED = 6
DRM_XE_OA_PROPERTY_EXEC_QUEUE_ID = 7
DRM_XE_OA_PROPERTY_OA_ENGINE_INSTANCE = 8
DRM_XE_OA_PROPERTY_NO_PREEMPT = 9
DRM_XE_OA_PROPERTY_NUM_SYNCS = 10
DRM_XE_OA_PROPERTY_SYNCS = 11
DRM_XE_OA_PROPERTY_OA_BUFFER_SIZE = 12
DRM_XE_OA_PROPERTY_WAIT_NUM_REPORTS = 13
DRM_XE_OA_EXTENSION_SET_PROPERTY = 0
DRM_XE_OA_FORMAT_MASK_FMT_TYPE = 0xFF << 0
DRM_XE_OA_FORMAT_MASK_COUNTER_SEL = 0xFF << 8
DRM_XE_OA_FORMAT_MASK_COUNTER_SIZE = 0xFF << 16
DRM_XE_OA_FORMAT_MASK_BC_REPORT = 0xFF << 24

OA_EXTENSION = values("DRM_XE_OA_EXTENSION_")
OA_PROPERTY = values("DRM_XE_OA_PROPERTY_")
OA_EXTENSIONS: dict[str, Family] = {"name": OA_EXTENSION, "property": OA_PROPERTY}
OA_FORMAT = flags("DRM_XE_OA_FORMAT_MASK_")  # value of PROPERTY_OA_FORMAT
OA_FORMAT_TYPE = values("DRM_XE_OA_FMT_TYPE_")


class drm_xe_oa_config(Structure):
    """Argument of DRM_XE_OBSERVATION_OP_ADD_CONFIG."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("uuid", char * 36),
        ("n_regs", u32),
        ("regs_ptr", u64),  # user pointer to n_regs pairs of u32, address and value
    )


DRM_XE_OASTATUS_MMIO_TRG_Q_FULL = 1 << 3
DRM_XE_OASTATUS_COUNTER_OVERFLOW = 1 << 2
DRM_XE_OASTATUS_BUFFER_OVERFLOW = 1 << 1
DRM_XE_OASTATUS_REPORT_LOST = 1 << 0


class drm_xe_oa_stream_status(Structure):
    """Argument of DRM_XE_OBSERVATION_IOCTL_STATUS; written."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("oa_status", u64),
        ("reserved", u64 * 3),
    )
    _about_ = {
        "oa_status": flags("DRM_XE_OASTATUS_"),
    }


class drm_xe_oa_stream_info(Structure):
    """Argument of DRM_XE_OBSERVATION_IOCTL_INFO; written."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("oa_buf_size", u64),  # bytes
        ("reserved", u64 * 3),
    )


# enum drm_xe_pxp_session_type
DRM_XE_PXP_TYPE_NONE = 0
DRM_XE_PXP_TYPE_HWDRM = 1
PXP_TYPE = values("DRM_XE_PXP_TYPE_")  # value of SET_PROPERTY_PXP_TYPE

DRM_XE_PXP_HWDRM_DEFAULT_SESSION = 0xF
# enum drm_xe_eu_stall_property_id
DRM_XE_EU_STALL_PROP_GT_ID = 1
DRM_XE_EU_STALL_PROP_SAMPLE_RATE = 2
DRM_XE_EU_STALL_PROP_WAIT_NUM_REPORTS = 3
DRM_XE_EU_STALL_EXTENSION_SET_PROPERTY = 0

EU_STALL_EXTENSION = values("DRM_XE_EU_STALL_EXTENSION_")
EU_STALL_PROPERTY = values("DRM_XE_EU_STALL_PROP_")
EU_STALL_EXTENSIONS: dict[str, Family] = {"name": EU_STALL_EXTENSION, "property": EU_STALL_PROPERTY}

DRM_XE_EU_STALL_CAPS_BASE = 1 << 0


class drm_xe_query_eu_stall(Structure):
    """Reply to DRM_XE_DEVICE_QUERY_EU_STALL."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("capabilities", u64),
        ("record_size", u64),  # bytes
        ("per_xecore_buf_size", u64),  # bytes
        ("reserved", u64 * 5),
        ("num_sampling_rates", u64),
        ("sampling_rates", u64 * 0),  # GPU clock cycles, ascending
    )
    _about_ = {
        "capabilities": flags("DRM_XE_EU_STALL_CAPS_"),
        "sampling_rates": Flexible("num_sampling_rates"),
    }


DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC = 0
DRM_XE_MEM_RANGE_ATTR_ATOMIC = 1
DRM_XE_MEM_RANGE_ATTR_PAT = 2
DRM_XE_VMA_ATTR_PURGEABLE_STATE = 3
DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE = 0
DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM = -1
DRM_XE_MIGRATE_ALL_PAGES = 0
DRM_XE_MIGRATE_ONLY_SYSTEM_PAGES = 1
DRM_XE_ATOMIC_UNDEFINED = 0
DRM_XE_ATOMIC_DEVICE = 1
DRM_XE_ATOMIC_GLOBAL = 2
DRM_XE_ATOMIC_CPU = 3
DRM_XE_VMA_PURGEABLE_STATE_WILLNEED = 0
DRM_XE_VMA_PURGEABLE_STATE_DONTNEED = 1

PREFERRED_LOC = or_number("DRM_XE_PREFERRED_LOC_")
MIGRATE = values("DRM_XE_MIGRATE_")
ATOMIC = values("DRM_XE_ATOMIC_")


class _drm_xe_madvise_preferred_mem_loc(Structure):
    __slots__ = ()
    _fields_ = (
        ("devmem_fd", u32),  # a DRM fd or DRM_XE_PREFERRED_LOC_DEFAULT_*
        ("migration_policy", u16),
        ("region_instance", u16),
        ("reserved", u64),
    )
    _about_ = {
        "devmem_fd": PREFERRED_LOC,
        "migration_policy": MIGRATE,
    }


class _drm_xe_madvise_atomic(Structure):
    __slots__ = ()
    _fields_ = (
        ("val", u32),
        ("pad", u32),
        ("reserved", u64),
    )
    _about_ = {
        "val": ATOMIC,
    }


class _drm_xe_madvise_pat_index(Structure):
    __slots__ = ()
    _fields_ = (
        ("val", u32),
        ("pad", u32),
        ("reserved", u64),
    )


class _drm_xe_madvise_purge_state_val(Structure):
    __slots__ = ()
    _fields_ = (
        ("val", u32),
        ("pad", u32),
        ("retained_ptr", u64),  # user pointer to a u32, 0 before, 1 after if the pages exist
    )
    _about_ = {
        "val": values("DRM_XE_VMA_PURGEABLE_STATE_"),
    }


class _drm_xe_madvise_union(Union):
    __slots__ = ()
    _fields_ = (
        ("preferred_mem_loc", _drm_xe_madvise_preferred_mem_loc),
        ("atomic", _drm_xe_madvise_atomic),
        ("pat_index", _drm_xe_madvise_pat_index),
        ("purge_state_val", _drm_xe_madvise_purge_state_val),
    )


class drm_xe_madvise(Structure):
    """Argument of DRM_IOCTL_XE_MADVISE; type says which member of the union is read."""

    __slots__ = ()
    _anonymous_ = ("_preferred_mem_loc",)
    _fields_ = (
        ("extensions", u64),
        ("start", u64),  # GPU virtual address
        ("range", u64),  # bytes
        ("vm_id", u32),
        ("type", u32),
        ("_preferred_mem_loc", _drm_xe_madvise_union),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "vm_id": Id("vm"),
        "type": values("DRM_XE_MEM_RANGE_ATTR_", "DRM_XE_VMA_ATTR_"),
        "_preferred_mem_loc": Selected(
            lambda advice: {
                DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC: "preferred_mem_loc",
                DRM_XE_MEM_RANGE_ATTR_ATOMIC: "atomic",
                DRM_XE_MEM_RANGE_ATTR_PAT: "pat_index",
                DRM_XE_VMA_ATTR_PURGEABLE_STATE: "purge_state_val",
            }.get(advice.type)
        ),
        "purge_state_val.retained_ptr": one(
            u32, lambda arg: bool(arg.type == DRM_XE_VMA_ATTR_PURGEABLE_STATE)
        ),
    }


class _drm_xe_mem_range_attr_preferred_mem_loc(Structure):
    __slots__ = ()
    _fields_ = (
        ("devmem_fd", u32),
        ("migration_policy", u32),
    )
    _about_ = {
        "devmem_fd": PREFERRED_LOC,
        "migration_policy": MIGRATE,
    }


class _drm_xe_mem_range_attr_atomic(Structure):
    __slots__ = ()
    _fields_ = (
        ("val", u32),
        ("reserved", u32),
    )
    _about_ = {
        "val": ATOMIC,
    }


class _drm_xe_mem_range_attr_pat_index(Structure):
    __slots__ = ()
    _fields_ = (
        ("val", u32),
        ("reserved", u32),
    )


class drm_xe_mem_range_attr(Structure):
    """One element of the reply to DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS: the attributes of [start, end)."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("start", u64),
        ("end", u64),
        ("preferred_mem_loc", _drm_xe_mem_range_attr_preferred_mem_loc),
        ("atomic", _drm_xe_mem_range_attr_atomic),
        ("pat_index", _drm_xe_mem_range_attr_pat_index),
        ("reserved", u64 * 2),
    )


class drm_xe_vm_query_mem_range_attr(Structure):
    """Argument of DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS: num_mem_ranges 0 asks for the number."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("vm_id", u32),
        ("num_mem_ranges", u32),
        ("start", u64),  # GPU virtual address
        ("range", u64),  # bytes
        ("sizeof_mem_range_attr", u64),  # bytes an element
        ("vector_of_mem_attr", u64),  # user pointer to num_mem_ranges elements
        ("reserved", u64 * 2),
    )
    _about_ = {
        "vm_id": Id("vm"),
        "vector_of_mem_attr": Pointer(
            lambda arg: arg.num_mem_ranges * arg.sizeof_mem_range_attr,
            lambda _: drm_xe_mem_range_attr,
            before=False,
            after=True,
        ),
    }


class drm_xe_exec_queue_set_property(Structure):
    """Argument of DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY."""

    __slots__ = ()
    _fields_ = (
        ("extensions", u64),
        ("exec_queue_id", u32),
        ("property", u32),
        ("value", u64),
        ("reserved", u64 * 2),
    )
    _about_ = {
        "exec_queue_id": Id("queue"),
        "property": QUEUE_PROPERTY,
    }


# enum drm_xe_ras_error_severity
DRM_XE_RAS_ERR_SEV_CORRECTABLE = 0
DRM_XE_RAS_ERR_SEV_UNCORRECTABLE = 1
DRM_XE_RAS_ERR_SEV_MAX = 2  # end mark, not ABI

# enum drm_xe_ras_error_component
DRM_XE_RAS_ERR_COMP_CORE_COMPUTE = 1
DRM_XE_RAS_ERR_COMP_SOC_INTERNAL = 2
DRM_XE_RAS_ERR_COMP_DEVICE_MEMORY = 3
DRM_XE_RAS_ERR_COMP_PCIE = 4
DRM_XE_RAS_ERR_COMP_FABRIC = 5
DRM_XE_RAS_ERR_COMP_MAX = 6  # end mark, not ABI

RAS_SEVERITY = values("DRM_XE_RAS_ERR_SEV_")  # of an error counter over netlink
RAS_COMPONENT = values("DRM_XE_RAS_ERR_COMP_")

DRM_XE_RAS_ERROR_SEVERITY_NAMES = {
    DRM_XE_RAS_ERR_SEV_CORRECTABLE: "correctable-errors",
    DRM_XE_RAS_ERR_SEV_UNCORRECTABLE: "uncorrectable-errors",
}
DRM_XE_RAS_ERROR_COMPONENT_NAMES = {
    DRM_XE_RAS_ERR_COMP_CORE_COMPUTE: "core-compute",
    DRM_XE_RAS_ERR_COMP_SOC_INTERNAL: "soc-internal",
    DRM_XE_RAS_ERR_COMP_DEVICE_MEMORY: "device-memory",
    DRM_XE_RAS_ERR_COMP_PCIE: "pcie",
    DRM_XE_RAS_ERR_COMP_FABRIC: "fabric",
}

DRM_IOCTL_XE_DEVICE_QUERY = drm.DRM_IOWR(
    "DRM_IOCTL_XE_DEVICE_QUERY", drm.DRM_COMMAND_BASE + DRM_XE_DEVICE_QUERY, drm_xe_device_query, "<=6.12"
)
DRM_IOCTL_XE_GEM_CREATE = drm.DRM_IOWR(
    "DRM_IOCTL_XE_GEM_CREATE", drm.DRM_COMMAND_BASE + DRM_XE_GEM_CREATE, drm_xe_gem_create, "<=6.12"
)
DRM_IOCTL_XE_GEM_MMAP_OFFSET = drm.DRM_IOWR(
    "DRM_IOCTL_XE_GEM_MMAP_OFFSET",
    drm.DRM_COMMAND_BASE + DRM_XE_GEM_MMAP_OFFSET,
    drm_xe_gem_mmap_offset,
    "<=6.12",
)
DRM_IOCTL_XE_VM_CREATE = drm.DRM_IOWR(
    "DRM_IOCTL_XE_VM_CREATE", drm.DRM_COMMAND_BASE + DRM_XE_VM_CREATE, drm_xe_vm_create, "<=6.12"
)
DRM_IOCTL_XE_VM_DESTROY = drm.DRM_IOW(
    "DRM_IOCTL_XE_VM_DESTROY", drm.DRM_COMMAND_BASE + DRM_XE_VM_DESTROY, drm_xe_vm_destroy, "<=6.12"
)
DRM_IOCTL_XE_VM_BIND = drm.DRM_IOW(
    "DRM_IOCTL_XE_VM_BIND", drm.DRM_COMMAND_BASE + DRM_XE_VM_BIND, drm_xe_vm_bind, "<=6.12"
)
DRM_IOCTL_XE_EXEC_QUEUE_CREATE = drm.DRM_IOWR(
    "DRM_IOCTL_XE_EXEC_QUEUE_CREATE",
    drm.DRM_COMMAND_BASE + DRM_XE_EXEC_QUEUE_CREATE,
    drm_xe_exec_queue_create,
    "<=6.12",
)
DRM_IOCTL_XE_EXEC_QUEUE_DESTROY = drm.DRM_IOW(
    "DRM_IOCTL_XE_EXEC_QUEUE_DESTROY",
    drm.DRM_COMMAND_BASE + DRM_XE_EXEC_QUEUE_DESTROY,
    drm_xe_exec_queue_destroy,
    "<=6.12",
)
DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY = drm.DRM_IOWR(
    "DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY",
    drm.DRM_COMMAND_BASE + DRM_XE_EXEC_QUEUE_GET_PROPERTY,
    drm_xe_exec_queue_get_property,
    "<=6.12",
)
DRM_IOCTL_XE_EXEC = drm.DRM_IOW(
    "DRM_IOCTL_XE_EXEC", drm.DRM_COMMAND_BASE + DRM_XE_EXEC, drm_xe_exec, "<=6.12"
)
DRM_IOCTL_XE_WAIT_USER_FENCE = drm.DRM_IOWR(
    "DRM_IOCTL_XE_WAIT_USER_FENCE",
    drm.DRM_COMMAND_BASE + DRM_XE_WAIT_USER_FENCE,
    drm_xe_wait_user_fence,
    "<=6.12",
)
DRM_IOCTL_XE_OBSERVATION = drm.DRM_IOW(
    "DRM_IOCTL_XE_OBSERVATION", drm.DRM_COMMAND_BASE + DRM_XE_OBSERVATION, drm_xe_observation_param, "<=6.12"
)
DRM_IOCTL_XE_MADVISE = drm.DRM_IOW(
    "DRM_IOCTL_XE_MADVISE", drm.DRM_COMMAND_BASE + DRM_XE_MADVISE, drm_xe_madvise, "6.18"
)
DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS = drm.DRM_IOWR(
    "DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS",
    drm.DRM_COMMAND_BASE + DRM_XE_VM_QUERY_MEM_RANGE_ATTRS,
    drm_xe_vm_query_mem_range_attr,
    "6.18",
)
DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY = drm.DRM_IOW(
    "DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY",
    drm.DRM_COMMAND_BASE + DRM_XE_EXEC_QUEUE_SET_PROPERTY,
    drm_xe_exec_queue_set_property,
    "7.0",
)
DRM_IOCTL_XE_VM_GET_PROPERTY = drm.DRM_IOWR(
    "DRM_IOCTL_XE_VM_GET_PROPERTY",
    drm.DRM_COMMAND_BASE + DRM_XE_VM_GET_PROPERTY,
    drm_xe_vm_get_property,
    "7.1",
)

# Requests on the file descriptor of an observation stream. Their numbers carry neither direction nor size;
# the last three still take a structure, CONFIG the first of a chain of extensions.
DRM_XE_OBSERVATION_IOCTL_ENABLE = Request(
    "DRM_XE_OBSERVATION_IOCTL_ENABLE", Direction.NONE, "i", 0x0, None, "<=6.12"
)
DRM_XE_OBSERVATION_IOCTL_DISABLE = Request(
    "DRM_XE_OBSERVATION_IOCTL_DISABLE", Direction.NONE, "i", 0x1, None, "<=6.12"
)
DRM_XE_OBSERVATION_IOCTL_CONFIG = Request(
    "DRM_XE_OBSERVATION_IOCTL_CONFIG", Direction.NONE, "i", 0x2, drm_xe_ext_set_property, "<=6.12"
)
DRM_XE_OBSERVATION_IOCTL_STATUS = Request(
    "DRM_XE_OBSERVATION_IOCTL_STATUS", Direction.NONE, "i", 0x3, drm_xe_oa_stream_status, "<=6.12"
)
DRM_XE_OBSERVATION_IOCTL_INFO = Request(
    "DRM_XE_OBSERVATION_IOCTL_INFO", Direction.NONE, "i", 0x4, drm_xe_oa_stream_info, "<=6.12"
)

REQUESTS = tuple(value for value in dict(globals()).values() if isinstance(value, Request))
