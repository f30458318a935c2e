# SPDX-License-Identifier: MIT
"""DEVICE_QUERY (xe_query.c)."""

from __future__ import annotations

import ctypes
import errno
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ioctl import xe
from mock.driver.arguments import is_unknown
from mock.driver.lib import user
from mock.driver.lib.errors import Refused, refuse_if
from mock.driver.lib.sizes import SZ_4K
from mock.driver.uapi.queue_ioctl import max_priority

if TYPE_CHECKING:
    from mock.driver.device import Gt
    from mock.driver.uapi.dispatch import Call


def device_query(call: Call, args: Any) -> None:
    """xe_query_ioctl()."""
    refuse_if(args.extensions, errno.EINVAL, "extensions")
    refuse_if(any(args.reserved), errno.EINVAL, "reserved")
    refuse_if(is_unknown(call.device.level, args, "query"), errno.EINVAL, "query")
    _QUERIES[args.query](call, args)


def _sized(args: Any, size: int) -> bool:
    """Size 0 queries the size; any other must match. Returns whether to write data."""
    if args.size == 0:
        args.size = size
        return False
    refuse_if(args.size != size, errno.EINVAL, "size")
    return True


def _reply(make: Callable[[Call], bytes], fault: int = errno.EFAULT) -> Callable[[Call, Any], None]:
    """A query without input. fault: errno if the data cannot be written."""

    def handler(call: Call, args: Any) -> None:
        data = make(call)
        if not _sized(args, len(data)):
            return
        try:
            call.task.mm.write(args.data, data)
        except OSError as error:
            raise Refused(fault, "data") from error

    return handler


def _engines(call: Call) -> bytes:
    engines = [engine for gt in call.device.gts for engine in gt.engines]
    data = bytes(xe.drm_xe_query_engines(num_engines=len(engines)))
    for engine in engines:
        entry = xe.drm_xe_engine()
        entry.instance.engine_class = engine.engine_class
        entry.instance.engine_instance = engine.instance
        entry.instance.gt_id = engine.gt.id
        data += bytes(entry)
    return data


def _mem_regions(call: Call) -> bytes:
    device = call.device
    device.ttm.mappings.collect()
    regions = [
        xe.drm_xe_mem_region(
            mem_class=xe.DRM_XE_MEM_REGION_CLASS_SYSMEM,
            instance=0,
            min_page_size=SZ_4K,
            total_size=device.ttm.system_size,
            used=device.ttm.system_used,
        )
    ]
    for tile in device.tiles:
        if tile.vram is None:
            continue
        # A full BAR: the CPU can access all of VRAM.
        regions.append(
            xe.drm_xe_mem_region(
                mem_class=xe.DRM_XE_MEM_REGION_CLASS_VRAM,
                instance=len(regions),
                min_page_size=device.profile.min_page_size,
                total_size=tile.vram.size,
                used=tile.vram.used,
                cpu_visible_size=tile.vram.size,
                cpu_visible_used=tile.vram.used,
            )
        )
    head = bytes(xe.drm_xe_query_mem_regions(num_mem_regions=len(regions)))
    return head + b"".join(bytes(region) for region in regions)


def _config(call: Call) -> bytes:
    device, profile = call.device, call.device.profile
    flags = xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_LOW_LATENCY
    if profile.has_vram:
        flags |= xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM
    if profile.has_usm and device.kconfig.drm_xe_gpusvm:
        flags |= xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR
    if profile.graphics_version >= 20 and device.has("no-compression"):
        flags |= xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_NO_COMPRESSION_HINT
    if device.has("state-cache-perf-fix"):
        flags |= xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_DISABLE_STATE_CACHE_PERF_FIX
    if device.has("purgeable"):
        flags |= xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_PURGING_SUPPORT
    info = {
        xe.DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID: profile.device_id | profile.revision << 16,
        xe.DRM_XE_QUERY_CONFIG_FLAGS: flags,
        xe.DRM_XE_QUERY_CONFIG_MIN_ALIGNMENT: profile.min_page_size,
        xe.DRM_XE_QUERY_CONFIG_VA_BITS: profile.va_bits,
        xe.DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY: max_priority(call.task),
    }
    head = bytes(xe.drm_xe_query_config(num_params=len(info)))
    return head + struct.pack(f"<{len(info)}Q", *(info[index] for index in range(len(info))))


