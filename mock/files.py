# SPDX-License-Identifier: MIT
"""Open files the mock gives to clients, and when the last reference to one is gone.

Each open of a device node is a new memfd: its inode is the identity of the drm_file, through dup, fork, exec
and descriptor passing, and buffer objects are mapped from it at their fake offset. The kernel tells by
inotify that an open file (struct file) of the inode was closed for the last time, which counts mappings too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
from collections.abc import Callable
from typing import Any

from mock.kernel import File
from mock.linux.inotify import IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, Inotify
from mock.loop import EventLoop, Order

NAME = "svm-cts"
"""memfds are named so, which shows as /memfd:svm-cts in /proc."""

_FIRST_RETRY = 0.001
_LAST_RETRY = 1.0


class ClientFile:
    """Implements kernel.File; `node`, if it is a device node, is its minor number and `private` the driver's
    object.
    """

    def __init__(self, fd: int, released: Callable[[], None]) -> None:
        self._fd = fd
        self.released = released
        self.private: Any = None
        self.node: int | None = None
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)

    @property
    def inode(self) -> int:
        return self.identity[1]

    def fileno(self) -> int:
        return self._fd

    def reopen(self, flags: int) -> int:
        """A descriptor here of a new open file of it, to be given to a client and closed."""
        return os.open(f"/proc/self/fd/{self._fd}", flags | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._fd)

    def sole(self) -> bool:
        """Whether nobody has it open any more. Only then does the kernel let it be leased for writing."""
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            return error.errno != errno.EAGAIN
        fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True


class ClientEventFile(ClientFile):
    """Implements kernel.EventFile: a pipe, whose reading end is the client's."""

    def __init__(self, released: Callable[[], None]) -> None:
        self._reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        super().__init__(writer, released)

    def signal(self) -> None:
        os.write(self._fd, b"\0")

    def reopen(self, flags: int) -> int:
        if self._reader >= 0:
            reader, self._reader = self._reader, -1
            return reader
        return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        super().close()
        if self._reader >= 0:
            os.close(self._reader)


class Files:
    """All open files of clients."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._inotify = Inotify()
        self._by_identity: dict[tuple[int, int], ClientFile] = {}
        self._by_watch: dict[int, ClientFile] = {}
        self._closing: dict[ClientFile, float] = {}
        loop.watch(self._inotify.fd, Order.FILES, self._closed)

    def __len__(self) -> int:
        return len(self._by_identity)

    def get(self, device: int, inode: int) -> ClientFile | None:
        """The file with this identity (st_dev, st_ino)."""
        return self._by_identity.get((device, inode))

    def reopen(self, file: File) -> int:
        """A descriptor here of a new open file of one made by create or create_event, to give to a client."""
        assert isinstance(file, ClientFile)
        return file.reopen(os.O_RDWR)

    def create(self, released: Callable[[], None]) -> ClientFile:
        """A file with memory; `released` is called when nobody has it any more."""
        made = os.memfd_create(NAME, os.MFD_CLOEXEC)
        try:
            # Both ends are opened by name: only such opens are counted (see ClientFile.sole).
            file = ClientFile(os.open(f"/proc/self/fd/{made}", os.O_RDWR | os.O_CLOEXEC), released)
        finally:
            os.close(made)
        self._by_identity[file.identity] = file
        watch = self._inotify.watch(file.fileno(), IN_CLOSE_WRITE | IN_CLOSE_NOWRITE)
        self._by_watch[watch] = file
        return file

    def create_event(self, released: Callable[[], None]) -> ClientEventFile:
        """A file to poll."""
        file = ClientEventFile(released)
        self._by_identity[file.identity] = file
        # The writing end reports an error once the last reading end is closed.
        self._loop.watch(file.fileno(), Order.FILES, lambda: self._release(file), select.EPOLLERR)
        return file

    def _closed(self) -> None:
        for watch, _ in self._inotify.read():
            file = self._by_watch.get(watch)
            if file is not None and file not in self._closing:
                self._closing[file] = _FIRST_RETRY
                self._check(file)

    def settle(self) -> None:
        """Look again at files that are being closed. Whoever closed one and then makes a call has closed it
        now.
        """
        for file in list(self._closing):
            if file.sole():
                self._release(file)

    def _check(self, file: ClientFile) -> None:
        """The event comes a moment before the kernel lets go, and also when another open file is left."""
        pause = self._closing.get(file)
        if pause is None:
            return
        if file.sole():
            self._release(file)
        elif pause > _LAST_RETRY:
            del self._closing[file]
        else:
            self._closing[file] = 2 * pause
            self._loop.call_at(self._loop.time() + pause, lambda: self._check(file))

    def _release(self, file: ClientFile) -> None:
        self._closing.pop(file, None)
        self._by_identity.pop(file.identity, None)
        self._loop.forget(file.fileno())
        for watch, watched in list(self._by_watch.items()):
            if watched is file:
                del self._by_watch[watch]
                self._inotify.forget(watch)
        try:
            file.released()
        finally:
            file.close()
