# SPDX-License-Identifier: MIT
"""DEVICE_QUERY: contents by platform, the size protocol, errors."""

from __future__ import annotations

import ctypes
import errno
import struct
import time
from typing import Any

import pytest

from ioctl import names, xe
from tests.mock.driver.double import Client, Services, Task, fields

REQUEST = xe.DRM_IOCTL_XE_DEVICE_QUERY
REPLIES = (0, 1, 2, 3, 4, 5, 6, 7, 8)
GONE = (9, 10)


def query(client: Client, number: int, **values: Any) -> bytes:
    arg = xe.drm_xe_device_query(query=number)
    client.call(REQUEST, arg)
    data = values.pop("data", bytes(arg.size))
    arg.data = client.put(data.ljust(arg.size, b"\0"))
    client.call(REQUEST, arg)
    return client.mm.read(arg.data, arg.size)


def config(client: Client) -> tuple[int, ...]:
    return struct.unpack_from("<5Q", query(client, xe.DRM_XE_DEVICE_QUERY_CONFIG), 8)


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("platform", ["lnl", "bmg", "pvc"])
def test_size_protocol(open_client: Any, platform: str, number: int) -> None:
    client = open_client(platform)
    arg = xe.drm_xe_device_query(query=number)
    client.call(REQUEST, arg)
    size = arg.size
    for wrong in (1, size - 1, size + 1, 0xFFFFFFFF):
        arg = xe.drm_xe_device_query(query=number, size=wrong, data=client.put(bytes(8)))
        assert client.refused(REQUEST, arg) == errno.EINVAL
    assert len(query(client, number)) == size


@pytest.mark.parametrize(
    "values",
    [
        {"extensions": 1},
        {"reserved": [1, 0]},
        {"reserved": [0, 1]},
        {"query": max(names.known(xe.drm_xe_device_query, "query")) + 1},
        {"query": 0xFFFFFFFF},
    ],
)
def test_bad_argument_is_einval(client: Client, values: dict[str, Any]) -> None:
    assert client.refused(REQUEST, fields(xe.drm_xe_device_query, **values)) == errno.EINVAL


@pytest.mark.parametrize("number", sorted(names.known(xe.drm_xe_device_query, "query")))
def test_every_query_of_the_header_is_answered(client: Client, number: int) -> None:
    arg = xe.drm_xe_device_query(query=number)
    answer = errno.ENODEV if number == xe.DRM_XE_DEVICE_QUERY_EU_STALL else None
    assert client.refused(REQUEST, arg) == answer


