# SPDX-License-Identifier: MIT
"""Effects of madvise on BOs, and the debugfs files that show them."""

from __future__ import annotations

from typing import Any

import pytest

from ioctl import xe
from mock.driver.ttm.bo import PL_TT, PL_VRAM0, is_vram
from tests.mock.driver.double import Client
from tests.mock.driver.gpu_client import DATA, Gpu

LR, FAULT = xe.DRM_XE_VM_CREATE_FLAG_LR_MODE, xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE
SIZE = 0x10000


def advise_atomics(gpu: Gpu, vm: int, mode: int) -> None:
    arg = xe.drm_xe_madvise(vm_id=vm, start=DATA, range=SIZE, type=xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC)
    arg.atomic.val = mode
    gpu.client.call(xe.DRM_IOCTL_XE_MADVISE, arg)


@pytest.mark.parametrize(
    ("mode", "leaves"),
    [
        (xe.DRM_XE_ATOMIC_CPU, True),
        (xe.DRM_XE_ATOMIC_GLOBAL, True),
        (xe.DRM_XE_ATOMIC_DEVICE, False),
        (xe.DRM_XE_ATOMIC_UNDEFINED, False),
    ],
)
def test_an_object_for_atomics_of_the_cpu_leaves_vram(open_client: Any, mode: int, leaves: bool) -> None:
    gpu = Gpu(open_client("bmg"))
    vm, handle = gpu.vm(LR | FAULT), gpu.bo(SIZE, placement=3)
    gpu.bind(vm, gpu.op(obj=handle, addr=DATA, range=SIZE))
    bo = gpu.client.file.bos.get(handle)
    assert bo is not None
    bo.migrate(PL_VRAM0)
    assert is_vram(bo.mem_type)
    advise_atomics(gpu, vm, mode)
    assert (bo.mem_type == PL_TT) == leaves


@pytest.mark.parametrize("directory", ["128", "0", "0000:03:00.0"])
def test_the_time_that_memory_stays_for_atomics_is_a_file(client: Client, directory: str) -> None:
    assert client.driver.read_file(f"/sys/kernel/debug/dri/{directory}/atomic_svm_timeslice_ms") == b"5\n"
    assert client.driver.read_file(f"/sys/kernel/debug/dri/{directory}/atomic_svm_timeslice_s") is None
    assert client.driver.read_file(f"/sys/kernel/debug/dri/{directory}") is None
