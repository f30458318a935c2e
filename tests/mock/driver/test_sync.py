# SPDX-License-Identifier: MIT
"""SYNCOBJ ioctls, WAIT_USER_FENCE, and other ioctls of the DRM core."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest

from gpu import Batch
from ioctl import drm, xe
from mock.driver.lib.fence import Fence, FenceChain, stub
from mock.driver.lib.resv import Resv
from mock.driver.lib.sizes import SZ_4K
from mock.kernel import ERESTARTSYS, Deferred
from tests.mock.driver.double import Client, EventFd, EventFile, Services, Task, fields
from tests.mock.driver.gpu_client import BATCH, DATA, LR, Gpu

WAIT = drm.DRM_IOCTL_SYNCOBJ_WAIT
TIMELINE_WAIT = drm.DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT
ALL = drm.DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL
FOR_SUBMIT = drm.DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT
AVAILABLE = drm.DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE
SIGNALED = drm.DRM_SYNCOBJ_CREATE_SIGNALED


def handles(client: Client, *numbers: int) -> int:
    return client.put(struct.pack(f"<{len(numbers)}I", *numbers))


def points(client: Client, *numbers: int) -> int:
    return client.put(struct.pack(f"<{len(numbers)}Q", *numbers))


def wait_arg(client: Client, *numbers: int, seconds: float | None = 0.0, **values: Any) -> Any:
    now = client.services.loop.time()
    timeout = (1 << 63) - 1 if seconds is None else int((now + seconds) * 1e9) if seconds else 0
    return fields(
        drm.drm_syncobj_wait,
        handles=handles(client, *numbers),
        count_handles=len(numbers),
        timeout_nsec=timeout,
        **values,
    )


def timeline_arg(client: Client, *pairs: tuple[int, int], seconds: float = 0.0, **values: Any) -> Any:
    now = client.services.loop.time()
    return fields(
        drm.drm_syncobj_timeline_wait,
        handles=handles(client, *(handle for handle, _ in pairs)),
        points=points(client, *(point for _, point in pairs)),
        count_handles=len(pairs),
        timeout_nsec=int((now + seconds) * 1e9) if seconds else 0,
        **values,
    )


def signal(client: Client, handle: int, point: int = 0) -> None:
    if point:
        arg = drm.drm_syncobj_timeline_array(
            handles=handles(client, handle), points=points(client, point), count_handles=1
        )
        client.call(drm.DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, arg)
    else:
        binary = drm.drm_syncobj_array(handles=handles(client, handle), count_handles=1)
        client.call(drm.DRM_IOCTL_SYNCOBJ_SIGNAL, binary)


def value(client: Client, handle: int, flags: int = 0) -> int:
    where = points(client, 0xDEAD)
    arg = drm.drm_syncobj_timeline_array(
        handles=handles(client, handle), points=where, count_handles=1, flags=flags
    )
    client.call(drm.DRM_IOCTL_SYNCOBJ_QUERY, arg)
    return client.u64(where)


# Waits


def test_wait_tells_the_first_that_signalled(gpu: Gpu) -> None:
    client = gpu.client
    first, second = gpu.syncobj(), gpu.syncobj(SIGNALED)
    assert client.refused(WAIT, wait_arg(client, first, second)) == errno.EINVAL
    arg = wait_arg(client, first, second, flags=FOR_SUBMIT)
    client.call(WAIT, arg)
    assert arg.first_signaled == 1
    assert client.refused(WAIT, wait_arg(client, first, second, flags=FOR_SUBMIT | ALL)) == errno.ETIME
    signal(client, first)
    arg = wait_arg(client, first, second, flags=ALL)
    client.call(WAIT, arg)
    assert arg.first_signaled == 0


def test_wait_sleeps_until_submit_and_signal(gpu: Gpu) -> None:
    client = gpu.client
    handle = gpu.syncobj()
    deferred, _ = client.start(WAIT, wait_arg(client, handle, seconds=5.0, flags=FOR_SUBMIT))
    assert isinstance(deferred, Deferred)
    fence = Fence()
    syncobj = client.file.syncobjs.get(handle)
    assert syncobj is not None
    syncobj.replace(fence)
    assert not deferred.settled
    fence.signal()
    assert client.settle(deferred, 1) == 0


def test_wait_times_out_at_an_absolute_time(gpu: Gpu) -> None:
    client = gpu.client
    handle = gpu.syncobj()
    start = client.services.loop.time()
    arg = wait_arg(client, handle, seconds=0.5, flags=FOR_SUBMIT)
    assert client.refused(WAIT, arg) == errno.ETIME
    assert 0.5 <= client.services.loop.time() - start < 0.6


@pytest.mark.parametrize("interrupt", ["signal", "death"])
def test_wait_ends_when_the_caller_gets_a_signal_or_dies(gpu: Gpu, interrupt: str) -> None:
    client = gpu.client
    deferred, _ = client.start(WAIT, wait_arg(client, gpu.syncobj(), seconds=None, flags=FOR_SUBMIT))
    assert isinstance(deferred, Deferred)
    answers: list[int] = []
    deferred.deliver_to(answers.append)
    if interrupt == "signal":
        deferred.signalled()
        assert answers == [-ERESTARTSYS]
    else:
        deferred.abandoned()
        assert answers == []
    assert client.services.loop.idle


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"flags": AVAILABLE}, errno.EINVAL),
        ({"flags": 1 << 4}, errno.EINVAL),
        ({"handles": 8}, errno.EFAULT),
        ({"count_handles": 0}, None),
        ({"count_handles": 1 << 30}, errno.ENOMEM),
    ],
)
def test_bad_wait_is_refused(gpu: Gpu, values: dict[str, int], expected: int | None) -> None:
    arg = wait_arg(gpu.client, gpu.syncobj(SIGNALED))
    for name, number in values.items():
        setattr(arg, name, number)
    assert gpu.client.refused(WAIT, arg) == expected


def test_unknown_handle_is_enoent(gpu: Gpu) -> None:
    assert gpu.client.refused(WAIT, wait_arg(gpu.client, 99)) == errno.ENOENT


# Timelines


def test_timeline_values_and_waits(gpu: Gpu) -> None:
    client = gpu.client
    handle = gpu.syncobj()
    assert client.refused(TIMELINE_WAIT, timeline_arg(client, (handle, 5))) == errno.EINVAL
    signal(client, handle, 5)
    assert (value(client, handle), value(client, handle, 1)) == (5, 5)
    client.call(TIMELINE_WAIT, timeline_arg(client, (handle, 3)))
    client.call(TIMELINE_WAIT, timeline_arg(client, (handle, 5)))
    assert client.refused(TIMELINE_WAIT, timeline_arg(client, (handle, 6))) == errno.EINVAL
    assert client.refused(TIMELINE_WAIT, timeline_arg(client, (handle, 6), flags=FOR_SUBMIT)) == errno.ETIME
    syncobj = client.file.syncobjs.get(handle)
    assert syncobj is not None
    late = Fence()
    syncobj.add_point(late, 9)
    assert (value(client, handle), value(client, handle, 1)) == (5, 9)
    client.call(TIMELINE_WAIT, timeline_arg(client, (handle, 9), flags=AVAILABLE))
    assert client.refused(TIMELINE_WAIT, timeline_arg(client, (handle, 9))) == errno.ETIME
    late.signal()
    assert value(client, handle) == 9


def test_point_out_of_order_never_goes_back() -> None:
    chain = FenceChain(FenceChain(None, stub(), 5), stub(), 3)
    assert chain.seqno == 5


def test_long_timeline_signals_without_nesting() -> None:
    fences = [Fence() for _ in range(20_000)]
    chain: FenceChain | None = None
    for number, fence in enumerate(fences, 1):
        chain = FenceChain(chain, fence, number)
    for fence in reversed(fences):
        fence.signal()
    assert chain is not None
    assert chain.signaled


def test_transfer(gpu: Gpu) -> None:
    client = gpu.client
    request = drm.DRM_IOCTL_SYNCOBJ_TRANSFER
    source, target = gpu.syncobj(), gpu.syncobj()
    arg = drm.drm_syncobj_transfer(src_handle=source, dst_handle=target, dst_point=4)
    assert client.refused(request, arg) == errno.EINVAL
    signal(client, source, 7)
    client.call(request, arg)
    assert value(client, target) == 4
    arg = drm.drm_syncobj_transfer(src_handle=source, dst_handle=target, src_point=7)
    client.call(request, arg)
    for bad, expected in (
        ({"src_handle": 99}, errno.ENOENT),
        ({"dst_handle": 99}, errno.ENOENT),
        ({"pad": 1}, errno.EINVAL),
        ({"flags": 1}, errno.EINVAL),
        ({"src_point": 8, "flags": FOR_SUBMIT}, errno.ETIME),
    ):
        bad_arg = fields(drm.drm_syncobj_transfer, **{"src_handle": source, "dst_handle": target, **bad})
        assert client.refused(request, bad_arg) == expected, bad


# Create, reset, descriptors


def test_syncobj_arguments(gpu: Gpu) -> None:
    client = gpu.client
    handle = gpu.syncobj()
    cases = (
        (drm.DRM_IOCTL_SYNCOBJ_CREATE, drm.drm_syncobj_create(flags=2), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_DESTROY, drm.drm_syncobj_destroy(handle=handle, pad=1), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_DESTROY, drm.drm_syncobj_destroy(handle=99), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_RESET, drm.drm_syncobj_array(), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_SIGNAL, drm.drm_syncobj_array(), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, drm.drm_syncobj_timeline_array(flags=1), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_QUERY, drm.drm_syncobj_timeline_array(flags=2), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_EVENTFD, drm.drm_syncobj_eventfd(handle=99), errno.ENOENT),
        (drm.DRM_IOCTL_SYNCOBJ_EVENTFD, drm.drm_syncobj_eventfd(handle=handle, pad=1), errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_EVENTFD, drm.drm_syncobj_eventfd(handle=handle, flags=1), errno.EINVAL),
    )
    for request, arg, expected in cases:
        assert client.refused(request, arg) == expected, request


@pytest.fixture
def eventfd(gpu: Gpu) -> EventFd:
    """The client's descriptor 7."""
    return gpu.client.task.eventfds.setdefault(7, EventFd())


