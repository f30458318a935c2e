# SPDX-License-Identifier: MIT
"""Reading this process's own memory at an address that may be bad, without a signal.

A test passes bad pointers to the kernel on purpose; code that looks at them afterwards must not be killed.
process_vm_readv(2) copies what the page protections allow and says how much that was, as the kernel's own
copy_from_user does. If a sandbox forbids it, /proc/self/mem is read, which differs only in that it also reads pages
without read permission.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path

_WORD = ctypes.sizeof(ctypes.c_size_t)
_readv = ctypes.CDLL(None, use_errno=True).process_vm_readv
_readv.restype = ctypes.c_ssize_t
_readv.argtypes = (
    ctypes.c_int,
    ctypes.c_size_t,
    ctypes.c_ulong,
    ctypes.c_size_t,
    ctypes.c_ulong,
    ctypes.c_ulong,
)


class _Spans(threading.local):
    """Two struct iovec for each thread, local then remote; kept, because reads are on a hot path."""

    def __init__(self) -> None:
        self.words = (ctypes.c_size_t * 4)()
        self.local = ctypes.addressof(self.words)
        self.remote = self.local + 2 * _WORD


_spans = _Spans()


def read(address: int, size: int) -> bytes | None:
    """At most ``size`` bytes from ``address``: fewer where readable memory ends, None if there is none."""
    buffer = ctypes.create_string_buffer(size)
    _spans.words[:] = [ctypes.addressof(buffer), size, address, size]
    got = _readv(os.getpid(), _spans.local, 1, _spans.remote, 1, 0)
    if got >= 0:
        return buffer.raw[:got]
    return None if ctypes.get_errno() == errno.EFAULT else read_proc(address, size)


def read_proc(address: int, size: int) -> bytes | None:
    """Fallback of ``read``."""
    try:
        # Opened each time: a descriptor kept over a fork would keep reading the parent.
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            return os.pread(memory.fileno(), size, address) or None
    except (OSError, OverflowError):
        return None
