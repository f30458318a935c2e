# SPDX-License-Identifier: MIT
"""ioctl.call: results, errors, restarts and arguments."""

from __future__ import annotations

import array
import copy
import ctypes
import errno
import mmap
import os

import pytest

from ioctl import call, drm, transcript, xe
from ioctl.encoding import Request
from ioctl.record import Record
from tests.ioctl.kernel import answering, raising

FIONREAD = 0x541B  # asm-generic/ioctls.h: takes an int *, answers on every pipe


def numbered(request: Request, number: int) -> Request:
    """A request with a number of another subsystem, to reach a kernel that answers."""
    other = copy.copy(request)
    object.__setattr__(other, "number", number)
    return other


def test_a_descriptor_that_is_no_drm_device_gives_enotty_and_says_where() -> None:
    """The kernel's errno, with its name, the request and the descriptor in the message."""
    read, write = os.pipe()
    with pytest.raises(OSError) as caught:
        call(read, xe.DRM_IOCTL_XE_MADVISE, xe.drm_xe_madvise())
    assert caught.value.errno == errno.ENOTTY
    assert caught.value.strerror == (
        f"ENOTTY: DRM_IOCTL_XE_MADVISE on fd {read}: Inappropriate ioctl for device"
    )
    os.close(read)
    os.close(write)


def test_a_closed_descriptor_gives_ebadf() -> None:
    """Errors of the descriptor come through like those of the driver."""
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    with pytest.raises(OSError, match=r"EBADF: DRM_IOCTL_XE_VM_CREATE on fd \d+"):
        call(read, xe.DRM_IOCTL_XE_VM_CREATE, xe.drm_xe_vm_create())


def test_the_kernel_changes_the_argument_in_place() -> None:
    """A real ioctl writes into the ctypes structure."""
    read, write = os.pipe()
    os.write(write, b"12345")
    arg = drm.drm_gem_close()
    assert call(read, numbered(drm.DRM_IOCTL_GEM_CLOSE, FIONREAD), arg) == 0
    assert arg.handle == 5
    os.close(read)
    os.close(write)


def test_a_plain_number_reaches_the_kernel_with_all_its_bits() -> None:
    """fcntl.ioctl cuts an integer argument to 32 bits; memory lies above."""
    read, write = os.pipe()
    os.write(write, b"123")
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    place = ctypes.c_int.from_buffer(memory)
    assert ctypes.addressof(place) >> 32
    assert call(read, numbered(drm.DRM_IOCTL_GEM_CLOSE, FIONREAD), ctypes.addressof(place)) == 0
    assert place.value == 3
    with pytest.raises(OSError, match="EFAULT"):
        call(read, numbered(drm.DRM_IOCTL_GEM_CLOSE, FIONREAD), 0xDEAD_0000_0000)
    os.close(read)
    os.close(write)


def test_a_positive_result_is_returned() -> None:
    """DRM_IOCTL_XE_OBSERVATION returns a descriptor, which python-ioctl's perform would lose."""
    with answering({xe.DRM_IOCTL_XE_OBSERVATION: lambda _: 7}):
        assert call(3, xe.DRM_IOCTL_XE_OBSERVATION, xe.drm_xe_observation_param()) == 7


@pytest.mark.parametrize("code", [errno.EINTR, errno.EAGAIN])
def test_without_retry_an_interruption_is_seen(code: int) -> None:
    """A conformance test must see EINTR and EAGAIN; one call reaches the kernel."""
    with answering({xe.DRM_IOCTL_XE_EXEC: raising(code)}) as arrived, pytest.raises(OSError) as caught:
        call(3, xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec())
    assert (caught.value.errno, len(arrived)) == (code, 1)


def test_with_retry_the_call_starts_again_until_it_is_answered() -> None:
    """EINTR and EAGAIN, any number of times, in one record that counts them."""
    answers = {xe.DRM_IOCTL_XE_EXEC: raising(errno.EINTR, errno.EAGAIN, errno.EINTR)}
    with answering(answers) as arrived, transcript.recording() as kept:
        assert call(3, xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec(), retry=True) == 0
    assert len(arrived) == 4
    [record] = kept.records
    assert isinstance(record, Record)
    assert (record.restarts, record.errno, record.result) == (3, 0, 0)


def test_with_retry_other_errors_are_final() -> None:
    """Only the two that libdrm restarts on."""
    answers = {xe.DRM_IOCTL_XE_EXEC: raising(errno.EINTR, errno.EBUSY)}
    with answering(answers) as arrived, pytest.raises(OSError, match="EBUSY"):
        call(3, xe.DRM_IOCTL_XE_EXEC, xe.drm_xe_exec(), retry=True)
    assert len(arrived) == 2


@pytest.mark.parametrize("arg", [xe.drm_xe_vm_create(), array.array("B", bytes(64)), None])
def test_an_argument_of_another_type_never_reaches_the_kernel(arg: object) -> None:
    """The number carries a size; the kernel would read past a smaller structure."""
    with answering({}) as arrived, pytest.raises(TypeError, match="DRM_IOCTL_XE_MADVISE takes"):
        call(3, xe.DRM_IOCTL_XE_MADVISE, arg)  # type: ignore[arg-type]
    assert arrived == []


def test_a_request_without_argument_takes_none() -> None:
    """0 is passed on."""
    read, write = os.pipe()
    with pytest.raises(OSError, match="ENOTTY: DRM_IOCTL_SET_MASTER"):
        call(read, drm.DRM_IOCTL_SET_MASTER)
    os.close(read)
    os.close(write)
