# SPDX-License-Identifier: MIT
"""VM_CREATE, VM_DESTROY, VM_GET_PROPERTY and the EXEC_QUEUE ioctls."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from gpu import Batch
from ioctl import xe
from tests.mock.driver.double import Client, Services, Task, fields
from tests.mock.driver.gpu_client import BATCH, FAULT, LR, SCRATCH, Gpu
from tests.mock.driver.test_objects import extension

CREATE_VM = xe.DRM_IOCTL_XE_VM_CREATE
CREATE = xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE
DESTROY = xe.DRM_IOCTL_XE_EXEC_QUEUE_DESTROY
GET = xe.DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY
SET = xe.DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY
FAULT_ONLY = xe.DRM_XE_VM_CREATE_FLAG_FAULT_MODE
NO_OVERCOMMIT = xe.DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT


@pytest.mark.parametrize(
    ("platform", "level", "flags", "expected"),
    [
        ("bmg", "7.3", 0, None),
        ("bmg", "7.3", SCRATCH, None),
        ("bmg", "7.3", LR, None),
        ("bmg", "7.3", FAULT, None),
        ("bmg", "7.3", FAULT_ONLY, errno.EINVAL),
        ("bmg", "7.3", FAULT | SCRATCH, None),
        ("pvc", "7.3", FAULT | SCRATCH, errno.EINVAL),
        ("bmg", "7.3", FAULT | NO_OVERCOMMIT, None),
        ("bmg", "7.3", LR | NO_OVERCOMMIT, errno.EINVAL),
        ("bmg", "7.0", FAULT | NO_OVERCOMMIT, errno.EINVAL),
        ("bmg", "7.3", 1 << 4, errno.EINVAL),
    ],
)
def test_vm_flags(open_client: Any, platform: str, level: str, flags: int, expected: int | None) -> None:
    assert open_client(platform, level).refused(CREATE_VM, xe.drm_xe_vm_create(flags=flags)) == expected


@pytest.mark.parametrize("values", [{"extensions": 1}, {"reserved": [0, 1]}])
def test_bad_vm_argument_is_einval(client: Client, values: dict[str, Any]) -> None:
    assert client.refused(CREATE_VM, fields(xe.drm_xe_vm_create, **values)) == errno.EINVAL


def test_vm_ids_start_at_1_and_the_lowest_free_one_is_next(gpu: Gpu) -> None:
    assert [gpu.vm(), gpu.vm(), gpu.vm()] == [1, 2, 3]
    gpu.client.call(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=2))
    assert gpu.vm() == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"pad": 1}, errno.EINVAL), ({"reserved": [1, 0]}, errno.EINVAL), ({"vm_id": 9}, errno.ENOENT)],
)
def test_bad_vm_destroy_is_refused(gpu: Gpu, values: dict[str, Any], expected: int) -> None:
    arg = fields(xe.drm_xe_vm_destroy, **{"vm_id": gpu.vm(), **values})
    assert gpu.client.refused(xe.DRM_IOCTL_XE_VM_DESTROY, arg) == expected


@pytest.mark.parametrize(("flags", "expected"), [(LR, errno.EBUSY), (FAULT, None), (0, None)])
def test_vm_with_queues_is_busy_only_with_preempt_fences(gpu: Gpu, flags: int, expected: int | None) -> None:
    vm = gpu.vm(flags)
    queue = gpu.queue(vm)
    arg = xe.drm_xe_vm_destroy(vm_id=vm)
    assert gpu.client.refused(xe.DRM_IOCTL_XE_VM_DESTROY, arg) == expected
    gpu.client.call(DESTROY, xe.drm_xe_exec_queue_destroy(exec_queue_id=queue))
    if expected:
        gpu.client.call(xe.DRM_IOCTL_XE_VM_DESTROY, arg)


def test_vm_destroy_waits_for_jobs(gpu: Gpu) -> None:
    vm, batch = gpu.vm(), gpu.bo()
    gpu.map(vm, batch, BATCH)
    gpu.batch(batch, Batch().semaphore_wait(BATCH + 0x1000, 1).end())
    gpu.execute(gpu.queue(vm))
    deferred, _ = gpu.client.start(xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=vm))
    assert not isinstance(deferred, int)
    gpu.client.services.loop.run_until(lambda: False, 0.02)
    assert not deferred.settled
    gpu.write(batch, 0x1000, b"\1\0\0\0")
    assert gpu.client.settle(deferred, 1) == 0


# VM_GET_PROPERTY

PROPERTY = xe.DRM_IOCTL_XE_VM_GET_PROPERTY


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"extensions": 1}, errno.EINVAL),
        ({"pad": 1}, errno.EINVAL),
        ({"reserved": [0, 0, 1]}, errno.EINVAL),
        ({"vm_id": 5}, errno.ENOENT),
        ({"property": 1}, errno.EINVAL),
        ({"size": 48}, errno.EINVAL),
    ],
)
def test_bad_vm_property_is_refused(gpu: Gpu, values: dict[str, Any], expected: int) -> None:
    arg = fields(xe.drm_xe_vm_get_property, **{"vm_id": gpu.vm(FAULT), **values})
    assert gpu.client.refused(PROPERTY, arg) == expected


def test_vm_without_faults_reports_size_0(gpu: Gpu) -> None:
    arg = xe.drm_xe_vm_get_property(vm_id=gpu.vm(FAULT))
    gpu.client.call(PROPERTY, arg)
    assert arg.size == 0


def test_dg2_has_scratch_pages_always_and_no_page_faults(open_client: Any) -> None:
    client = open_client("dg2")
    arg = xe.drm_xe_vm_create(flags=LR)
    client.call(CREATE_VM, arg)
    assert arg.flags == LR | SCRATCH
    # Not `refused`, which wants the argument as it was: the kernel has changed the flags.
    with pytest.raises(OSError, match="EINVAL"):
        client.call(CREATE_VM, xe.drm_xe_vm_create(flags=FAULT))


def test_vm_property_came_with_7_1(open_client: Any) -> None:
    gpu = Gpu(open_client("bmg", "7.0"))
    assert gpu.client.refused(PROPERTY, xe.drm_xe_vm_get_property(vm_id=gpu.vm())) == errno.EINVAL


# Exec queues


def instances(client: Client, *engines: tuple[int, int, int]) -> int:
    return client.put(b"".join(struct.pack("<4H", *engine, 0) for engine in engines))


@pytest.mark.parametrize(
    ("engines", "width", "placements", "expected"),
    [
        ([(0, 0, 0)], 1, 1, None),
        ([(1, 0, 0)], 1, 1, None),
        ([(2, 1, 1)], 1, 1, None),
        ([(3, 0, 1)], 1, 1, None),
        ([(4, 0, 0)], 1, 1, None),
        ([(5, 0, 0)], 1, 1, None),
        ([(1, 1, 0)], 1, 1, errno.EINVAL),
        ([(1, 0, 1)], 1, 1, errno.EINVAL),
        ([(1, 0, 2)], 1, 1, errno.EINVAL),
        ([(6, 0, 0)], 1, 1, errno.EINVAL),
        ([(2, 0, 1), (2, 1, 1)], 2, 1, None),
        ([(2, 1, 1), (2, 0, 1)], 2, 1, errno.EINVAL),
        ([(2, 0, 1), (3, 0, 1)], 1, 2, errno.EINVAL),
        ([(2, 0, 1), (2, 1, 1)], 1, 2, None),
        ([(2, 0, 1), (2, 0, 1)], 2, 1, errno.EINVAL),
        ([], 0, 1, errno.EINVAL),
        ([], 1, 0, errno.EINVAL),
        ([(2, 0, 1)] * 10, 10, 1, errno.EINVAL),
        ([(5, 1, 0)], 1, 1, errno.EINVAL),
        ([(5, 0, 0)] * 2, 2, 1, errno.EINVAL),
        ([(5, 0, 9)], 1, 1, errno.EINVAL),
    ],
)
def test_placements(
    gpu: Gpu, engines: list[tuple[int, int, int]], width: int, placements: int, expected: int | None
) -> None:
    arg = gpu.queue_arg(
        gpu.vm(), width=width, num_placements=placements, instances=instances(gpu.client, *engines)
    )
    assert gpu.client.refused(CREATE, arg) == expected


def test_parallel_queue_of_copy_engines_is_eopnotsupp(open_client: Any) -> None:
    gpu = Gpu(open_client("pvc"))
    pair = instances(gpu.client, (1, 0, 0), (1, 1, 0))
    arg = gpu.queue_arg(gpu.vm(), width=2, instances=pair)
    assert gpu.client.refused(CREATE, arg) == errno.EOPNOTSUPP


def test_placements_are_of_one_gt(open_client: Any) -> None:
    gpu = Gpu(open_client("pvc"))
    vm = gpu.vm()
    for gt, expected in ((0, None), (1, errno.EINVAL)):
        pair = instances(gpu.client, (1, 1, 0), (1, 2, gt))
        assert gpu.client.refused(CREATE, gpu.queue_arg(vm, num_placements=2, instances=pair)) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"flags": 2}, errno.EINVAL),
        ({"flags": 1}, None),
        ({"reserved": [0, 1]}, errno.EINVAL),
        ({"instances": 8}, errno.EFAULT),
        ({"vm_id": 44}, errno.ENOENT),
        ({"extensions": 8}, errno.EFAULT),
    ],
)
def test_bad_queue_argument_is_refused(gpu: Gpu, values: dict[str, Any], expected: int | None) -> None:
    arg = gpu.queue_arg(gpu.vm())
    for name, value in values.items():
        if name == "reserved":
            arg.reserved[1] = 1
        else:
            setattr(arg, name, value)
    assert gpu.client.refused(CREATE, arg) == expected


PRIORITY, TIMESLICE, PXP, REPLAY, GROUP, GROUP_PRIORITY, CACHE = range(7)


@pytest.mark.parametrize(
    ("engine", "prop", "value", "privileged", "expected"),
    [
        ((1, 0, 0), PRIORITY, 0, False, None),
        ((1, 0, 0), PRIORITY, 1, False, None),
        ((1, 0, 0), PRIORITY, 2, False, errno.EPERM),
        ((1, 0, 0), PRIORITY, 2, True, None),
        ((1, 0, 0), PRIORITY, 3, True, errno.EINVAL),
        ((1, 0, 0), TIMESLICE, 0, False, errno.EINVAL),
        ((1, 0, 0), TIMESLICE, 1, False, None),
        ((1, 0, 0), TIMESLICE, 10_000_001, False, errno.EINVAL),
        ((1, 0, 0), TIMESLICE, 10_000_001, True, None),
        ((1, 0, 0), PXP, 0, True, None),
        ((1, 0, 0), PXP, 1, True, errno.ENODEV),
        ((1, 0, 0), PXP, 2, True, errno.EINVAL),
        ((1, 0, 0), REPLAY, 8, True, errno.EFAULT),
        ((1, 0, 0), GROUP, 1 << 63, True, errno.ENODEV),
        ((1, 0, 0), GROUP_PRIORITY, 1, True, errno.EINVAL),
        ((1, 0, 0), GROUP_PRIORITY, 3, True, errno.EINVAL),
        ((1, 0, 0), CACHE, 1, True, errno.EOPNOTSUPP),
        ((0, 0, 0), CACHE, 1, True, None),
        ((5, 0, 0), PRIORITY, 1, True, None),
        ((1, 0, 0), 7, 0, True, errno.EINVAL),
    ],
)
def test_properties(
    client: Client,
    services: Services,
    engine: tuple[int, int, int],
    prop: int,
    value: int,
    privileged: bool,
    expected: int | None,
) -> None:
    who = client if privileged else Client(client.driver, services, task=Task(capabilities=set()))
    gpu = Gpu(who)
    chain = extension(who, property=prop, value=value)
    assert who.refused(CREATE, gpu.queue_arg(gpu.vm(), engine, extensions=chain)) == expected


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ({}, 16, None),
        ({}, 17, errno.E2BIG),
        ({"base_pad": 1}, 1, errno.EINVAL),
        ({"pad": 1}, 1, errno.EINVAL),
    ],
)
def test_extension_chains(gpu: Gpu, values: dict[str, int], count: int, expected: int | None) -> None:
    chain = extension(gpu.client, count, **{"property": PRIORITY, "value": 1, **values})
    assert gpu.client.refused(CREATE, gpu.queue_arg(gpu.vm(), extensions=chain)) == expected


def test_properties_that_exclude_each_other(gpu: Gpu) -> None:
    client = gpu.client
    state = client.mm.map(0x1000)

    def create(*pairs: tuple[int, int]) -> int | None:
        chain = 0
        for prop, value in reversed(pairs):
            ext = fields(xe.drm_xe_ext_set_property, property=prop, value=value)
            ext.base.next_extension = chain
            chain = client.put(ext)
        return client.refused(CREATE, gpu.queue_arg(gpu.vm(), extensions=chain))

    assert create((REPLAY, state)) is None
    assert create((REPLAY, state), (REPLAY, state)) == errno.EINVAL
    assert create((GROUP, 1 << 63), (PXP, 0)) == errno.ENODEV
    assert create((PXP, 0), (GROUP, 1 << 63)) == errno.EINVAL


def test_set_property_looks_at_its_arguments_before_the_queue(gpu: Gpu) -> None:
    for values, expected in (
        ({"property": GROUP_PRIORITY}, errno.ENOENT),
        ({"property": PRIORITY}, errno.EINVAL),
        ({"property": GROUP_PRIORITY, "reserved": [0, 1]}, errno.EINVAL),
    ):
        arg = fields(xe.drm_xe_exec_queue_set_property, exec_queue_id=99, **values)
        assert gpu.client.refused(SET, arg) == expected, values


def test_properties_of_later_kernels_are_unknown_to_older_ones(open_client: Any) -> None:
    for level, last in (("6.18", PXP), ("7.0", GROUP_PRIORITY)):
        gpu = Gpu(open_client("bmg", level))
        for prop in range(last + 1, 8):
            chain = extension(gpu.client, property=prop, value=0)
            arg = gpu.queue_arg(gpu.vm(), (0, 0, 0), extensions=chain)
            assert gpu.client.refused(CREATE, arg) == errno.EINVAL


def test_destroy_and_properties_of_unknown_queues_are_enoent(gpu: Gpu) -> None:
    queue = gpu.queue(gpu.vm())
    assert not gpu.banned(queue)
    gpu.client.call(DESTROY, xe.drm_xe_exec_queue_destroy(exec_queue_id=queue))
    arg = xe.drm_xe_exec_queue_destroy(exec_queue_id=queue)
    assert gpu.client.refused(DESTROY, arg) == errno.ENOENT
    assert gpu.client.refused(GET, xe.drm_xe_exec_queue_get_property(exec_queue_id=queue)) == errno.ENOENT


@pytest.mark.parametrize(
    ("request_", "kind", "values"),
    [
        (DESTROY, xe.drm_xe_exec_queue_destroy, {"pad": 1}),
        (DESTROY, xe.drm_xe_exec_queue_destroy, {"reserved": [0, 1]}),
        (GET, xe.drm_xe_exec_queue_get_property, {"reserved": [0, 1]}),
        (GET, xe.drm_xe_exec_queue_get_property, {"property": 1}),
        (SET, xe.drm_xe_exec_queue_set_property, {"reserved": [0, 1], "property": GROUP_PRIORITY}),
        (SET, xe.drm_xe_exec_queue_set_property, {"property": PRIORITY}),
        (SET, xe.drm_xe_exec_queue_set_property, {"property": GROUP_PRIORITY, "value": 3}),
        (SET, xe.drm_xe_exec_queue_set_property, {"property": GROUP_PRIORITY, "value": 1}),
    ],
)
def test_bad_queue_calls_are_einval(gpu: Gpu, request_: Any, kind: Any, values: dict[str, Any]) -> None:
    arg = fields(kind, exec_queue_id=gpu.queue(gpu.vm()), **values)
    assert gpu.client.refused(request_, arg) == errno.EINVAL


def test_gt_id_counts_in_its_low_8_bits(gpu: Gpu) -> None:
    gpu.queue(gpu.vm(), (1, 0, 0x100))
