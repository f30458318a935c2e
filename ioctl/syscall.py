# SPDX-License-Identifier: MIT
"""The one place that calls ioctl(2)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from time import perf_counter_ns

from ioctl import transcript
from ioctl.encoding import Request
from ioctl.errors import errno_name
from ioctl.pointers import capture_after, capture_before
from ioctl.record import Record

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_size_t)
RESTARTED = frozenset({errno.EINTR, errno.EAGAIN})


def _at_address(fd: int, number: int, address: int) -> int:
    """ioctl(2) with any number as argument: fcntl.ioctl would cut it to 32 bits."""
    result: int = _libc.ioctl(fd, number, address)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def call(fd: int, request: Request, arg: ctypes.Structure | int = 0, *, retry: bool = False) -> int:
    """ioctl(2): ``arg`` is changed in place, the result is what the kernel returned (0 or more).

    ``arg`` is the request's structure, or a plain number: an address for tests of bad pointers, 0 for a
    request without an argument. With ``retry`` EINTR and EAGAIN start the call again, as libdrm's drmIoctl
    does; without it they are raised like any other error. OSError has the errno, and a message with its
    name, the request and the descriptor. Recorded in the current transcript.
    """
    if isinstance(arg, int):
        record = Record(fd, request, arg)
    elif type(arg) is request.struct:
        record = Record(fd, request, bytes(arg))
        record.nested = capture_before(arg)
    else:
        raise TypeError(f"{request} takes {request.struct}, not {type(arg)}")
    current = transcript.current()
    current.add(record)
    current.steps.add("ioctl", record)
    started = record.began_ns = perf_counter_ns()
    while True:
        try:
            if isinstance(arg, int):
                result = _at_address(fd, request.number, arg)
            else:
                result = fcntl.ioctl(fd, request.number, arg, True)
            break
        except OSError as error:
            if not retry or error.errno not in RESTARTED:
                result = -1
                record.errno = error.errno or 0
                break
            record.restarts += 1
    record.duration_ns = perf_counter_ns() - started
    record.result = result
    if not isinstance(arg, int):
        record.after = bytes(arg)
        if record.nested:
            capture_after(record.nested)
    current.steps.called(record)
    if result < 0:
        name = errno_name(record.errno)
        raise OSError(record.errno, f"{name}: {request} on fd {fd}: {os.strerror(record.errno)}")
    return result
