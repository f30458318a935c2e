# SPDX-License-Identifier: MIT
"""DEVICE_QUERY ENGINE_CYCLES and UC_FW_VERSION: queries that take an argument (xe_query.c)."""

from __future__ import annotations

import ctypes
import errno
import time

import pytest

from fixtures import acts, behaviour, needs, refused
from fixtures.counting import count
from fixtures.xe.device import Device
from ioctl import xe
from ioctl.layout import Structure

CLOCKS = {
    "monotonic": time.CLOCK_MONOTONIC,
    "monotonic-raw": time.CLOCK_MONOTONIC_RAW,
    "realtime": time.CLOCK_REALTIME,
    "boottime": time.CLOCK_BOOTTIME,
    "tai": time.CLOCK_TAI,
}
SECOND = 1_000_000_000
"""Nanoseconds."""


def ask(device: Device, query: int, reply: Structure) -> None:
    """A query that reads its data and writes into it."""
    argument = xe.drm_xe_device_query(query=query, size=ctypes.sizeof(reply), data=ctypes.addressof(reply))
    device.ioctl(xe.DRM_IOCTL_XE_DEVICE_QUERY, argument)
    count("query")


def cycles(
    device: Device, engine: xe.drm_xe_engine_class_instance, clock: int
) -> xe.drm_xe_query_engine_cycles:
    """ENGINE_CYCLES of an engine by a clock, with garbage in the fields to be written."""
    reply = xe.drm_xe_query_engine_cycles(eci=engine, clockid=clock, width=7, engine_cycles=1 << 63)
    ask(device, xe.DRM_XE_DEVICE_QUERY_ENGINE_CYCLES, reply)
    return reply


@behaviour("query.cycles.reply")
@acts("query")
@needs("engine-cycles")
@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_engine_cycles_match_cpu_clock(device: Device, clock: int) -> None:
    """The CPU timestamp lies between two reads of the clock, and the cycles have at most "width" bits."""
    for engine in device.engines:
        before = time.clock_gettime_ns(clock)
        reply = cycles(device, engine, clock)
        after = time.clock_gettime_ns(clock)
        assert before <= reply.cpu_timestamp <= after
        assert 0 < reply.width <= 64
        assert reply.engine_cycles < 1 << reply.width
        assert bytes(reply.eci) == bytes(engine)
        assert reply.clockid == clock


@behaviour("query.cycles.reply")
@acts("query")
@needs("engine-cycles")
def test_engine_cycles_go_forward(device: Device) -> None:
    """The later of two queries of an engine finds no fewer cycles, and no earlier time."""
    engine = device.engine()
    first = cycles(device, engine, time.CLOCK_MONOTONIC)
    second = cycles(device, engine, time.CLOCK_MONOTONIC)
    assert second.cpu_timestamp >= first.cpu_timestamp
    assert (second.engine_cycles - first.engine_cycles) % (1 << first.width) < 1 << first.width - 1


@behaviour("query.firmware.reply")
@acts("query")
def test_guc_has_version(device: Device) -> None:
    """The GuC submission version has a nonzero major number, and branch 0."""
    reply = xe.drm_xe_query_uc_fw_version(
        uc_type=xe.XE_QUERY_UC_TYPE_GUC_SUBMISSION, branch_ver=7, major_ver=0
    )
    ask(device, xe.DRM_XE_DEVICE_QUERY_UC_FW_VERSION, reply)
    assert reply.major_ver > 0
    assert reply.branch_ver == 0


@behaviour("query.firmware.reply")
@acts("query")
def test_huc_has_version_or_is_enodev(device: Device) -> None:
    """The HuC has a version if it runs, and gives ENODEV otherwise."""
    reply = xe.drm_xe_query_uc_fw_version(uc_type=xe.XE_QUERY_UC_TYPE_HUC, branch_ver=7)
    try:
        ask(device, xe.DRM_XE_DEVICE_QUERY_UC_FW_VERSION, reply)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        with refused(errno.ENODEV):
            ask(device, xe.DRM_XE_DEVICE_QUERY_UC_FW_VERSION, reply)
        assert device.engines
    else:
        assert reply.branch_ver == 0
