# SPDX-License-Identifier: MIT
"""ptrace(2): make another thread execute system calls without noticing."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import signal
import time
from collections.abc import Generator
from typing import TypeVar

from mock.linux.syscall import MACHINE, NUMBERS

T = TypeVar("T")

_DETACH = 17
_SYSCALL = 24
_GETREGSET = 0x4204
_SETREGSET = 0x4205
_SEIZE = 0x4206
_INTERRUPT = 0x4207
_GETSIGMASK = 0x420A
_SETSIGMASK = 0x420B
_LISTEN = 0x4208
_O_TRACESYSGOOD = 1
_EVENT_STOP = 128
_NT_PRSTATUS = 1
_WALL = 0x40000000
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_ALL_SIGNALS = (1 << 64) - 1
_GROUP_STOPS = frozenset(
    number | _EVENT_STOP << 8 for number in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
)

_PATIENCE = 5.0
"""Seconds to wait for a thread to stop."""

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


Waiting = Generator[None, None, T]
"""An operation on a thread that has to stop first; it yields whenever it has to poll."""


class Stopping:
    """A thread that will stop on its way back to user space from the system call it is in; traced until ``leave`` is
    over.

    Raises OSError: EPERM when another process traces it, or tracing it is not allowed; ESRCH.
    """

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self._traced = True
        self._stopped = False
        _request(_SEIZE, tid, 0, _O_TRACESYSGOOD)
        with contextlib.suppress(OSError):  # it has ended; `stop` reports that
            _request(_INTERRUPT, tid)

    def leave(self) -> Waiting[None]:
        """Detach; the thread stays stopped if its process is stopped. If it was killed, wait for it with ``over``."""
        while self._traced:
            if self._stopped:
                with contextlib.suppress(OSError):  # it is dead
                    _request(_DETACH, self.tid)
                    self._traced = False
                return
            try:
                _request(_INTERRUPT, self.tid)
                while self._look() is None:
                    yield
            except OSError:
                return

    def over(self) -> bool:
        """After ``leave``: whether it is no longer traced. The parent of a process is notified of its end only after
        the tracer.
        """
        while self._traced:
            try:
                if self._look() is None:
                    return False
                _request(_DETACH, self.tid)
            except OSError as error:
                if error.errno == errno.ECHILD:
                    self._traced = False
                elif self._traced:
                    return False
            else:
                self._traced = False
        return True

    def _look(self) -> int | None:
        """The stop that it is in (a status without its low byte), if any. Raises OSError(ESRCH) if it ended."""
        pid, status = os.waitpid(self.tid, _WALL | os.WNOHANG)
        if not pid:
            return None
        if not os.WIFSTOPPED(status):
            self._traced = False
            raise OSError(errno.ESRCH, "the thread ended")
        self._stopped = True
        return status >> 8

    def resume(self) -> None:
        """Run to the next entry into a system call, or return from it."""
        self._resume(_SYSCALL)

    def _resume(self, request: int, signal_number: int = 0) -> None:
        self._stopped = False
        _request(request, self.tid, 0, signal_number)

    def wait(self, stop: int) -> Waiting[None]:
        """Wait for a stop. Raises OSError: ESRCH if it ended, ETIMEDOUT."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            found = self._look()
            if found == stop:
                return
            if found is None:
                if time.monotonic() > deadline:
                    raise OSError(errno.ETIMEDOUT, "the thread does not stop")
                yield
            elif found in _GROUP_STOPS:
                # Its process was stopped by a signal: there is an event when it continues, which may take long.
                self._resume(_LISTEN)
                deadline = math.inf
            else:
                # A stop for a pending signal: deliver it.
                number = found & 0x7F if found >> 8 == 0 and found != _SYSCALL_STOP else 0
                self._resume(_SYSCALL, number)
                deadline = time.monotonic() + _PATIENCE

    def stop(self) -> Waiting[Stopped]:
        """Wait until it has stopped. It can then be controlled until ``Stopped.restore``."""
        yield from self.wait(signal.SIGTRAP | _EVENT_STOP << 8)
        return Stopped(self)


class Stopped:
    """A thread that has returned from a system call and has not executed the next instruction."""

    def __init__(self, stopping: Stopping) -> None:
        self._stopping = stopping
        self._registers = (ctypes.c_uint64 * _REGISTERS[MACHINE])()
        self._iovec = _Iovec(ctypes.addressof(self._registers), ctypes.sizeof(self._registers))
        self._get()
        self._saved = bytes(self._registers)
        self._mask = ctypes.c_uint64()
        _request(_GETSIGMASK, stopping.tid, 8, ctypes.addressof(self._mask))
        # A signal would interrupt our system calls, and its handler would run between them.
        _request(_SETSIGMASK, stopping.tid, 8, ctypes.addressof(ctypes.c_uint64(_ALL_SIGNALS)))

    def _get(self) -> None:
        _request(_GETREGSET, self._stopping.tid, _NT_PRSTATUS, ctypes.addressof(self._iovec))

    def _set(self) -> None:
        _request(_SETREGSET, self._stopping.tid, _NT_PRSTATUS, ctypes.addressof(self._iovec))

    def restore(self) -> None:
        """Restore its registers and signal mask."""
        with contextlib.suppress(OSError):
            ctypes.memmove(self._registers, self._saved, len(self._saved))
            self._set()
            _request(_SETSIGMASK, self._stopping.tid, 8, ctypes.addressof(self._mask))

    def syscall(self, name: str, *arguments: int, at: int | None = None) -> Waiting[int]:
        """Make it execute a system call, with the instruction that made the last one, or with that at address ``at``.
        Raises OSError with its errno.
        """
        counter, result, number, places, size = _LAYOUT[MACHINE]
        ctypes.memmove(self._registers, self._saved, len(self._saved))
        self._registers[counter] = self._registers[counter] - size if at is None else at
        self._registers[number] = NUMBERS[name]
        for place, argument in zip(places, (*arguments, *[0] * (len(places) - len(arguments))), strict=True):
            self._registers[place] = argument & _ALL_SIGNALS
        if MACHINE == "x86_64":
            self._registers[_ORIG_RAX] = _ALL_SIGNALS  # do not restart the interrupted call
        self._set()
        for _ in ("entry", "exit"):
            self._stopping.resume()
            yield from self._stopping.wait(_SYSCALL_STOP)
        self._get()
        value = ctypes.c_int64(self._registers[result]).value
        if -4096 < value < 0:
            raise OSError(-value, f"{name} in thread {self._stopping.tid}: {os.strerror(-value)}")
        return value
