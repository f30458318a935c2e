# SPDX-License-Identifier: MIT
"""The program that is made from a transcript."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from ctypes import addressof
from typing import Any
from unittest import mock

import pytest

from ioctl import call, drm, transcript, xe
from tests.ioctl.kernel import answering, raising, setting

ANSWERS = {
    xe.DRM_IOCTL_XE_VM_CREATE: setting(vm_id=7),
    xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE: setting(exec_queue_id=3),
    xe.DRM_IOCTL_XE_GEM_CREATE: setting(handle=2),
    drm.DRM_IOCTL_SYNCOBJ_CREATE: setting(handle=5),
    xe.DRM_IOCTL_XE_MADVISE: raising(*[errno.EINVAL] * 100),
}


def session(fd: int) -> None:
    """Calls of every sort: ids that later calls use, arrays, chains, bad pointers, unknown types, errors."""
    vm = xe.drm_xe_vm_create(flags=xe.DRM_XE_VM_CREATE_FLAG_LR_MODE)
    call(fd, xe.DRM_IOCTL_XE_VM_CREATE, vm)
    bo = xe.drm_xe_gem_create(size=0x1000, placement=1, cpu_caching=xe.DRM_XE_GEM_CPU_CACHING_WB)
    call(fd, xe.DRM_IOCTL_XE_GEM_CREATE, bo)
    timeslice = xe.drm_xe_ext_set_property(property=xe.DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE, value=5)
    base = xe.drm_xe_user_extension(next_extension=addressof(timeslice))
    priority = xe.drm_xe_ext_set_property(base=base, value=1)
    engines = (xe.drm_xe_engine_class_instance * 2)()
    engines[1].engine_instance = 1
    queue = xe.drm_xe_exec_queue_create(width=1, num_placements=2, vm_id=vm.vm_id)
    queue.instances, queue.extensions = addressof(engines), addressof(priority)
    call(fd, xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, queue)
    point = drm.drm_syncobj_create()
    call(fd, drm.DRM_IOCTL_SYNCOBJ_CREATE, point)
    ops = (xe.drm_xe_vm_bind_op * 2)()
    ops[0].obj, ops[0].range, ops[0].addr = bo.handle, 0x1000, 0x100000
    ops[1].op, ops[1].flags, ops[1].range = xe.DRM_XE_VM_BIND_OP_UNMAP, 0x100, 0x1000
    syncs = (xe.drm_xe_sync * 1)(xe.drm_xe_sync(handle=point.handle, flags=xe.DRM_XE_SYNC_FLAG_SIGNAL))
    bind = xe.drm_xe_vm_bind(vm_id=vm.vm_id, num_binds=2, vector_of_binds=addressof(ops), num_syncs=1)
    bind.syncs = addressof(syncs)
    call(fd, xe.DRM_IOCTL_XE_VM_BIND, bind)
    single = xe.drm_xe_vm_bind(vm_id=vm.vm_id, num_binds=1, num_syncs=4, syncs=0xDEAD0000)
    single.bind.userptr, single.bind.op = 0x5000, xe.DRM_XE_VM_BIND_OP_MAP_USERPTR
    call(fd, xe.DRM_IOCTL_XE_VM_BIND, single)
    for kind in (xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC, 77):
        advise = xe.drm_xe_madvise(vm_id=vm.vm_id, type=kind, start=0x7000_0000, range=0x1000)
        advise.atomic.val = 2
        with pytest.raises(OSError, match="EINVAL"):
            call(fd, xe.DRM_IOCTL_XE_MADVISE, advise)
    handles, points = (ctypes.c_uint32 * 1)(point.handle), (ctypes.c_uint64 * 1)(9)
    signal = drm.drm_syncobj_timeline_array(count_handles=1, handles=addressof(handles))
    signal.points = addressof(points)
    call(fd, drm.DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, signal)
    buffer = ctypes.create_string_buffer(40)
    query = xe.drm_xe_device_query(query=xe.DRM_XE_DEVICE_QUERY_ENGINES, size=40, data=addressof(buffer))
    call(fd, xe.DRM_IOCTL_XE_DEVICE_QUERY, query)
    name = ctypes.create_string_buffer(b"test")
    call(fd, drm.DRM_IOCTL_SET_CLIENT_NAME, drm.drm_set_client_name(name_len=4, name=addressof(name)))
    fence = xe.drm_xe_wait_user_fence(addr=0x6000, value=1, mask=255, timeout=10**9)
    call(fd, xe.DRM_IOCTL_XE_WAIT_USER_FENCE, fence)


def recorded() -> transcript.Transcript:
    """The transcript of a session on descriptor 5."""
    with answering(ANSWERS), transcript.recording() as kept:
        kept.opened(5, "/dev/dri/renderD128")
        session(5)
    return kept


def addresses_apart(text: str) -> str:
    """Text of a transcript without what differs from run to run."""
    text = re.sub(r"<[\d.]+", "<TIME", text)
    return re.sub(r"0x[0-9a-f]+(?= -> [^<])|(?<=next_extension=)0x[0-9a-f]+", "ADDR", text)


def test_the_program_makes_the_same_calls(capsys: pytest.CaptureFixture[str]) -> None:
    """With the same answers it leaves the same transcript, and prints nothing."""
    first = recorded()
    with answering(ANSWERS), transcript.recording() as second, mock.patch.object(os, "open", return_value=5):
        second.opened(5, "/dev/dri/renderD128")
        exec(compile(first.replay(), "replay", "exec"), {})
    assert addresses_apart(second.text()) == addresses_apart(first.text())
    assert capsys.readouterr().out == ""


def test_another_errno_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """On another kernel the program prints where the answers differ."""
    answers = {**ANSWERS, xe.DRM_IOCTL_XE_MADVISE: setting()}
    with answering(answers), mock.patch.object(os, "open", return_value=5), transcript.recording():
        exec(compile(recorded().replay(), "replay", "exec"), {})
    assert capsys.readouterr().out == "DRM_IOCTL_XE_MADVISE: errno 0, was 22\n" * 2


def test_ids_follow_the_call_that_made_them() -> None:
    """A VM that is number 12 on another machine is still the same VM."""
    text = recorded().replay()
    assert "vm_id=arg1.vm_id" in text
    assert "xe.drm_xe_vm_bind_op(obj=arg2.handle, " in text
    assert "xe.drm_xe_sync(flags=xe.DRM_XE_SYNC_FLAG_SIGNAL, handle=arg4.handle)" in text
    assert "(ctypes.c_uint * 1)(arg4.handle)" in text


def test_ids_of_two_descriptors_are_not_mixed() -> None:
    """Each file has VMs of its own."""

    def two(arg: Any) -> None:
        arg.vm_id = 1

    with answering({xe.DRM_IOCTL_XE_VM_CREATE: two}), transcript.recording() as kept:
        call(7, xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create())
        call(8, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=1))
        call(7, xe.DRM_IOCTL_XE_VM_DESTROY, xe.drm_xe_vm_destroy(vm_id=1))
    lines = kept.replay().splitlines()
    assert "arg2 = xe.drm_xe_vm_destroy(vm_id=1)" in lines
    assert "arg3 = xe.drm_xe_vm_destroy(vm_id=arg1.vm_id)" in lines
    assert sum("os.open" in line and "a guess" in line for line in lines) == 2


def test_notes_become_lines_or_comments() -> None:
    """A fixture gives the line that repeats its action."""
    with transcript.recording(kept=2) as kept:
        kept.note("dropped")
        kept.note("mmap(8192) = 0x1000", "memory = mmap.mmap(-1, 8192)")
        kept.note("two\nlines")
    lines = kept.replay().splitlines()
    assert lines[-4:] == [
        "# 1 older calls and notes were dropped",
        "memory = mmap.mmap(-1, 8192)",
        "# two",
        "# lines",
    ]
