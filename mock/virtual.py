# SPDX-License-Identifier: MIT
"""Files whose contents the driver generates when programs open them: debugfs and similar.

A reader gets the text as of open(2). A writer gets a pipe, and the driver gets what was written before any other call
(``take_in``), each write(2) separately, as in the kernel. A write that the kernel would refuse has no effect, but
write(2) cannot report it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from mock.call import Call
from mock.kernel import Driver
from mock.linux import procfs

_CAP_DAC_OVERRIDE = 1 << 1
_MAX_WRITE = 4096
"""Bytes of the longest write that stays whole in a pipe of packets (PIPE_BUF)."""


class VirtualFiles:
    """All files of one mock. ``log`` gets the writes that the driver refuses."""

    def __init__(self, driver: Driver, log: Callable[[str], None]) -> None:
        self._driver = driver
        self._log = log
        self._writers: dict[int, str] = {}
        """The reading end of each writer's pipe, and the path of what is written."""

    def open(self, call: Call, path: str, flags: int) -> int:
        """Answer open(2)."""
        if not accessible(call, path):
            return -errno.EACCES
        self.take_in()
        data = self._driver.read_file(path)
        if data is None:
            return -errno.ENOENT
        access = flags & os.O_ACCMODE
        if access == os.O_RDONLY:
            return call.give(_holding(data), flags)
        if access != os.O_WRONLY or not self._driver.writable_file(path):
            return -errno.EACCES
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_DIRECT)
        os.set_blocking(reader, False)
        self._writers[reader] = path
        return call.give(writer, flags)

    def take_in(self) -> None:
        """Pass to the driver what was written."""
        for reader, path in list(self._writers.items()):
            while (data := _read(reader)) is not None:
                if not data:
                    del self._writers[reader]
                    os.close(reader)
                    break
                try:
                    self._driver.write_file(path, data)
                except OSError as error:
                    self._log(f"write of {data!r} to {path}: {error}")


def accessible(call: Call, path: str) -> bool:
    """Whether the caller may reach this file: debugfs is for root, or for the user that runs the mock."""
    if not path.startswith("/sys/kernel/debug/"):
        return True
    status = procfs.status(call.tid)
    return status.uid == os.geteuid() or status.capabilities & _CAP_DAC_OVERRIDE != 0


def _read(pipe: int) -> bytes | None:
    """The data of one write; empty after the last one; None if there is none now."""
    try:
        return os.read(pipe, _MAX_WRITE)
    except BlockingIOError:
        return None


def _holding(data: bytes) -> int:
    """A descriptor to read that from."""
    fd = os.memfd_create("debugfs", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)
