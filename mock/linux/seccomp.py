# SPDX-License-Identifier: MIT
"""Seccomp user notification: install a filter with a listener, and reply to it (seccomp_unotify(2))."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import struct
from typing import NamedTuple

from mock.linux.syscall import iow, iowr, syscall

_SET_MODE_FILTER = 1
_GET_NOTIF_SIZES = 3
_FLAG_TSYNC = 1 << 0
_FLAG_NEW_LISTENER = 1 << 3
_FLAG_TSYNC_ESRCH = 1 << 4
_FLAG_WAIT_KILLABLE_RECV = 1 << 5

_PR_SET_NO_NEW_PRIVS = 38

_RECV = iowr(ord("!"), 0, 80)
_SEND = iowr(ord("!"), 1, 24)
_ID_VALID = iow(ord("!"), 2, 8)
_ADDFD = iow(ord("!"), 3, 24)
_SET_FLAGS = iow(ord("!"), 4, 8)
_SYNC_WAKE_UP = 1
_ADDFD_SEND = 2
_CONTINUE = 1

_NOTIF = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif
_RESPONSE = struct.Struct("=QqiI")
_ADDFD_STRUCT = struct.Struct("=QIIII")
_ZEROES = bytes(_NOTIF.size)

ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
"""A filter that allows everything."""


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def available() -> None:
    """Raise OSError if the kernel or a sandbox does not allow filters at all."""
    sizes = (ctypes.c_uint16 * 3)()
    syscall("seccomp", _GET_NOTIF_SIZES, 0, ctypes.byref(sizes))


def install(program: bytes, *, privileged: bool) -> int:
    """Install a filter in all threads of this process and return the listener's descriptor (close-on-exec).

    It cannot be removed, and is inherited by children and across exec. Without ``privileged`` (CAP_SYS_ADMIN) it sets
    NO_NEW_PRIVS. Raises OSError: EBUSY if this process or an ancestor has a listener already, ESRCH if another thread
    has another filter.
    """
    if not privileged:
        syscall("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    fprog = _Program(len(program) // 8, program)
    flags = _FLAG_TSYNC | _FLAG_NEW_LISTENER | _FLAG_TSYNC_ESRCH | _FLAG_WAIT_KILLABLE_RECV
    return syscall("seccomp", _SET_MODE_FILTER, flags, ctypes.byref(fprog))


class Notification(NamedTuple):
    """A system call that waits for a reply."""

    id: int
    tid: int
    number: int
    arguments: tuple[int, ...]


class Gone(Exception):  # noqa: N818 - a condition, not a failure
    """The caller died; no reply is needed."""


class Listener:
    """The listener. Every method with a notification id raises Gone if the caller died."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._buffer = bytearray(_NOTIF.size)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        # Wake the caller on this CPU, at once: the round trip never waits for an idle core (Linux 6.6).
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)

    def hung_up(self) -> bool:
        """Whether no process has the filter any more."""
        return any(events & select.POLLHUP for _, events in self._poll.poll(0))

    def receive(self) -> Notification | None:
        """The next notification; None if the caller died before it was received. Does not block after poll(2)."""
        self._buffer[:] = _ZEROES
        try:
            fcntl.ioctl(self.fd, _RECV, self._buffer, True)
        except (FileNotFoundError, InterruptedError):
            return None
        ident, tid, _, number, _, _, *arguments = _NOTIF.unpack(self._buffer)
        return Notification(ident, tid, number, tuple(arguments))

    def answer(self, ident: int, result: int) -> None:
        """Make the call return ``result``; a negative one is an errno."""
        if result < 0:
            self._send(ident, 0, result, 0)
        else:
            self._send(ident, result, 0, 0)

    def proceed(self, ident: int) -> None:
        """Let the kernel execute the call as if there were no filter."""
        self._send(ident, 0, 0, _CONTINUE)

    def _send(self, ident: int, value: int, error: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.fd, _SEND, _RESPONSE.pack(ident, value, error, flags))
        except FileNotFoundError as gone:
            raise Gone from gone

    def valid(self, ident: int) -> bool:
        """Whether the caller is still waiting."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, ident.to_bytes(8, "little"))
        except FileNotFoundError:
            return False
        return True

    def add_fd(self, ident: int, fd: int, *, cloexec: bool, answer: bool = False) -> int:
        """Install our ``fd`` as a new descriptor of the caller; returns its number there. With ``answer`` that is also
        the result of the call, atomically. Raises OSError(EMFILE) if the caller has too many.
        """
        flags = _ADDFD_SEND if answer else 0
        request = bytearray(_ADDFD_STRUCT.pack(ident, flags, fd, 0, os.O_CLOEXEC if cloexec else 0))
        try:
            return int(fcntl.ioctl(self.fd, _ADDFD, request, True))
        except (FileNotFoundError, ProcessLookupError) as gone:
            raise Gone from gone
