# SPDX-License-Identifier: MIT
"""DEVICE_QUERY with one wrong field (xe_query.c), in its argument and in the input that two of the queries read."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from errno import EFAULT, EINVAL

import pytest

from fixtures import behaviour, known, needs
from fixtures.given import Memory
from fixtures.memory import PAGE, Buffer
from fixtures.negative import Call, Parts, Row, Table, row, some_bits, spare_rows, unknown_values
from fixtures.xe.device import Device
from ioctl import xe
from ioctl.layout import Structure
from suites.negative.values import no_extensions, unreadable, unwritable

CONFIG = xe.DRM_XE_DEVICE_QUERY_CONFIG
CONFIG_SIZE = ctypes.sizeof(xe.drm_xe_query_config) + 5 * 8
CYCLES = ctypes.sizeof(xe.drm_xe_query_engine_cycles)
VERSION = ctypes.sizeof(xe.drm_xe_query_uc_fw_version)


def unknown_queries(call: Call, _: str) -> Iterator[tuple[int, int]]:
    """Queries that do not exist, with size 0, which every query that exists answers."""
    yield from ((query, 0) for query in unknown_values(call, "query"))


DEVICE_QUERY = Table(
    xe.drm_xe_device_query,
    *no_extensions(behaviour("query.extensions-mbz")),
    row(("query", "size"), unknown_queries, EINVAL, behaviour("query.unknown-id")),
    row(
        "size",
        (1, 8, CONFIG_SIZE - 1, CONFIG_SIZE + 1, CONFIG_SIZE + 8, 1 << 31, 0xFFFF_FFFF),
        EINVAL,
        behaviour("query.size-mismatch"),
    ),
    row("data", lambda *_: unwritable(), EFAULT, behaviour("query.bad-data-pointer")),
    *spare_rows(xe.drm_xe_device_query, behaviour("query.reserved-mbz")),
)


@pytest.fixture
def device_query(device: Device, memory: Memory) -> Call:
    """DEVICE_QUERY that reads the configuration."""
    reply = memory(PAGE, fill=b"\xa5")
    return Call(
        device,
        xe.DRM_IOCTL_XE_DEVICE_QUERY,
        lambda: xe.drm_xe_device_query(query=CONFIG, size=CONFIG_SIZE, data=reply.address),
        state=reply.bytes,
        undo=lambda _: reply.fill(b"\xa5"),
    )


@DEVICE_QUERY.rows
def test_device_query_invalid_args(device_query: Call, wrong: Row) -> None:
    """DEVICE_QUERY with one wrong field is refused, and nothing is written to data."""
    wrong.prove(device_query)


def query_of(query: int, place: Buffer, reply: Structure) -> Parts:
    """A query that reads ``reply`` at its data, put at ``place``: with a page of its own around it."""
    place.fill(b"\xa5")
    place.write(0, bytes(reply))
    at = type(reply).from_address(place.address)
    return Parts(xe.drm_xe_device_query(query=query, size=ctypes.sizeof(reply), data=place.address), reply=at)


ENGINE_CYCLES = Table(
    {"reply": xe.drm_xe_query_engine_cycles},
    row(
        "reply.eci.engine_class",
        (xe.DRM_XE_ENGINE_CLASS_VM_BIND, 6, 0xFFFF),
        EINVAL,
        behaviour("query.cycles.args"),
    ),
    row("reply.eci.engine_instance", (63, 0x8000, 0xFFFF), EINVAL, behaviour("query.cycles.args")),
    row("reply.eci.gt_id", (63, 255, 0xFFFF), EINVAL, behaviour("query.cycles.args")),
    row(
        "reply.eci.gt_id",
        (0x100, 0x8000),
        EINVAL,
        behaviour("query.cycles.args"),
        known(
            "A GT id is cut to 8 bits",
            first="7.2",
            signature="reply.eci.gt_id = 0x#: expected EINVAL, but the call succeeded",
            acts=("ioctl",),
        ),
        label="high-byte",
    ),
    row("reply.eci.pad", some_bits, None, behaviour("query.cycles.unchecked")),
    row(
        "reply.clockid",
        (time.CLOCK_PROCESS_CPUTIME_ID, time.CLOCK_THREAD_CPUTIME_ID, 5, 6, 12, 1 << 31, 0xFFFF_FFFF),
        EINVAL,
        behaviour("query.cycles.args"),
    ),
    row("size", (CYCLES - 1, CYCLES + 1, 2 * CYCLES, 0xFFFF_FFFF), EINVAL, behaviour("query.size-mismatch")),
    row("data", lambda *_: unreadable(CYCLES), EFAULT, behaviour("query.cycles.args")),
    elsewhere=("reply.width", "reply.engine_cycles", "reply.cpu_timestamp", "reply.cpu_delta"),
)


@pytest.fixture
def engine_cycles(device: Device, memory: Memory) -> Call:
    """DEVICE_QUERY of the cycles of an engine, by the monotonic clock."""
    engine, place = device.engine(), memory(PAGE)

    def build() -> Parts:
        reply = xe.drm_xe_query_engine_cycles(eci=engine, clockid=time.CLOCK_MONOTONIC)
        return query_of(xe.DRM_XE_DEVICE_QUERY_ENGINE_CYCLES, place, reply)

    return Call(device, xe.DRM_IOCTL_XE_DEVICE_QUERY, build)


@needs("engine-cycles")
@ENGINE_CYCLES.rows
def test_query_engine_cycles_invalid_args(engine_cycles: Call, wrong: Row) -> None:
    """ENGINE_CYCLES with an invalid engine or clock is refused, and nothing is written."""
    wrong.prove(engine_cycles)


UC_FW_VERSION = Table(
    {"reply": xe.drm_xe_query_uc_fw_version},
    row("reply.uc_type", (2, 3, 0x8000, 0xFFFF), EINVAL, behaviour("query.firmware.args")),
    *spare_rows(xe.drm_xe_query_uc_fw_version, behaviour("query.firmware.args"), at="reply"),
    row("data", lambda *_: unwritable(), EFAULT, behaviour("query.firmware.args")),
    elsewhere=("reply.branch_ver", "reply.major_ver", "reply.minor_ver", "reply.patch_ver"),
)


@pytest.fixture
def uc_fw_version(device: Device, memory: Memory) -> Call:
    """DEVICE_QUERY of the version of the firmware that takes submissions."""
    place = memory(PAGE)

    def build() -> Parts:
        reply = xe.drm_xe_query_uc_fw_version(uc_type=xe.XE_QUERY_UC_TYPE_GUC_SUBMISSION)
        return query_of(xe.DRM_XE_DEVICE_QUERY_UC_FW_VERSION, place, reply)

    return Call(device, xe.DRM_IOCTL_XE_DEVICE_QUERY, build)


@UC_FW_VERSION.rows
def test_query_uc_fw_version_invalid_args(uc_fw_version: Call, wrong: Row) -> None:
    """UC_FW_VERSION with an unknown firmware or nonzero padding is refused, and nothing is written."""
    wrong.prove(uc_fw_version)
