# SPDX-License-Identifier: MIT
"""Threads and processes of clients: who makes a system call, and whose memory it means."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mock.kernel import File
from mock.linux import procfs
from mock.memory.space import AddressSpace

if TYPE_CHECKING:
    from mock.files import ClientFile

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


class Caller:
    """Implements kernel.Task for one system call. `install` is how to give the caller a file."""

    def __init__(
        self,
        process: Process,
        tid: int,
        file_at: Callable[[str], ClientFile | None],
        install: Callable[[int, bool], int],
    ) -> None:
        self._process = process
        self._tid = tid
        self._file_at = file_at
        self._install = install

    @property
    def tgid(self) -> int:
        return self._process.tgid

    @property
    def tid(self) -> int:
        return self._tid

    @property
    def mm(self) -> AddressSpace:
        return self._process.space

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
        fd = file.reopen(os.O_RDWR)  # type: ignore[attr-defined]
        try:
            return self._install(fd, cloexec)
        finally:
            os.close(fd)

    def lookup(self, fd: int) -> File | None:
        return self._file_at(f"/proc/{self.tgid}/task/{self._tid}/fd/{fd}")