def _gt_list(call: Call) -> bytes:
    device = call.device
    data = bytes(xe.drm_xe_query_gt_list(num_gt=len(device.gts)))
    for gt in device.gts:
        near = 1 << gt.tile.id + 1 if device.profile.discrete else 1
        major, minor, revision = gt.profile.ip_version
        data += bytes(
            xe.drm_xe_gt(
                type=xe.DRM_XE_QUERY_GT_TYPE_MEDIA if gt.profile.media else xe.DRM_XE_QUERY_GT_TYPE_MAIN,
                tile_id=gt.tile.id,
                gt_id=gt.id,
                reference_clock=gt.profile.reference_clock,
                near_mem_regions=near,
                far_mem_regions=device.mem_region_mask ^ near,
                ip_ver_major=major,
                ip_ver_minor=minor,
                ip_ver_rev=revision,
            )
        )
    return data


# Keys of GuC's hardware configuration table (from a header of the i915 and xe user-mode drivers).
_HWCONFIG_MAX_SLICES = 1
_HWCONFIG_MAX_DUAL_SUBSLICES = 2
_HWCONFIG_MAX_EU_PER_DSS = 3


def _hwconfig(call: Call) -> bytes:
    """Triples of key, length in dwords and value."""
    gt = call.device.tiles[0].primary_gt.profile
    values = {
        _HWCONFIG_MAX_SLICES: 1,
        _HWCONFIG_MAX_DUAL_SUBSLICES: gt.dss,
        _HWCONFIG_MAX_EU_PER_DSS: gt.eu_per_dss,
    }
    return b"".join(struct.pack("<3I", key, 1, value) for key, value in values.items())


_DSS_MASK_BYTES = 16  # XE_MAX_DSS_FUSE_BITS in longs
_EU_MASK_BYTES = 8
_L3_MASK_BYTES = 8


def _topology(call: Call) -> bytes:
    return b"".join(_gt_topology(gt) for gt in call.device.gts)


def _gt_topology(gt: Gt) -> bytes:
    profile = gt.profile
    geometry = 0 if profile.media else (1 << profile.dss) - 1
    eus = 0 if profile.media else (1 << profile.eu_per_dss) - 1
    masks = [
        (xe.DRM_XE_TOPO_DSS_GEOMETRY, geometry, _DSS_MASK_BYTES),
        (xe.DRM_XE_TOPO_DSS_COMPUTE, geometry, _DSS_MASK_BYTES),
    ]
    if profile.report_l3:
        masks.append((xe.DRM_XE_TOPO_L3_BANK, 0 if profile.media else 0xFF, _L3_MASK_BYTES))
    eu_type = xe.DRM_XE_TOPO_SIMD16_EU_PER_DSS if profile.simd16 else xe.DRM_XE_TOPO_EU_PER_DSS
    masks.append((eu_type, eus, _EU_MASK_BYTES))
    data = b""
    for kind, mask, size in masks:
        data += bytes(xe.drm_xe_query_topology_mask(gt_id=gt.id, type=kind, num_bytes=size))
        data += mask.to_bytes(size, "little")
    return data


_CLOCKS = {
    time.CLOCK_REALTIME,
    time.CLOCK_MONOTONIC,
    time.CLOCK_MONOTONIC_RAW,
    time.CLOCK_BOOTTIME,
    time.CLOCK_TAI,
}