def tell(client: Client, handle: int, point: int = 0, flags: int = 0) -> None:
    arg = fields(drm.drm_syncobj_eventfd, handle=handle, fd=7, point=point, flags=flags)
    client.call(drm.DRM_IOCTL_SYNCOBJ_EVENTFD, arg)


def test_an_eventfd_hears_once_when_the_fence_signals(gpu: Gpu, eventfd: EventFd) -> None:
    client, handle = gpu.client, gpu.syncobj()
    tell(client, handle)
    assert eventfd.value == 0
    signal(client, handle)
    signal(client, handle)
    assert eventfd.value == 1
    tell(client, handle)
    assert eventfd.value == 2


def test_an_eventfd_waits_for_its_point(gpu: Gpu, eventfd: EventFd) -> None:
    client, handle = gpu.client, gpu.syncobj()
    tell(client, handle, point=5)
    signal(client, handle, point=4)
    assert eventfd.value == 0
    signal(client, handle, point=6)
    assert eventfd.value == 1


def test_an_eventfd_may_hear_of_the_fence_or_of_its_end(gpu: Gpu, eventfd: EventFd) -> None:
    client, handle, fence = gpu.client, gpu.syncobj(), Fence()
    syncobj = gpu.client.file.syncobjs.get(handle)
    tell(client, handle, flags=AVAILABLE)
    tell(client, handle)
    syncobj.replace(fence)
    assert eventfd.value == 1
    fence.signal()
    assert eventfd.value == 2


