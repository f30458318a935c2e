# SPDX-License-Identifier: MIT
"""Kernels built without parts of SVM, and PAT indices of a GPU with optimised L2 flush."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ioctl import xe
from mock.driver.kconfig import KernelConfig
from tests.mock.driver.double import Client
from tests.mock.driver.gpu_client import DATA, FAULT, Gpu

BIND = xe.DRM_IOCTL_XE_VM_BIND
USERPTR = xe.DRM_XE_VM_BIND_OP_MAP_USERPTR
MIRROR = xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR
SIZE = 0x10000


def refused_bind(gpu: Gpu, vm: int, *op: Any, **fields: Any) -> int | None:
    refusal: int | None = gpu.client.refused(BIND, gpu.bind_arg(vm, gpu.op(*op, range=SIZE, **fields)))
    return refusal


def claims_mirrors(client: Client) -> bool:
    query = xe.drm_xe_device_query(query=xe.DRM_XE_DEVICE_QUERY_CONFIG)
    client.call(xe.DRM_IOCTL_XE_DEVICE_QUERY, query)
    query.data = client.put(bytes(query.size))
    client.call(xe.DRM_IOCTL_XE_DEVICE_QUERY, query)
    flags = int.from_bytes(client.task.mm.read(query.data + 16, 8), "little")
    return bool(flags & xe.DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR)


@pytest.mark.parametrize(
    ("platform", "mirrors", "userptrs"),
    [
        ("bmg", True, True),
        ("bmg-nopagemap", True, True),
        ("bmg-nomirror", False, True),
        ("bmg-nogpusvm", False, False),
    ],
)
def test_what_a_kernel_was_built_with(open_client: Any, platform: str, mirrors: bool, userptrs: bool) -> None:
    gpu = Gpu(open_client(platform))
    assert claims_mirrors(gpu.client) == mirrors
    assert refused_bind(gpu, gpu.vm(FAULT), flags=MIRROR) == (None if mirrors else errno.EINVAL)
    memory = gpu.client.put(bytes(2 * SIZE)) // SIZE * SIZE + SIZE
    assert refused_bind(gpu, gpu.vm(), USERPTR, addr=DATA, obj_offset=memory) == (
        None if userptrs else errno.EINVAL
    )


@pytest.mark.parametrize("options", [{"drm_gpusvm": False}, {"drm_xe_gpusvm": False}])
def test_options_depend_on_each_other(options: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match="DRM_XE_"):
        KernelConfig(**options)


@pytest.mark.parametrize(
    ("platform", "level", "index", "expected"),
    [
        ("nvl", "7.3", 1, errno.EINVAL),
        ("nvl", "7.3", 2, None),
        ("nvl", "7.3", 19, None),
        ("nvl", "7.0", 1, None),
        ("lnl", "7.3", 1, None),
    ],
)
def test_a_mirror_reaches_the_cpu(
    open_client: Any, platform: str, level: str, index: int, expected: int | None
) -> None:
    gpu = Gpu(open_client(platform, level))
    assert refused_bind(gpu, gpu.vm(FAULT), flags=MIRROR, pat_index=index) == expected