def _engine_cycles(call: Call, args: Any) -> None:
    if not _sized(args, ctypes.sizeof(xe.drm_xe_query_engine_cycles)):
        return
    mm, kind = call.task.mm, xe.drm_xe_query_engine_cycles
    reply = user.get(mm, args.data, kind)
    refuse_if(reply.clockid not in _CLOCKS, errno.EINVAL, "clockid")
    cut = call.device.has("engine-cycles-cut-gt-id")  # older levels compare the whole id
    refuse_if(reply.eci.gt_id > 0xFF and not cut, errno.EINVAL, "gt_id")
    gt = call.device.gt(reply.eci.gt_id)
    engine = gt.engine(reply.eci.engine_class, reply.eci.engine_instance) if gt else None
    if gt is None or engine is None:
        raise Refused(errno.EINVAL, "no such engine")
    before = time.monotonic_ns()
    timestamp = time.clock_gettime_ns(reply.clockid)
    width = 64 if call.device.profile.graphics_version >= 20 else 36
    # The GPU uses the machine's clock: ticks of the reference clock since boot.
    cycles = time.monotonic_ns() * gt.profile.reference_clock // 1_000_000_000
    # Only the outputs are written.
    outputs = {
        "cpu_timestamp": timestamp,
        "cpu_delta": time.monotonic_ns() - before,
        "engine_cycles": cycles & ((1 << width) - 1),
        "width": width,
    }
    for name, value in outputs.items():
        field = getattr(kind, name)
        mm.write(args.data + field.offset, value.to_bytes(field.size, "little"))


_GUC_COMPATIBILITY = (1, 28, 1)
_HUC_RELEASE = (8, 2, 10)


def _uc_fw_version(call: Call, args: Any) -> None:
    kind = xe.drm_xe_query_uc_fw_version
    if not _sized(args, ctypes.sizeof(kind)):
        return
    reply = user.get(call.task.mm, args.data, kind)
    refuse_if(reply.pad or reply.pad2 or reply.reserved, errno.EINVAL, "pad or reserved")
    if reply.uc_type == xe.XE_QUERY_UC_TYPE_GUC_SUBMISSION:
        version = _GUC_COMPATIBILITY
    elif reply.uc_type == xe.XE_QUERY_UC_TYPE_HUC:
        refuse_if(not any(gt.profile.media for gt in call.device.gts), errno.ENODEV, "no HuC")
        version = _HUC_RELEASE
    else:
        raise Refused(errno.EINVAL, "uc_type")
    reply.branch_ver = 0
    reply.major_ver, reply.minor_ver, reply.patch_ver = version
    user.put(call.task.mm, args.data, reply)


def _oa_units(call: Call) -> bytes:
    """The observation architecture is not available: no units."""
    return bytes(xe.drm_xe_query_oa_units())


def _pxp_status(call: Call, args: Any) -> None:
    """PXP is disabled, which is reported after the size."""
    if _sized(args, ctypes.sizeof(xe.drm_xe_query_pxp_status)):
        raise Refused(errno.ENODEV, "PXP is not enabled")


def _eu_stall(call: Call, args: Any) -> None:
    raise Refused(errno.ENODEV, "no EU stall sampling")


_QUERIES: dict[int, Callable[[Call, Any], None]] = {
    xe.DRM_XE_DEVICE_QUERY_ENGINES: _reply(_engines),
    # Here the kernel returns another errno if it cannot write the data.
    xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS: _reply(_mem_regions, fault=errno.ENOSPC),
    xe.DRM_XE_DEVICE_QUERY_CONFIG: _reply(_config),
    xe.DRM_XE_DEVICE_QUERY_GT_LIST: _reply(_gt_list),
    xe.DRM_XE_DEVICE_QUERY_HWCONFIG: _reply(_hwconfig),
    xe.DRM_XE_DEVICE_QUERY_GT_TOPOLOGY: _reply(_topology),
    xe.DRM_XE_DEVICE_QUERY_ENGINE_CYCLES: _engine_cycles,
    xe.DRM_XE_DEVICE_QUERY_UC_FW_VERSION: _uc_fw_version,
    xe.DRM_XE_DEVICE_QUERY_OA_UNITS: _reply(_oa_units),
    xe.DRM_XE_DEVICE_QUERY_PXP_STATUS: _pxp_status,
    xe.DRM_XE_DEVICE_QUERY_EU_STALL: _eu_stall,
}
