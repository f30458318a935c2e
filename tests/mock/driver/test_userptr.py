# SPDX-License-Identifier: MIT
"""Userptrs when the process changes its memory without a notification of the driver (userptr.py)."""

from __future__ import annotations

import errno

import pytest

from gpu import Batch
from ioctl import xe
from mock.driver.lib.errors import Refused
from mock.kernel import PAGE_SIZE
from tests.mock.driver import double
from tests.mock.driver.gpu_client import BATCH, DATA, FAULT, LR, Gpu, user_fence

BIND = xe.DRM_IOCTL_XE_VM_BIND
EXEC = xe.DRM_IOCTL_XE_EXEC
USERPTR = xe.DRM_XE_VM_BIND_OP_MAP_USERPTR
AT = 0x4000_0000
SIZE = 4 * PAGE_SIZE


def bound(gpu: Gpu, flags: int = 0) -> tuple[int, double.Area]:
    """A VM with two adjacent areas of the process bound as one user pointer, a batch that stores there and a fence."""
    vm, batch, fence = gpu.vm(flags), gpu.bo(), gpu.bo()
    for bo, address in ((batch, BATCH), (fence, DATA)):
        gpu.map(vm, bo, address, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    memory = gpu.client.mm.map(SIZE // 2)
    gpu.client.mm.map(SIZE // 2, address=memory + SIZE // 2)
    gpu.bind(vm, gpu.op(USERPTR, userptr=memory, addr=AT, range=SIZE))
    gpu.batch(batch, Batch().store_dword(AT, 5).end())
    gpu.client.run(1)
    return vm, gpu.client.mm._area(memory + SIZE // 2)


def exec_code(gpu: Gpu, queue: int) -> int | None:
    """Errno of EXEC of the batch."""
    syncs = gpu.client.array(user_fence(DATA, 1))
    arg = xe.drm_xe_exec(exec_queue_id=queue, address=BATCH, num_batch_buffer=1, num_syncs=1, syncs=syncs)
    return gpu.client.refused(EXEC, arg)


def test_exec_gives_eperm_while_a_part_is_read_only_and_works_after_that(gpu: Gpu) -> None:
    vm, second = bound(gpu)
    queue = gpu.queue(vm)
    second.writable = False
    assert exec_code(gpu, queue) == errno.EPERM
    assert exec_code(gpu, queue) == errno.EPERM
    second.writable = True
    assert exec_code(gpu, queue) is None


def test_a_part_that_is_read_only_takes_all_of_it_from_a_faulting_vm(gpu: Gpu) -> None:
    vm, second = bound(gpu, FAULT)
    state = gpu.client.file.vms.get(vm)
    assert state is not None
    (vma,) = [one for one in state.vmas if one.is_userptr]
    pages = state.userptr.backing(vma)
    pages.write(0, b"1234")
    second.writable = False
    with pytest.raises(Refused) as refusal:
        pages.write(0, b"5678")
    assert refusal.value.code == errno.EPERM
    assert state.lost(gpu.client.file.device.tiles[0], AT)
    assert state.userptr.stale(vma)


def test_a_running_vm_that_cannot_be_bound_again_is_banned(gpu: Gpu) -> None:
    vm, second = bound(gpu, LR)
    queue = gpu.queue(vm)
    assert exec_code(gpu, queue) is None
    gpu.client.run(1)
    second.writable = False
    unmap = gpu.op(xe.DRM_XE_VM_BIND_OP_UNMAP, addr=AT + (1 << 30), range=SIZE)
    gpu.client.refused(BIND, gpu.bind_arg(vm, unmap))
    gpu.client.run(1)
    assert gpu.client.refused(BIND, gpu.bind_arg(vm, unmap)) == errno.ENOENT
