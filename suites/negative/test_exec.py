# SPDX-License-Identifier: MIT
"""EXEC and WAIT_USER_FENCE with one wrong field (xe_exec.c, xe_sync.c, xe_wait_user_fence.c)."""

from __future__ import annotations

from collections.abc import Callable
from errno import EFAULT, EINVAL, ENOENT

import pytest

from fixtures import behaviour, wait_until
from fixtures.given import MakeBo, MakeSyncobj, Memory, Sentinel
from fixtures.negative import (
    Call,
    Parts,
    Row,
    Table,
    row,
    spare_rows,
    unknown_flags,
    unknown_values,
)
from fixtures.sizes import SZ_64K
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe
from suites.negative import syncs
from suites.negative.values import no_extensions, strange_queues, unreadable

PLACE = 1 << 16
"""GPU address of the object in which the batch is, what it stores, and its fence."""
STORED, FENCE, BATCH = 0, 8, 64
SIZE = SZ_64K


class Exec(Call):
    """EXEC of a batch that stores a value: an accepted call has completed when the value is there."""

    def __init__(
        self, queue: Queue, bo: Bo, sentinel: Sentinel, *, sync: Callable[[], xe.drm_xe_sync] | None = None
    ) -> None:
        vm, value = queue.vm, sentinel()
        self.content = content = bo.map()
        vm.map(bo, PLACE)
        content.write(BATCH, Batch().store_dword(PLACE + STORED, value).end().encode(PLACE + BATCH))

        def argument() -> xe.drm_xe_exec:
            return xe.drm_xe_exec(exec_queue_id=queue.id, address=PLACE + BATCH, num_batch_buffer=1)

        super().__init__(
            vm.device,
            xe.DRM_IOCTL_XE_EXEC,
            syncs.with_sync(argument, sync) if sync else argument,
            state=lambda: content.u32(STORED),
            undo=lambda _: content.set_u32(STORED, 0),
        )
        self.value = value

    def make(self, parts: Parts) -> None:
        super().make(parts)
        wait_until(lambda: self.content.u32(STORED) == self.value, what="the store of the batch")


EXEC = Table(
    xe.drm_xe_exec,
    *no_extensions(behaviour("exec.reserved")),
    row("exec_queue_id", strange_queues, ENOENT, behaviour("exec.unknown-queue")),
    row("exec_queue_id", (0,), ENOENT, behaviour("exec.unknown-queue"), label="none"),
    row("num_syncs", (1025, 1 << 31, 0xFFFF_FFFF), EINVAL, behaviour("exec.num-syncs-limit")),
    row("num_syncs", (1, 1024), EFAULT, behaviour("sync.array-fault"), label="of-nothing"),
    row("num_batch_buffer", (2, 3, 8, 9, 0x8000, 0xFFFF), EINVAL, behaviour("exec.width-mismatch")),
    *spare_rows(xe.drm_xe_exec, behaviour("exec.reserved")),
    # Without syncs the pointer to them is not read; where the batch is, the GPU finds out.
    elsewhere=("syncs", "address"),
)


@pytest.fixture
def execute(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> Call:
    """EXEC of a batch that stores a value, without syncs."""
    return Exec(plain_vm.queue(), bo(SIZE), sentinel)


@EXEC.rows
def test_exec_invalid_args(execute: Call, wrong: Row) -> None:
    """EXEC with one wrong field is refused, and its batch does not run."""
    wrong.prove(execute)


@pytest.fixture
def execute_and_signal(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, syncobj: MakeSyncobj) -> Call:
    """EXEC that signals a syncobj."""
    return Exec(plain_vm.queue(), bo(SIZE), sentinel, sync=syncobj().sync)


@Table({"sync": xe.drm_xe_sync}, *syncs.BINARY, *syncs.array_rows()).rows
def test_exec_invalid_sync(execute_and_signal: Call, wrong: Row) -> None:
    """EXEC with a syncobj to signal that has one wrong field is refused, and its batch does not run."""
    wrong.prove(execute_and_signal)


@pytest.fixture
def execute_and_signal_point(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, syncobj: MakeSyncobj) -> Call:
    """EXEC that signals a point of a timeline, a later one each time."""
    timeline, points = syncobj(), iter(range(1, 10_000))
    return Exec(plain_vm.queue(), bo(SIZE), sentinel, sync=lambda: timeline.sync(next(points)))


@Table({"sync": xe.drm_xe_sync}, *syncs.POINT).rows
def test_exec_invalid_timeline_point(execute_and_signal_point: Call, wrong: Row) -> None:
    """EXEC with a timeline point to signal that has one wrong field is refused, and its batch does not run."""
    wrong.prove(execute_and_signal_point)


@pytest.fixture
def execute_and_write_fence(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> Call:
    """EXEC that writes a user fence behind what its batch stores."""

    def sync() -> xe.drm_xe_sync:
        return xe.drm_xe_sync(
            type=syncs.USER_FENCE, flags=syncs.SIGNAL, addr=PLACE + FENCE, timeline_value=sentinel()
        )

    return Exec(plain_vm.queue(), bo(SIZE), sentinel, sync=sync)


@Table({"sync": xe.drm_xe_sync}, *syncs.fence_rows(bind=False), elsewhere=("sync.timeline_value",)).rows
def test_exec_invalid_user_fence(execute_and_write_fence: Call, wrong: Row) -> None:
    """EXEC with a user fence that has one wrong field is refused, and its batch does not run."""
    wrong.prove(execute_and_write_fence)


WAIT_USER_FENCE = Table(
    xe.drm_xe_wait_user_fence,
    *no_extensions(behaviour("ufence.wait.args")),
    row(
        "addr",
        lambda call, _: [call.build().argument.addr + off for off in range(1, 8)],
        EINVAL,
        behaviour("ufence.wait.args"),
        label="unaligned",
    ),
    row(
        "addr",
        lambda *_: [at for at in unreadable(8) if at % 4096 in (0, 8)],
        EFAULT,
        behaviour("ufence.wait.bad-address"),
    ),
    row("op", unknown_values, EINVAL, behaviour("ufence.wait.args")),
    row("flags", unknown_flags(), EINVAL, behaviour("ufence.wait.args")),
    row("exec_queue_id", strange_queues, ENOENT, behaviour("ufence.wait.unknown-queue")),
    *spare_rows(xe.drm_xe_wait_user_fence, behaviour("ufence.wait.args")),
    elsewhere=("value", "mask", "timeout"),
)


@pytest.fixture
def wait_user_fence(device: Device, memory: Memory, sentinel: Sentinel) -> Call:
    """WAIT_USER_FENCE whose condition holds already."""
    fence, value = memory(8), sentinel()
    fence.set_u64(0, value)
    return Call(
        device,
        xe.DRM_IOCTL_XE_WAIT_USER_FENCE,
        lambda: xe.drm_xe_wait_user_fence(addr=fence.address, value=value, mask=(1 << 64) - 1),
    )


@WAIT_USER_FENCE.rows
def test_wait_user_fence_invalid_args(wait_user_fence: Call, wrong: Row) -> None:
    """WAIT_USER_FENCE with one wrong field is refused, even if there is nothing to wait for."""
    wrong.prove(wait_user_fence)
