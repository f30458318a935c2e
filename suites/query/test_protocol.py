# SPDX-License-Identifier: MIT
"""DEVICE_QUERY: the size of a reply, the reply, and what is refused."""

from __future__ import annotations

import ctypes
import errno
from typing import Any

import pytest

from fixtures import acts, behaviour, beyond_header, refused
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, PROT_NONE
from fixtures.xe.device import Device
from ioctl import names, xe

CONFIG = xe.DRM_XE_DEVICE_QUERY_CONFIG
MEM_REGIONS = xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS
QUERIES = {
    "config": CONFIG,
    "mem-regions": MEM_REGIONS,
    "engines": xe.DRM_XE_DEVICE_QUERY_ENGINES,
    "gt-list": xe.DRM_XE_DEVICE_QUERY_GT_LIST,
}
FIRST_UNKNOWN = max(names.known(xe.drm_xe_device_query, "query")) + 1

every_query = pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)


def ask(device: Device, query: int, size: int, data: int = 0, **fields: Any) -> xe.drm_xe_device_query:
    """One DEVICE_QUERY: the argument as the kernel left it."""
    argument = xe.drm_xe_device_query(query=query, size=size, data=data, **fields)
    device.ioctl(xe.DRM_IOCTL_XE_DEVICE_QUERY, argument)
    return argument


@behaviour("query.unknown-id")
@acts("refusal")
@beyond_header
@pytest.mark.parametrize("query", [FIRST_UNKNOWN, 0x7FFF_FFFF, 0xFFFF_FFFF], ids=hex)
@pytest.mark.parametrize("size", [0, 8, PAGE])
def test_unknown_query_is_einval(device: Device, memory: Memory, query: int, size: int) -> None:
    """A query number that is not defined gives EINVAL, and nothing is written to its data."""
    reply = memory(PAGE, fill=b"\xa5")
    with refused(errno.EINVAL):
        ask(device, query, size, reply.address)
    assert reply.bytes() == b"\xa5" * PAGE


@behaviour("query.extensions-mbz")
@acts("refusal")
@every_query
def test_query_with_extension_is_einval(device: Device, query: int) -> None:
    """DEVICE_QUERY accepts no extensions: even a well-formed one gives EINVAL."""
    extension = xe.drm_xe_user_extension()
    with refused(errno.EINVAL):
        ask(device, query, 0, extensions=ctypes.addressof(extension))


@behaviour("query.reserved-mbz")
@acts("refusal")
@every_query
@pytest.mark.parametrize("word", [0, 1])
def test_query_with_nonzero_reserved_is_einval(
    device: Device, query: int, word: int, sentinel: Sentinel
) -> None:
    """A nonzero reserved word of DEVICE_QUERY gives EINVAL."""
    argument = xe.drm_xe_device_query(query=query)
    argument.reserved[word] = sentinel()
    with refused(errno.EINVAL):
        device.ioctl(xe.DRM_IOCTL_XE_DEVICE_QUERY, argument)


@behaviour("query.size-zero-reports-size")
@acts("query")
@every_query
def test_query_with_size_zero_returns_size(device: Device, memory: Memory, query: int) -> None:
    """With size 0 the call returns the size of the reply and does not write to data."""
    reply = memory(PAGE, fill=b"\xa5")
    with_data = ask(device, query, 0, reply.address)
    without_data = ask(device, query, 0, 0)
    assert with_data.size == without_data.size > 0
    assert reply.bytes() == b"\xa5" * PAGE
    count("query")


@behaviour("query.size-zero-reports-size")
@acts("query")
@every_query
def test_query_reply_has_announced_size(device: Device, memory: Memory, query: int) -> None:
    """The reply has exactly the announced size, and nothing is written beyond it."""
    size = ask(device, query, 0).size
    replies = []
    for fill in (b"\xa5", b"\x5a"):
        buffer = memory(PAGE * 2, fill=fill)
        ask(device, query, size, buffer.address)
        replies.append(buffer.bytes(0, size))
        assert buffer.bytes(size) == fill * (2 * PAGE - size)
    number = ctypes.c_uint32.from_buffer_copy(replies[0]).value
    assert number > 0
    # Every byte was written: what was there before shows nowhere. Only usage counters change by themselves.
    if query != MEM_REGIONS:
        assert replies[0] == replies[1]
    count("query")


@behaviour("query.size-mismatch")
@acts("refusal")
@every_query
@pytest.mark.parametrize("difference", [-1, 1, 8])
def test_query_with_other_size_is_einval(device: Device, memory: Memory, query: int, difference: int) -> None:
    """A size that is neither 0 nor the size of the reply gives EINVAL, and nothing is written."""
    size = ask(device, query, 0).size + difference
    reply = memory(PAGE, fill=b"\xa5")
    with refused(errno.EINVAL):
        ask(device, query, size, reply.address)
    assert reply.bytes() == b"\xa5" * PAGE


@behaviour("query.bad-data-pointer")
@acts("refusal")
@every_query
def test_query_with_unwritable_data_is_efault(device: Device, memory: Memory, query: int) -> None:
    """With the right size and unwritable data the call gives EFAULT; only MEM_REGIONS gives ENOSPC."""
    size = ask(device, query, 0).size
    nothing_there = memory(PAGE, protection=PROT_NONE, populate=False)
    with refused(errno.ENOSPC if query == MEM_REGIONS else errno.EFAULT):
        ask(device, query, size, nothing_there.address)
