# SPDX-License-Identifier: MIT
"""Threads and processes of clients: the caller of a system call, and the memory it refers to."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mock.kernel import File
from mock.linux import pidfd, procfs
from mock.memory.space import AddressSpace

if TYPE_CHECKING:
    from mock.files import ClientFile, Files

CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
}
"""Bits of linux/capability.h."""


class Process:
    """One client process that has used a device."""

    def __init__(self, tgid: int, pidfd: int, space: AddressSpace) -> None:
        self.tgid = tgid
        self.pidfd = pidfd
        self.space = space
        self.exec_seen = False
        """It has called execve, which may have replaced its memory."""
        self.gone = False
        self.recruited = False
        """It has a userfaultfd and an adviser, or has been asked to make them."""


class ClientEventFd:
    """Implements kernel.EventCounter: a descriptor here of a client's eventfd."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def signal(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it stays at its highest value, and can still be read
            os.eventfd_write(self._fd, 1)

    def __del__(self) -> None:
        os.close(self._fd)


class Thread:
    """Implements kernel.Task. Created when a thread first uses a device; raises OSError if the thread is gone."""

    def __init__(self, process: Process, tid: int, files: Files) -> None:
        self.process = process
        self._tid = tid
        self._files = files
        # Stays with this thread: when its number is reused by another one, looking up names in it fails.
        self._fds = os.open(f"/proc/{process.tgid}/task/{tid}/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.installer: Callable[[int, bool], int] | None = None
        """During a system call: install a file in the caller, see Listener.add_fd."""

    def close(self) -> None:
        os.close(self._fds)

    @property
    def tgid(self) -> int:
        return self.process.tgid

    @property
    def tid(self) -> int:
        return self._tid

    @property
    def mm(self) -> AddressSpace:
        return self.process.space

    @property
    def uid(self) -> int:
        return self._status().uid

    @property
    def comm(self) -> str:
        return self._status().name

    def capable(self, capability: str) -> bool:
        return self._status().capabilities >> CAPABILITIES[capability] & 1 != 0

    def alive(self) -> bool:
        try:
            self._status()
        except OSError:
            return False
        return True

    def _status(self) -> procfs.Status:
        try:
            return procfs.status(self._tid)
        except FileNotFoundError:
            raise ProcessLookupError(errno.ESRCH, f"thread {self._tid} is gone") from None

    def install(self, file: File, *, cloexec: bool = True) -> int:
        if self.installer is None:
            raise OSError(errno.EINVAL, "a file can be installed during a system call only")
        fd = self._files.reopen(file)
        try:
            return self.installer(fd, cloexec)
        finally:
            os.close(fd)

    def lookup(self, fd: int) -> ClientFile | None:
        found = procfs.identity(str(fd), self._fds)
        return self._files.get(*found) if found else None

    def eventfd(self, fd: int) -> ClientEventFd:
        try:
            kind = os.readlink(str(fd), dir_fd=self._fds)
        except OSError:
            raise OSError(errno.EBADF, f"descriptor {fd} is closed") from None
        if kind != "anon_inode:[eventfd]":
            raise OSError(errno.EINVAL, f"descriptor {fd} is not an eventfd but {kind}")
        return ClientEventFd(pidfd.take(self.process.pidfd, fd))
