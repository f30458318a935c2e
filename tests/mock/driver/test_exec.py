# SPDX-License-Identifier: MIT
"""Batches run, on every kind of VM, concurrently, and fail as the driver fails them."""

import errno

import pytest

from gpu import Batch
from ioctl import drm, xe
from tests.mock.driver.double import Client
from tests.mock.driver.gpu_client import (
    BATCH,
    DATA,
    FAULT,
    LR,
    Gpu,
    in_syncobj,
    out_syncobj,
    user_fence,
)


@pytest.fixture
def gpu(client: Client) -> Gpu:
    return Gpu(client)


def ready(gpu: Gpu, flags: int = 0) -> tuple[int, int, int]:
    """A VM with a batch object and a data object bound."""
    vm, batch, data = gpu.vm(flags), gpu.bo(), gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA)
    gpu.client.run()
    return vm, batch, data


def test_store_of_a_batch_lands_in_the_object_and_the_syncobj_signals(gpu: Gpu) -> None:
    vm, batch, data = ready(gpu)
    gpu.batch(batch, Batch().store_dword(DATA + 8, 0xC0FFEE).end())
    done = gpu.syncobj()
    gpu.execute(gpu.queue(vm), syncs=(out_syncobj(done),))
    assert gpu.value(data, 8) == 0
    gpu.wait(done)
    assert gpu.value(data, 8) == 0xC0FFEE


@pytest.mark.parametrize("flags", [LR, FAULT])
def test_user_fence_of_a_long_running_vm_is_stored_by_the_gpu(gpu: Gpu, flags: int) -> None:
    vm, batch, data = ready(gpu, flags)
    gpu.batch(batch, Batch().store_dword(DATA, 7).end())
    gpu.execute(gpu.queue(vm), syncs=(user_fence(DATA + 64, 0x1234_5678_9ABC),))
    gpu.client.run()
    assert gpu.value(data) == 7
    assert gpu.read(data, 64, 8) == (0x1234_5678_9ABC).to_bytes(8, "little")
