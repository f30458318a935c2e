# SPDX-License-Identifier: MIT
"""A thread of another process that executes madvise(2) there for us, on the memory of that process.

Only a thread of a process can drop its pages: process_madvise(2) refuses MADV_DONTNEED. The adviser is a thread that no
C library knows of: some instructions that read a request from a socket, make the call and write its result. It touches
no memory but its own two pages, which a child of fork does not get, and it blocks all signals. Its table of files is
its own and has the socket only, so the program can neither close that nor find it. It ends when the socket's other end
is closed, and with its process.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import signal
import socket
import struct

from mock.linux.instructions import instructions

MADV_DONTNEED_LOCKED = 24
MADV_DONTFORK = 10

SOCKET = (socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC, 0)
"""Arguments of socketpair(2)."""

CLONE_FLAGS = 0x100 | 0x200 | 0x800 | 0x10000 | 0x40000
"""CLONE_VM, CLONE_FS, CLONE_SIGHAND, CLONE_THREAD, CLONE_SYSVSEM: a thread, with files of its own."""

PAGE = 4096
SIZE = 2 * PAGE
"""A page of instructions, which is executable, and one with request, result and descriptor, which is writable."""

FLAGS = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
"""Shared memory is never merged with a mapping of the program, and never migrates."""

_REQUEST = struct.Struct("=QQQ")
_RESULT = struct.Struct("=q")
_DESCRIPTOR = struct.Struct("=32xQ")

_START = 10.0
"""Seconds in which the thread has to start, on a very busy machine."""

_mprotect = ctypes.CDLL(None, use_errno=True).mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_Clone = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_ulong, ctypes.c_void_p)
_kept: list[object] = []


def contents(fd: int) -> bytes:
    """Initial contents of its memory; ``fd`` is its end of the socket."""
    return instructions().ljust(PAGE, b"\0") + _DESCRIPTOR.pack(fd)


def create() -> int:
    """Start an adviser of this process. Returns the descriptor for an Adviser. Raises OSError."""
    memory = mmap.mmap(-1, SIZE, flags=FLAGS, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    memory.madvise(MADV_DONTFORK)
    view = ctypes.c_char.from_buffer(memory)
    _kept.append(view)
    address = ctypes.addressof(view)
    ours, theirs = socket.socketpair(*SOCKET)
    with ours, theirs:
        image = contents(theirs.fileno())
        memory[: len(image)] = image
        if _mprotect(address, PAGE, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "mprotect")
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            tid = _Clone(address)(CLONE_FLAGS, address + SIZE)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if tid < 0:
            raise OSError(-tid, "clone")
        theirs.close()
        poll = select.poll()
        poll.register(ours, select.POLLIN)
        poll.poll(_START * 1000)
        adviser = Adviser(ours.fileno())
        if not adviser.started():
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return ours.detach()


class Adviser:
    """Our end, one request at a time. Readable when there is a result; every method but ``close`` raises
    ProcessLookupError if the thread, and so its process or the program in it, has ended.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)

    def started(self) -> bool:
        """Whether it can be used already. Raises OSError if it never can."""
        result = self.result()
        if result is not None and result < 0:
            raise OSError(-result, f"close_range: {os.strerror(-result)}")
        return result is not None

    def madvise(self, start: int, end: int, advice: int) -> None:
        """Request madvise(2) on [start, end). Get its completion with ``result`` before the next one."""
        try:
            os.write(self.fd, _REQUEST.pack(start, end - start, advice))
        except (BrokenPipeError, ConnectionResetError):
            raise _ended() from None

    def result(self) -> int | None:
        """The result of madvise (0 or negative errno), None while it runs."""
        try:
            data = os.read(self.fd, _RESULT.size)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            data = b""
        if len(data) != _RESULT.size:
            raise _ended()
        result: int = _RESULT.unpack(data)[0]
        return result

    def close(self) -> None:
        os.close(self.fd)


def _ended() -> ProcessLookupError:
    return ProcessLookupError(errno.ESRCH, "the thread ended")