@pytest.mark.parametrize(("fd", "expected"), [(8, errno.EBADF), (9, errno.EINVAL)])
def test_what_is_no_eventfd_is_refused(gpu: Gpu, fd: int, expected: int) -> None:
    gpu.client.task.files[9] = EventFile()
    arg = fields(drm.drm_syncobj_eventfd, handle=gpu.syncobj(), fd=fd)
    assert gpu.client.refused(drm.DRM_IOCTL_SYNCOBJ_EVENTFD, arg) == expected


def test_each_argument_of_arrays_of_syncobjs_counts(gpu: Gpu) -> None:
    client = gpu.client
    good = {"handles": handles(client, gpu.syncobj(SIGNALED)), "count_handles": 1}
    timeline = {**good, "points": points(client, 1)}
    reset, signal_ = drm.DRM_IOCTL_SYNCOBJ_RESET, drm.DRM_IOCTL_SYNCOBJ_SIGNAL
    timeline_signal, query = drm.DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, drm.DRM_IOCTL_SYNCOBJ_QUERY
    many = {"handles": client.mm.map(3 << 20), "count_handles": (4 << 20) // 8 + 1}
    cases: tuple[tuple[Any, Any, dict[str, int], int | None], ...] = (
        (signal_, drm.drm_syncobj_array, good, None),
        (signal_, drm.drm_syncobj_array, {**good, "pad": 1}, errno.EINVAL),
        (signal_, drm.drm_syncobj_array, {**good, "count_handles": 0}, errno.EINVAL),
        # The array of handles may be allocated, that of pointers may not.
        (signal_, drm.drm_syncobj_array, many, errno.ENOMEM),
        (signal_, drm.drm_syncobj_array, {**many, "count_handles": (4 << 20) // 8}, errno.ENOENT),
        (timeline_signal, drm.drm_syncobj_timeline_array, timeline, None),
        (timeline_signal, drm.drm_syncobj_timeline_array, {**timeline, "flags": 1}, errno.EINVAL),
        (timeline_signal, drm.drm_syncobj_timeline_array, {**timeline, "count_handles": 0}, errno.EINVAL),
        (query, drm.drm_syncobj_timeline_array, timeline, None),
        (query, drm.drm_syncobj_timeline_array, {**timeline, "flags": 2}, errno.EINVAL),
        (query, drm.drm_syncobj_timeline_array, {**timeline, "count_handles": 0}, errno.EINVAL),
        (TIMELINE_WAIT, drm.drm_syncobj_timeline_wait, timeline, None),
        (TIMELINE_WAIT, drm.drm_syncobj_timeline_wait, {**timeline, "flags": 16}, errno.EINVAL),
        (reset, drm.drm_syncobj_array, {**good, "pad": 1}, errno.EINVAL),
        (reset, drm.drm_syncobj_array, {**good, "count_handles": 0}, errno.EINVAL),
        (reset, drm.drm_syncobj_array, good, None),
    )
    for request, kind, values, expected in cases:
        assert client.refused(request, fields(kind, **values)) == expected, (request, values)


def test_each_argument_of_an_import_counts(gpu: Gpu) -> None:
    client = gpu.client
    shared = drm.drm_syncobj_handle(handle=gpu.syncobj())
    client.call(drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, shared)
    for values, expected in (({}, None), ({"pad": 1}, 22), ({"flags": 4}, 22), ({"point": 1}, 22)):
        arg = fields(drm.drm_syncobj_handle, fd=shared.fd, **values)
        assert client.refused(drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, arg) == expected, values


def test_reset_takes_the_fence_away(gpu: Gpu) -> None:
    client = gpu.client
    handle = gpu.syncobj(SIGNALED)
    client.call(
        drm.DRM_IOCTL_SYNCOBJ_RESET, drm.drm_syncobj_array(handles=handles(client, handle), count_handles=1)
    )
    assert client.refused(WAIT, wait_arg(client, handle)) == errno.EINVAL


def test_syncobj_and_sync_files_cross_processes(gpu: Gpu, services: Services) -> None:
    client, task = gpu.client, gpu.client.task
    other = Gpu(Client(client.driver, services, task=task))
    handle = gpu.syncobj()
    shared = drm.drm_syncobj_handle(handle=handle)
    client.call(drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, shared)
    back = drm.drm_syncobj_handle(fd=shared.fd)
    other.client.call(drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, back)
    fence = Fence()
    client.file.syncobjs.get(handle).replace(fence)  # type: ignore[union-attr]
    sync_file = drm.drm_syncobj_handle(handle=back.handle, flags=1)
    other.client.call(drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, sync_file)
    event = task.files[sync_file.fd]
    assert isinstance(event, EventFile)
    assert not event.signaled
    target = gpu.syncobj()
    client.call(
        drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, drm.drm_syncobj_handle(handle=target, fd=sync_file.fd, flags=1)
    )
    fence.signal()
    assert event.signaled
    client.call(WAIT, wait_arg(client, target))


@pytest.mark.parametrize(
    ("request_", "values", "expected"),
    [
        (drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, {"handle": 99}, errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, {"handle": 99, "flags": 1}, errno.ENOENT),
        (drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "flags": 1}, errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "pad": 1}, errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "flags": 4}, errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, {"handle": 1, "point": 4}, errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, {"fd": 99}, errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, {"fd": 99, "flags": 1}, errno.EINVAL),
        (drm.DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, {"fd": 99, "point": 1}, errno.EINVAL),
    ],
)
def test_bad_descriptor_calls(gpu: Gpu, request_: Any, values: dict[str, int], expected: int) -> None:
    gpu.syncobj()
    assert gpu.client.refused(request_, fields(drm.drm_syncobj_handle, **values)) == expected


