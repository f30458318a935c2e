# SPDX-License-Identifier: MIT
"""DEVICE_QUERY GT_TOPOLOGY, and what of a reply is to be zero (xe_query.c)."""

from __future__ import annotations

import ctypes

import pytest

from fixtures import acts, behaviour
from fixtures.counting import count
from fixtures.memory import PAGE
from fixtures.xe.device import Device
from ioctl import names, xe

HEAD = ctypes.sizeof(xe.drm_xe_query_topology_mask)
FILLS = (0x00, 0xA5, 0xFF)
"""Contents of a reply's memory before the call: pads that the kernel does not write keep it."""


def reply(device: Device, query: int, fill: int, more: int = 0) -> bytes:
    """The reply to a query in memory with that byte everywhere, and ``more`` bytes behind it."""
    argument = xe.drm_xe_device_query(query=query)
    device.ioctl(xe.DRM_IOCTL_XE_DEVICE_QUERY, argument)
    size = argument.size
    room = (ctypes.c_uint8 * (size + more))(*[fill] * (size + more))
    argument.data = ctypes.addressof(room)
    device.ioctl(xe.DRM_IOCTL_XE_DEVICE_QUERY, argument)
    count("query")
    return bytes(room)


@behaviour("query.topology")
@acts("query")
@pytest.mark.parametrize("fill", FILLS)
def test_topology_masks_fill_reply(device: Device, fill: int) -> None:
    """The reply is a sequence of masks up to its last byte, each once, of an existing GT and type."""
    data = reply(device, xe.DRM_XE_DEVICE_QUERY_GT_TOPOLOGY, fill, more=PAGE)
    data, behind = data[:-PAGE], data[-PAGE:]
    assert set(behind) == {fill}
    gts, types = {gt.gt_id for gt in device.gts}, set(names.members(xe.TOPOLOGY_MASK))
    masks: dict[tuple[int, int], int] = {}
    at = 0
    while at < len(data):
        head = xe.drm_xe_query_topology_mask.from_buffer_copy(data, at)
        at += HEAD + head.num_bytes
        assert at <= len(data)
        assert head.num_bytes
        assert head.gt_id in gts
        assert head.type in types
        assert (head.gt_id, head.type) not in masks
        masks[head.gt_id, head.type] = int.from_bytes(data[at - head.num_bytes : at], "little")
    kinds = {engine.gt_id: set[int]() for engine in device.engines}
    for engine in device.engines:
        kinds[engine.gt_id].add(engine.engine_class)
    for gt, classes in kinds.items():
        eus = masks.get((gt, xe.DRM_XE_TOPO_EU_PER_DSS), 0) | masks.get(
            (gt, xe.DRM_XE_TOPO_SIMD16_EU_PER_DSS), 0
        )
        if xe.DRM_XE_ENGINE_CLASS_COMPUTE in classes:
            assert masks[gt, xe.DRM_XE_TOPO_DSS_COMPUTE]
        if xe.DRM_XE_ENGINE_CLASS_RENDER in classes:
            assert masks[gt, xe.DRM_XE_TOPO_DSS_GEOMETRY]
        if classes & {xe.DRM_XE_ENGINE_CLASS_COMPUTE, xe.DRM_XE_ENGINE_CLASS_RENDER}:
            assert eus
    assert all((gt, xe.DRM_XE_TOPO_DSS_GEOMETRY) in masks for gt in kinds if gt in {g for g, _ in masks})


@behaviour("query.reply-pad-zero")
@acts("query")
@pytest.mark.parametrize("fill", FILLS)
def test_pads_of_replies_are_zero(device: Device, fill: int) -> None:
    """The pads of ENGINES, MEM_REGIONS, CONFIG and GT_LIST are written, as zeros, in each of their elements."""
    for query, header, element in (
        (xe.DRM_XE_DEVICE_QUERY_ENGINES, xe.drm_xe_query_engines, xe.drm_xe_engine),
        (xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS, xe.drm_xe_query_mem_regions, xe.drm_xe_mem_region),
        (xe.DRM_XE_DEVICE_QUERY_CONFIG, xe.drm_xe_query_config, None),
        (xe.DRM_XE_DEVICE_QUERY_GT_LIST, xe.drm_xe_query_gt_list, xe.drm_xe_gt),
    ):
        data = reply(device, query, fill)
        head = header.from_buffer_copy(data)
        assert head.pad == 0, header.__name__
        if element is None:
            continue
        number = ctypes.c_uint32.from_buffer_copy(data).value
        size = ctypes.sizeof(element)
        assert len(data) == ctypes.sizeof(header) + number * size
        for index in range(number):
            part = element.from_buffer_copy(data, ctypes.sizeof(header) + index * size)
            if query == xe.DRM_XE_DEVICE_QUERY_ENGINES:
                assert part.instance.pad == 0
            if query == xe.DRM_XE_DEVICE_QUERY_GT_LIST:
                assert list(part.pad) == [0, 0, 0]
                assert part.pad2 == 0
            assert not any(part.reserved)
