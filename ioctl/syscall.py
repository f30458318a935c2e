# SPDX-License-Identifier: MIT
"""The one place that calls ioctl(2)."""

import ctypes
import errno
import fcntl
import os

from ioctl.encoding import Request

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)


def _at_address(fd: int, request: Request, address: int) -> int:
    """ioctl(2) with the argument at any address: fcntl.ioctl would pass a number on as a 32-bit integer."""
    result: int = _libc.ioctl(fd, request.number, address)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def call(fd: int, request: Request, arg: ctypes.Structure | int | None = None, *, retry: bool = False) -> int:
    """ioctl(2): the argument is changed in place, the result is what the kernel returned (0 or more).

    ``arg`` is the request's structure, or a plain address for tests of bad pointers, or None for a request
    without an argument. With ``retry`` EINTR and EAGAIN start the call again, as libdrm's drmIoctl does;
    without it they are raised like any other error. OSError has the errno, and a message with its name, the
    request and the descriptor.
    """
    while True:
        try:
            if isinstance(arg, ctypes.Structure):
                return fcntl.ioctl(fd, request.number, arg, True)
            return _at_address(fd, request, arg or 0)
        except OSError as error:
            code = error.errno or 0
        if retry and code in (errno.EINTR, errno.EAGAIN):
            continue
        name = errno.errorcode.get(code, str(code))
        raise OSError(code, f"{name}: {request} on fd {fd}: {os.strerror(code)}")
