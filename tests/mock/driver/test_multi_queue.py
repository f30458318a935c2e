# SPDX-License-Identifier: MIT
"""Multi-queue groups of nvl (xe_exec_queue.c: exec_queue_set_multi_group; xe_guc_submit.c)."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from gpu import Batch
from ioctl import xe
from tests.mock.driver.conftest import Open
from tests.mock.driver.double import Client, fields
from tests.mock.driver.gpu_client import BATCH, DATA, LR, Gpu

RENDER, COPY, COMPUTE = 0, 1, 4
GROUP = xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_GROUP
PRIORITY = xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_MULTI_QUEUE_PRIORITY
NEW = xe.DRM_XE_MULTI_GROUP_CREATE


@pytest.fixture
def gpu(open_client: Open) -> Gpu:
    return Gpu(open_client("nvl"))


def chain(client: Client, *properties: tuple[int, int]) -> int:
    """Address of a chain of SET_PROPERTY extensions."""
    address = 0
    for number, value in reversed(properties):
        one = fields(xe.drm_xe_ext_set_property, property=number, value=value)
        one.base.next_extension = address
        address = client.put(one)
    return address


def grouped(gpu: Gpu, vm: int, *properties: tuple[int, int], engine: int = COPY) -> int:
    """A queue with properties."""
    return gpu.queue(vm, (engine, 0, 0), extensions=chain(gpu.client, *properties))


def error(gpu: Gpu, vm: int, *properties: tuple[int, int], engine: int = COPY, **values: Any) -> int | None:
    """Errno of the creation of such a queue, None if it succeeds."""
    arg = gpu.queue_arg(vm, (engine, 0, 0), extensions=chain(gpu.client, *properties), **values)
    return gpu.client.refused(xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, arg)


def set_priority(gpu: Gpu, queue: int, value: int) -> int | None:
    """Errno of EXEC_QUEUE_SET_PROPERTY, None if it succeeds."""
    arg = fields(xe.drm_xe_exec_queue_set_property, exec_queue_id=queue, property=PRIORITY, value=value)
    return gpu.client.refused(xe.DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY, arg)


@pytest.mark.parametrize(("engine", "expected"), [(COPY, None), (COMPUTE, None), (RENDER, errno.ENODEV)])
def test_copy_and_compute_have_groups(gpu: Gpu, engine: int, expected: int | None) -> None:
    assert error(gpu, gpu.vm(), (GROUP, NEW), engine=engine) == expected


def test_bind_queue_and_other_platforms_have_no_groups(gpu: Gpu, open_client: Open) -> None:
    bind = xe.DRM_XE_ENGINE_CLASS_VM_BIND
    assert error(gpu, gpu.vm(), (GROUP, NEW), engine=bind) == errno.ENODEV
    other = Gpu(open_client("lnl"))
    assert error(other, other.vm(), (GROUP, NEW)) == errno.ENODEV


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ([(GROUP, NEW | 1)], errno.EINVAL),
        ([(GROUP, NEW), (GROUP, NEW)], errno.EINVAL),
        ([(GROUP, 1 << 32)], errno.EINVAL),
        ([(GROUP, 0)], errno.ENOENT),
        ([(GROUP, 99)], errno.ENOENT),
        ([(GROUP, NEW), (PRIORITY, 3)], errno.EINVAL),
        ([(PRIORITY, 2)], errno.EINVAL),
        ([(PRIORITY, 2), (GROUP, NEW)], None),
        ([(GROUP, NEW), (xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY, 1)], None),
    ],
)
def test_arguments_of_primary(gpu: Gpu, properties: list[tuple[int, int]], expected: int | None) -> None:
    assert error(gpu, gpu.vm(), *properties) == expected


def test_secondary_joins_primary_of_its_vm_and_engine(gpu: Gpu) -> None:
    vm = gpu.vm()
    primary = grouped(gpu, vm, (GROUP, NEW))
    secondary = grouped(gpu, vm, (GROUP, primary), (PRIORITY, 2))
    assert error(gpu, vm, (GROUP, secondary)) == errno.EINVAL
    assert error(gpu, vm, (GROUP, gpu.queue(vm))) == errno.EINVAL
    assert error(gpu, gpu.vm(), (GROUP, primary)) == errno.EINVAL
    assert error(gpu, vm, (GROUP, primary | 1 << 32)) == errno.EINVAL


def test_secondary_has_only_its_priority(gpu: Gpu) -> None:
    """The check runs at each extension: extensions before MULTI_GROUP count only if another one follows."""
    vm, timeslice = gpu.vm(), (xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE, 1000)
    join = (GROUP, grouped(gpu, vm, (GROUP, NEW)))
    assert error(gpu, vm, join, timeslice) == errno.EINVAL
    assert error(gpu, vm, timeslice, join, (PRIORITY, 0)) == errno.EINVAL
    assert error(gpu, vm, timeslice, join) is None


def test_group_takes_64_queues_ever(gpu: Gpu) -> None:
    """A destroyed secondary keeps its position: the primary holds its context."""
    vm = gpu.vm()
    primary = grouped(gpu, vm, (GROUP, NEW))
    for _ in range(62):
        grouped(gpu, vm, (GROUP, primary))
    last = grouped(gpu, vm, (GROUP, primary))
    assert error(gpu, vm, (GROUP, primary)) == errno.EINVAL
    gpu.client.call(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, xe.drm_xe_exec_queue_destroy(exec_queue_id=last))
    assert error(gpu, vm, (GROUP, primary)) == errno.EINVAL


def test_priority_is_for_queues_of_groups(gpu: Gpu) -> None:
    vm = gpu.vm()
    primary = grouped(gpu, vm, (GROUP, NEW))
    secondary = grouped(gpu, vm, (GROUP, primary))
    for queue in (primary, secondary):
        assert [set_priority(gpu, queue, value) for value in (0, 1, 2, 3)] == [None] * 3 + [errno.EINVAL]
    assert set_priority(gpu, gpu.queue(vm), 1) == errno.EINVAL


def test_queues_of_group_run(gpu: Gpu) -> None:
    vm, batch, data = gpu.vm(LR), gpu.bo(), gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA)
    primary = grouped(gpu, vm, (GROUP, NEW))
    for index, queue in enumerate([primary, grouped(gpu, vm, (GROUP, primary))]):
        gpu.batch(batch, Batch().store_dword(DATA + 4 * index, 7 + index).end(), 0x1000 * index)
        gpu.execute(queue, BATCH + 0x1000 * index)
    gpu.client.run(1)
    assert [gpu.value(data, 4 * index) for index in range(2)] == [7, 8]


@pytest.mark.parametrize("failing", ["primary", "secondary"])
def test_memory_error_bans_group(gpu: Gpu, failing: str) -> None:
    vm, batch = gpu.vm(LR), gpu.bo()
    gpu.map(vm, batch, BATCH)
    primary = grouped(gpu, vm, (GROUP, NEW))
    secondary, other = grouped(gpu, vm, (GROUP, primary)), gpu.queue(vm)
    gpu.batch(batch, Batch().store_dword(0x7000_0000, 1).end())
    gpu.execute(primary if failing == "primary" else secondary)
    gpu.client.run(1)
    assert [gpu.banned(queue) for queue in (primary, secondary, other)] == [True, True, False]


def test_destroyed_primary_ends_group(gpu: Gpu) -> None:
    vm, batch = gpu.vm(LR), gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.batch(batch, Batch().end())
    primary = grouped(gpu, vm, (GROUP, NEW))
    secondary = grouped(gpu, vm, (GROUP, primary))
    gpu.client.call(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, xe.drm_xe_exec_queue_destroy(exec_queue_id=primary))
    assert gpu.banned(secondary)
    assert gpu.client.refused(xe.DRM_IOCTL_XE_EXEC, gpu.exec_arg(secondary)) == errno.ECANCELED
    assert error(gpu, vm, (GROUP, primary)) in {errno.ENOENT, errno.EINVAL}


@pytest.mark.parametrize(("busy", "banned"), [(True, True), (False, False)])
def test_destroyed_secondary_with_job_bans_busy_queues(gpu: Gpu, busy: bool, banned: bool) -> None:
    vm, batch, data = gpu.vm(LR), gpu.bo(), gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.map(vm, data, DATA)
    gpu.batch(batch, Batch().semaphore_wait(DATA, 1).end())
    primary = grouped(gpu, vm, (GROUP, NEW))
    secondary = grouped(gpu, vm, (GROUP, primary))
    gpu.execute(primary)
    if busy:
        gpu.execute(secondary)
    gpu.client.services.loop.run_until(lambda: False, 0.01)
    gpu.client.call(xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, xe.drm_xe_exec_queue_destroy(exec_queue_id=secondary))
    assert gpu.banned(primary) is banned