# WAIT_USER_FENCE

UFENCE = xe.DRM_IOCTL_XE_WAIT_USER_FENCE
EQ, NEQ, GT, GTE, LT, LTE = range(6)


def ufence_arg(address: int, op: int = EQ, number: int = 1, mask: int = (1 << 64) - 1, **values: Any) -> Any:
    return fields(xe.drm_xe_wait_user_fence, addr=address, op=op, value=number, mask=mask, **values)


@pytest.mark.parametrize(
    ("memory", "op", "number", "mask", "holds"),
    [
        (5, EQ, 5, ~0, True),
        (5, EQ, 6, ~0, False),
        (0x1_0005, EQ, 5, 0xFFFF, True),
        (5, NEQ, 5, ~0, False),
        (5, NEQ, 6, ~0, True),
        (5, GT, 4, ~0, True),
        (5, GT, 5, ~0, False),
        (5, GTE, 5, ~0, True),
        (5, LT, 5, ~0, False),
        (4, LT, 5, ~0, True),
        (5, LTE, 5, ~0, True),
        (1 << 63, GT, 1, ~0, True),
        (7, EQ, 9, 0, True),
    ],
)
def test_comparisons(client: Client, memory: int, op: int, number: int, mask: int, holds: bool) -> None:
    address = points(client, memory)
    arg = ufence_arg(address, op, number, mask & (1 << 64) - 1)
    assert client.refused(UFENCE, arg) == (None if holds else errno.ETIME)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"extensions": 1}, errno.EINVAL),
        ({"pad": 1}, errno.EINVAL),
        ({"pad2": 1}, errno.EINVAL),
        ({"reserved": [0, 1]}, errno.EINVAL),
        ({"flags": 2}, errno.EINVAL),
        ({"op": 6}, errno.EINVAL),
        ({"addr": 0x1004}, errno.EINVAL),
        ({"addr": 0x1000}, errno.EFAULT),
        ({"exec_queue_id": 5}, errno.ENOENT),
    ],
)
def test_bad_user_fence_wait(client: Client, values: dict[str, Any], expected: int) -> None:
    arg = fields(xe.drm_xe_wait_user_fence, **{"addr": points(client, 0), "value": 1, "mask": 1, **values})
    assert client.refused(UFENCE, arg) == expected


