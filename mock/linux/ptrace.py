# SPDX-License-Identifier: MIT
"""ptrace(2): making another thread do system calls, in passing, without it noticing."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import time
from collections.abc import Iterator
from types import TracebackType

from mock.linux.syscall import MACHINE, NUMBERS

_DETACH = 17
_SYSCALL = 24
_GETREGSET = 0x4204
_SETREGSET = 0x4205
_SEIZE = 0x4206
_INTERRUPT = 0x4207
_GETSIGMASK = 0x420A
_SETSIGMASK = 0x420B
_O_TRACESYSGOOD = 1
_EVENT_STOP = 128
_NT_PRSTATUS = 1
_WALL = 0x40000000
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_ALL_SIGNALS = (1 << 64) - 1

_PATIENCE = 5.0
"""Seconds until a thread that does not stop is left alone."""

# Indices into the general registers (struct user_regs_struct, struct user_pt_regs): of the program counter, the result,
# the system call's number and its arguments, and the size of the instruction that makes the call.
_LAYOUT = {
    "x86_64": (16, 10, 10, (14, 13, 12, 7, 9, 8), 2),
    "aarch64": (32, 0, 8, (0, 1, 2, 3, 4, 5), 4),
}
_ORIG_RAX = 15
_REGISTERS = {"x86_64": 27, "aarch64": 34}

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


def _request(request: int, tid: int, address: int = 0, data: int = 0) -> None:
    if _ptrace(request, tid, address, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace: {os.strerror(error)}")


class Stopping:
    """A thread that will stop on its way back to user space from the system call it is in; traced until
    `close`.

    Raises OSError: EPERM when another process traces it, or tracing it is not allowed; ESRCH.
    """

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self._open = True
        _request(_SEIZE, tid, 0, _O_TRACESYSGOOD)
        try:
            _request(_INTERRUPT, tid)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Stopping:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let it go on."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):  # it is dead
                _request(_DETACH, self.tid)

    def wait(self, stop: int) -> None:
        """Until it is in this stop (a status without its low byte). OSError(ESRCH) when it ended,
        ETIMEDOUT.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            pid, status = os.waitpid(self.tid, _WALL | os.WNOHANG)
            if pid and not os.WIFSTOPPED(status):
                self._open = False
                raise OSError(errno.ESRCH, "the thread ended")
            if pid and status >> 8 == stop:
                return
            if pid:
                # Another stop on the way, for a signal that was due: pass it on.
                number = status >> 8 & 0x7F if status >> 16 == 0 and status >> 8 != _SYSCALL_STOP else 0
                _request(_SYSCALL, self.tid, 0, number)
            elif time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, "the thread does not stop")
            else:
                time.sleep(0.0001)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[Stopped]:
        """Wait until it has stopped; while inside, it does what it is told. Nothing of it is changed
        afterwards.
        """
        self.wait(signal.SIGTRAP | _EVENT_STOP << 8)
        thread = Stopped(self)
        mask = ctypes.c_uint64()
        _request(_GETSIGMASK, self.tid, 8, ctypes.addressof(mask))
        # A signal would end a system call early, and its handler would run in the middle of our doings.
        _request(_SETSIGMASK, self.tid, 8, ctypes.addressof(ctypes.c_uint64(_ALL_SIGNALS)))
        try:
            yield thread
        finally:
            with contextlib.suppress(OSError):
                thread.restore()
                _request(_SETSIGMASK, self.tid, 8, ctypes.addressof(mask))


class Stopped:
    """A thread that has just done a system call and stands before its next instruction."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._registers = (ctypes.c_uint64 * _REGISTERS[MACHINE])()
        self._iovec = _Iovec(ctypes.addressof(self._registers), ctypes.sizeof(self._registers))
        self._get()
        self._saved = bytes(self._registers)

    def _get(self) -> None:
        _request(_GETREGSET, self._stopping.tid, _NT_PRSTATUS, ctypes.addressof(self._iovec))

    def _set(self) -> None:
        _request(_SETREGSET, self._stopping.tid, _NT_PRSTATUS, ctypes.addressof(self._iovec))

    def restore(self) -> None:
        """Give its registers back."""
        ctypes.memmove(self._registers, self._saved, len(self._saved))
        self._set()

    def syscall(self, name: str, *arguments: int) -> int:
        """Have it make a system call: goes back to the instruction that made the last one. Raises OSError as
        that says.
        """
        counter, result, number, places, size = _LAYOUT[MACHINE]
        ctypes.memmove(self._registers, self._saved, len(self._saved))
        self._registers[counter] -= size
        self._registers[number] = NUMBERS[name]
        for place, argument in zip(places, (*arguments, *[0] * (len(places) - len(arguments))), strict=True):
            self._registers[place] = argument & _ALL_SIGNALS
        if MACHINE == "x86_64":
            self._registers[_ORIG_RAX] = _ALL_SIGNALS  # no restart of what came before
        self._set()
        for _ in ("entry", "exit"):
            _request(_SYSCALL, self._stopping.tid)
            self._stopping.wait(_SYSCALL_STOP)
        self._get()
        value = ctypes.c_int64(self._registers[result]).value
        if -4096 < value < 0:
            raise OSError(-value, f"{name} in thread {self._stopping.tid}: {os.strerror(-value)}")
        return value