def test_query_of_a_later_kernel_is_einval(open_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = names.known
    new = xe.DRM_XE_DEVICE_QUERY_CONFIG

    def recorded(struct: Any, name: str, kernel: str = "", request: Any = None) -> frozenset[int]:
        return known(struct, name, kernel, request) - ({new} if kernel == "7.2" else set())

    monkeypatch.setattr(names, "known", recorded)
    answers = [
        open_client("lnl", level).refused(REQUEST, xe.drm_xe_device_query(query=new))
        for level in ("7.2", "7.3")
    ]
    assert answers == [errno.EINVAL, None]


def test_reply_that_cannot_be_written_is_efault_but_enospc_for_regions(client: Client) -> None:
    for number in (0, 1, 2, 3, 4, 5, 6, 7, 8):
        arg = xe.drm_xe_device_query(query=number)
        client.call(REQUEST, arg)
        arg.data = 8
        expected = errno.ENOSPC if number == xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS else errno.EFAULT
        assert client.refused(REQUEST, arg) == expected, number


def test_what_the_device_lacks_is_enodev(client: Client) -> None:
    pxp = xe.drm_xe_device_query(query=xe.DRM_XE_DEVICE_QUERY_PXP_STATUS)
    client.call(REQUEST, pxp)
    pxp.data = client.put(bytes(pxp.size))
    assert client.refused(REQUEST, pxp) == errno.ENODEV
    stall = xe.drm_xe_device_query(query=xe.DRM_XE_DEVICE_QUERY_EU_STALL)
    assert client.refused(REQUEST, stall) == errno.ENODEV


def test_config_by_platform(open_client: Any) -> None:
    lnl, bmg, pvc = (config(open_client(name)) for name in ("lnl", "bmg", "pvc"))
    assert (lnl[0] & 0xFFFF, bmg[0] & 0xFFFF) == (0x64A0, 0xE20B)
    assert not lnl[1] & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM
    assert bmg[1] & pvc[1] & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM
    assert lnl[1] & bmg[1] & pvc[1] & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR
    assert [values[2] for values in (lnl, bmg, pvc)] == [4096, 4096, 65536]
    assert [values[3] for values in (lnl, bmg, pvc)] == [48, 48, 57]


def test_config_flags_come_with_their_kernels(open_client: Any) -> None:
    flags = [config(open_client("bmg", level))[1] for level in ("6.18", "7.0", "7.1")]
    hint = xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_NO_COMPRESSION_HINT
    purging = xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_PURGING_SUPPORT
    assert [bool(value & hint) for value in flags] == [False, True, True]
    assert [bool(value & purging) for value in flags] == [False, False, True]


def test_priority_depends_on_the_caller(client: Client, services: Services) -> None:
    assert config(client)[4] == 2
    plain = Client(client.driver, services, task=Task(capabilities=set()))
    assert config(plain)[4] == 1


def test_engines_and_gts(open_client: Any) -> None:
    for platform, tiles in (("lnl", 1), ("bmg", 1), ("pvc", 2)):
        client = open_client(platform)
        gts = query(client, xe.DRM_XE_DEVICE_QUERY_GT_LIST)
        count = struct.unpack_from("<I", gts)[0]
        ids = {
            xe.drm_xe_gt.from_buffer_copy(gts, 8 + i * ctypes.sizeof(xe.drm_xe_gt)).gt_id
            for i in range(count)
        }
        engines = query(client, xe.DRM_XE_DEVICE_QUERY_ENGINES)
        total = struct.unpack_from("<I", engines)[0]
        assert len(engines) == 8 + total * 32
        found = [struct.unpack_from("<3H", engines, 8 + 32 * i) for i in range(total)]
        assert len(set(found)) == total
        assert {gt for _, _, gt in found} == ids
        tile_ids = {
            xe.drm_xe_gt.from_buffer_copy(gts, 8 + i * ctypes.sizeof(xe.drm_xe_gt)).tile_id
            for i in range(count)
        }
        assert tile_ids == set(range(tiles))


def test_memory_regions_follow_allocations(client: Client) -> None:
    def used() -> list[tuple[int, int]]:
        data = query(client, xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS)
        size = ctypes.sizeof(xe.drm_xe_mem_region)
        count = struct.unpack_from("<I", data)[0]
        regions = [xe.drm_xe_mem_region.from_buffer_copy(data, 8 + size * i) for i in range(count)]
        assert [(region.mem_class, region.instance) for region in regions] == [(0, 0), (1, 1)]
        assert regions[1].cpu_visible_size == regions[1].total_size
        return [(region.used, region.cpu_visible_used) for region in regions]

    before = used()
    for placement, caching, region in ((1, 1, 0), (2, 2, 1)):
        arg = xe.drm_xe_gem_create(size=1 << 20, placement=placement, cpu_caching=caching)
        client.call(xe.DRM_IOCTL_XE_GEM_CREATE, arg)
        assert used()[region][0] == before[region][0] + (1 << 20)


def test_engine_cycles_correlate_with_the_clock(client: Client) -> None:
    kind = xe.drm_xe_query_engine_cycles
    readings = []
    for _ in range(2):
        request = kind(clockid=time.CLOCK_MONOTONIC)
        request.eci.engine_class = 1
        reply = kind.from_buffer_copy(
            query(client, xe.DRM_XE_DEVICE_QUERY_ENGINE_CYCLES, data=bytes(request))
        )
        assert reply.width == 64
        readings.append((reply.engine_cycles, reply.cpu_timestamp))
    assert readings[1][0] > readings[0][0]
    assert readings[1][1] > readings[0][1]


@pytest.mark.parametrize(
    "values", [{"clockid": 2}, {"engine_class": 5}, {"engine_class": 9}, {"engine_instance": 7}, {"gt_id": 3}]
)
def test_engine_cycles_of_nothing_are_einval(client: Client, values: dict[str, int]) -> None:
    request = xe.drm_xe_query_engine_cycles(clockid=values.pop("clockid", 1))
    for name, value in values.items():
        setattr(request.eci, name, value)
    arg = xe.drm_xe_device_query(query=6, size=ctypes.sizeof(request), data=client.put(request))
    assert client.refused(REQUEST, arg) == errno.EINVAL


def test_firmware_versions(open_client: Any) -> None:
    kind = xe.drm_xe_query_uc_fw_version
    client, pvc = open_client(), open_client("pvc")
    for uc in (0, 1):
        reply = kind.from_buffer_copy(query(client, 7, data=bytes(kind(uc_type=uc))))
        assert reply.major_ver > 0
    for bad, where, expected in (
        (kind(uc_type=2), client, errno.EINVAL),
        (kind(pad=1), client, errno.EINVAL),
        (kind(reserved=1), client, errno.EINVAL),
        (kind(uc_type=1), pvc, errno.ENODEV),
    ):
        arg = xe.drm_xe_device_query(query=7, size=ctypes.sizeof(kind), data=where.put(bad))
        assert where.refused(REQUEST, arg) == expected


def test_topology_is_a_walkable_list(client: Client) -> None:
    data = query(client, xe.DRM_XE_DEVICE_QUERY_GT_TOPOLOGY)
    seen, at = [], 0
    while at < len(data):
        head = xe.drm_xe_query_topology_mask.from_buffer_copy(data, at)
        seen.append((head.gt_id, head.type))
        at += 8 + head.num_bytes
    assert at == len(data)
    assert {gt for gt, _ in seen} == {0, 1}
    assert (0, xe.DRM_XE_TOPO_SIMD16_EU_PER_DSS) in seen