def test_relative_timeout_is_counted_down_and_an_absolute_one_kept(client: Client) -> None:
    address = points(client, 0)
    arg = ufence_arg(address, timeout=50_000_000)
    with pytest.raises(OSError) as caught:
        client.call(UFENCE, arg)
    assert (caught.value.errno, arg.timeout) == (errno.ETIME, 0)
    deadline = int((client.services.loop.time() + 0.05) * 1e9)
    arg = ufence_arg(address, timeout=deadline, flags=xe.DRM_XE_UFENCE_WAIT_FLAG_ABSTIME)
    assert client.refused(UFENCE, arg) == errno.ETIME
    assert arg.timeout == deadline


def test_time_left_is_written_back_on_success(gpu: Gpu) -> None:
    client = gpu.client
    address = gpu.client.mm.map(SZ_4K)
    deferred, where = client.start(UFENCE, ufence_arg(address, number=9, timeout=10**9))
    assert isinstance(deferred, Deferred)
    gpu.bind(
        gpu.vm(),
        gpu.op(range=0x10000, flags=xe.DRM_XE_VM_BIND_FLAG_NULL),
        syncs=(fields(xe.drm_xe_sync, type=2, flags=1, addr=address, timeline_value=9),),
    )
    assert client.settle(deferred, 1) == 0
    left = xe.drm_xe_wait_user_fence.from_buffer_copy(client.mm.read(where, 72)).timeout
    assert 0 < left < 10**9


def test_negative_timeout_waits_for_ever_and_a_banned_queue_ends_it_with_eio(gpu: Gpu) -> None:
    client = gpu.client
    vm, batch = gpu.vm(LR), gpu.bo()
    gpu.map(vm, batch, BATCH)
    queue = gpu.queue(vm)
    address = client.mm.map(SZ_4K)
    deferred, _ = client.start(UFENCE, ufence_arg(address, timeout=-1, exec_queue_id=queue))
    assert isinstance(deferred, Deferred)
    client.services.loop.run_until(lambda: False, 30)
    assert not deferred.settled
    gpu.batch(batch, Batch().store_dword(DATA, 1).end())
    gpu.execute(queue)
    with pytest.raises(OSError) as caught:
        client.settle(deferred, 1)
    assert caught.value.errno == errno.EIO


# The DRM core


def test_version(client: Client) -> None:
    arg = drm.drm_version()
    client.call(drm.DRM_IOCTL_VERSION, arg)
    assert (arg.version_major, arg.name_len, arg.date_len) == (1, 2, 1)
    name, desc = client.put(b"????????"), client.put(bytes(64))
    arg = drm.drm_version(name=name, name_len=1, desc=desc, desc_len=64)
    client.call(drm.DRM_IOCTL_VERSION, arg)
    assert client.mm.read(name, 2) == b"x?"
    assert client.mm.read(desc, arg.desc_len).startswith(b"Intel Xe")
    arg = drm.drm_version(name=8, name_len=8)
    with pytest.raises(OSError) as caught:
        client.call(drm.DRM_IOCTL_VERSION, arg)
    # The kernel copies the structure back on errors too.
    assert (caught.value.errno, arg.name_len) == (errno.EFAULT, 2)


def test_capabilities(client: Client) -> None:
    for capability, expected in (
        (drm.DRM_CAP_PRIME, 3),
        (drm.DRM_CAP_SYNCOBJ, 1),
        (drm.DRM_CAP_SYNCOBJ_TIMELINE, 1),
    ):
        arg = drm.drm_get_cap(capability=capability)
        client.call(drm.DRM_IOCTL_GET_CAP, arg)
        assert arg.value == expected
    assert client.refused(drm.DRM_IOCTL_GET_CAP, drm.drm_get_cap(capability=99)) == errno.EOPNOTSUPP


def test_client_name(client: Client) -> None:
    def name(text: bytes, length: int | None = None) -> int | None:
        arg = drm.drm_set_client_name(
            name=client.put(text.ljust(8, b"x")), name_len=len(text) if length is None else length
        )
        return client.refused(drm.DRM_IOCTL_SET_CLIENT_NAME, arg)

    assert name(b"svm-cts") is None
    assert client.file.client_name == "svm-cts"
    for text, length, expected in (
        (b"a b", 3, errno.EINVAL),
        (b"a\0b", 3, errno.EINVAL),
        (b"x" * 64, 64, None),
        (b"x" * 65, 65, errno.EINVAL),
    ):
        assert name(text, length) == expected
    assert name(b"", 0) is None
    assert client.file.client_name is None
    assert (
        client.refused(drm.DRM_IOCTL_SET_CLIENT_NAME, drm.drm_set_client_name(name=8, name_len=4))
        == errno.EFAULT
    )


def test_card_and_render_nodes(client: Client, services: Services) -> None:
    card = Client(client.driver, services, minor=0, task=Task())
    unique = drm.drm_unique()
    assert client.refused(drm.DRM_IOCTL_GET_UNIQUE, unique) == errno.EACCES
    card.call(drm.DRM_IOCTL_GET_UNIQUE, unique)
    card.call(drm.DRM_IOCTL_VERSION, drm.drm_version())
    assert client.driver.nodes() == {"renderD128": 128, "card0": 0}


def test_master_of_a_card_node(client: Client, services: Services) -> None:
    set_master, drop_master = drm.DRM_IOCTL_SET_MASTER, drm.DRM_IOCTL_DROP_MASTER
    user, other, root = Task(capabilities=set(), tgid=1), Task(capabilities=set(), tgid=2), Task(tgid=3)
    first, second, third = (
        Client(client.driver, services, minor=0, task=task) for task in (user, other, root)
    )

    def call(who: Client, request: Any, task: Task | None = None) -> int | None:
        try:
            who.driver.ioctl(who.file, task or who.task, request.number, 0)
        except OSError as error:
            return error.errno
        return None

    assert call(client, set_master) == errno.EACCES
    assert [call(who, set_master) for who in (first, second, third)] == [None, errno.EACCES, errno.EBUSY]
    assert [call(who, drop_master) for who in (second, third)] == [errno.EACCES, errno.EINVAL]
    assert call(first, drop_master, other) == errno.EACCES
    assert call(first, drop_master) is None
    assert call(first, drop_master) == errno.EINVAL
    assert call(third, set_master) is None
    assert call(first, set_master) == errno.EBUSY
    client.driver.release(third.file)
    assert call(first, set_master) is None


def test_global_names_are_for_the_authenticated(client: Client, services: Services) -> None:
    master = Client(client.driver, services, minor=0, task=Task(capabilities=set()))
    root = Client(client.driver, services, minor=0, task=Task())
    user = Client(client.driver, services, minor=0, task=Task(capabilities=set()))
    flink, gem_open = drm.DRM_IOCTL_GEM_FLINK, drm.DRM_IOCTL_GEM_OPEN
    for who, denied in ((master, None), (root, None), (user, errno.EACCES), (client, errno.EACCES)):
        assert who.refused(flink, drm.drm_gem_flink(handle=1)) == (denied or errno.ENOENT)
        assert who.refused(gem_open, drm.drm_gem_open(name=1)) == (denied or errno.ENOENT)


def test_what_is_no_ioctl(client: Client) -> None:
    def raw(request: int) -> int | None:
        try:
            client.driver.ioctl(client.file, client.task, request, 0)
        except OSError as error:
            return error.errno
        return None

    assert raw(0xC000_6500) == errno.ENOTTY
    assert raw(0xC000_6450) == errno.EINVAL
    assert raw(0xC000_64FF) == errno.EINVAL
    assert raw(0xC004_64A0) == errno.EACCES
    card = Client(client.driver, client.services, minor=0)
    with pytest.raises(OSError) as caught:
        card.driver.ioctl(card.file, card.task, 0xC004_64A0, 0)
    assert caught.value.errno == errno.EOPNOTSUPP
    assert raw(drm.DRM_IOCTL_VERSION.number) == errno.EFAULT


def test_structures_may_be_shorter_or_longer(client: Client) -> None:
    """As in drm_ioctl(): fields beyond the caller's structure are zero, and are not returned."""
    request = drm.DRM_IOCTL_SYNCOBJ_CREATE.number
    short = request & ~(0x3FFF << 16) | 4 << 16
    address = client.put(b"\xaa" * 16)
    client.driver.ioctl(client.file, client.task, short, address)
    assert client.u32(address) == 1
    assert client.u32(address + 4) == 0xAAAAAAAA
    longer = request & ~(0x3FFF << 16) | 16 << 16
    address = client.put(bytes(16))
    client.driver.ioctl(client.file, client.task, longer, address)
    assert client.u32(address) == 2


def test_observation_is_not_available(client: Client) -> None:
    request = xe.DRM_IOCTL_XE_OBSERVATION
    for kind, op, expected in (
        (0, 0, errno.ENODEV),
        (0, 2, errno.ENODEV),
        (0, 3, errno.EINVAL),
        (1, 0, errno.ENODEV),
        (1, 1, errno.EINVAL),
        (2, 0, errno.EINVAL),
    ):
        arg = xe.drm_xe_observation_param(observation_type=kind, observation_op=op)
        assert client.refused(request, arg) == expected
    assert client.refused(request, xe.drm_xe_observation_param(extensions=1)) == errno.EINVAL


def test_debugfs_statistics(client: Client, open_client: Any) -> None:
    text = client.driver.read_file("/sys/kernel/debug/dri/128/gt0/stats")
    assert text is not None
    names = [line.split(b": ")[0] for line in text.splitlines()]
    assert names[0] == b"svm_pagefault_count"
    assert len(names) == len(set(names)) == 54
    assert client.driver.read_file("/sys/kernel/debug/dri/128/gt9/stats") is None
    assert client.driver.read_file("/sys/kernel/debug/dri/nothing") is None
    old = open_client("bmg", "6.18").driver.read_file("/sys/kernel/debug/dri/128/gt0/stats")
    assert len(old.splitlines()) == 37


def test_reservation_keeps_pending_fences_only() -> None:
    """Signalled fences are dropped now and then, not with each new one."""
    reservation = Resv()
    pending = [Fence() for _ in range(20)]
    for fence in pending:
        reservation.add_bookkeep(fence)
    for _ in range(1000):
        fence = Fence()
        reservation.add_bookkeep(fence)
        fence.signal()
    assert len(reservation._bookkeep) <= 2 * len(pending)
    assert reservation.all() == pending
    assert not reservation.idle
