# SPDX-License-Identifier: MIT
"""Open files that the mock gives to clients, and the release of their last reference.

Each open of a device node is a new memfd: its inode is the identity of the drm_file, through dup, fork, exec
and descriptor passing, and buffer objects are mapped from it at their fake offset. inotify reports the
last close of an open file (struct file) of the inode; mappings count as references.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from mock.kernel import File
from mock.linux.inotify import IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_Q_OVERFLOW, Inotify
from mock.loop import EventLoop, Order

NAME = "svm-cts"
"""Name of the memfds: /proc shows /memfd:svm-cts."""

LARGEST = (1 << 63) - 1
"""Bytes of a node's memory, which is sparse: the largest size of a file, so that appending to it fails (EFBIG)."""

_F_ADD_SEALS = 1033
_SEALS = 0x1 | 0x2 | 0x4
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW: the size is fixed."""

_COST = 4
"""Descriptors of the mock that an open file takes, rounded up."""
_SHARE = 4
"""One process may have 1 / _SHARE of all descriptors; if only that many are left, only processes with few get one."""
_FEW = 16

_FIRST_RETRY = 0.001
_LAST_RETRY = 1.0


class ClientFile:
    """Implements kernel.File; ``node``, if it is a device node, is its minor number and ``private`` the driver's
    object.
    """

    def __init__(self, fd: int, released: Callable[[], None]) -> None:
        self._fd = fd
        self.released = released
        self.private: Any = None
        self.node: int | None = None
        self.watch: int | None = None
        self.payer: Hashable = None
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)

    @property
    def inode(self) -> int:
        return self.identity[1]

    def fileno(self) -> int:
        return self._fd

    def reopen(self, flags: int) -> int:
        """A descriptor of a new open file of it, to be passed to a client and closed here."""
        return os.open(f"/proc/self/fd/{self._fd}", flags | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._fd)

    def sole(self) -> bool:
        """Whether its last descriptor is closed. Only then does the kernel let it be leased for writing."""
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
    """All open files of clients. ``payer`` is the process to which new ones are charged."""

    def __init__(self, loop: EventLoop, most: int | None = None) -> None:
        self._loop = loop
        self._most = most if most is not None else _room()
        self.payer: Hashable = None
        self._had: Counter[Hashable] = Counter()
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
        """A descriptor of a new open file of one made by create or create_event, to pass to a client."""
        assert isinstance(file, ClientFile)
        return file.reopen(os.O_RDWR)

    def create_node(self, released: Callable[[], None]) -> ClientFile:
        """An open device node: a file with memory, whose size is fixed at the maximum."""
        made = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(made, LARGEST)
        fcntl.fcntl(made, _F_ADD_SEALS, _SEALS)
        return self._create(made, released)

    def create(self, released: Callable[[], None]) -> ClientFile:
        """A file with memory; ``released`` is called when its last user is gone. OSError(EMFILE), OSError(ENFILE)."""
        return self._create(os.memfd_create(NAME, os.MFD_CLOEXEC), released)

    def _create(self, made: int, released: Callable[[], None]) -> ClientFile:
        try:
            self._check_room()
            # Both ends are opened by name: only such opens are counted (see ClientFile.sole).
            file = ClientFile(os.open(f"/proc/self/fd/{made}", os.O_RDWR | os.O_CLOEXEC), released)
        finally:
            os.close(made)
        try:
            file.watch = self._inotify.watch(file.fileno(), IN_CLOSE_WRITE | IN_CLOSE_NOWRITE)
        except OSError as error:
            file.close()
            raise OSError(errno.ENFILE, f"inotify: {error}") from error
        self._by_watch[file.watch] = file
        self._enter(file)
        return file

    def _check_room(self) -> None:
        """Raises OSError unless the payer may have one more: EMFILE if it has its share, ENFILE if none are left."""
        had, left = self._had[self.payer], self._most - len(self)
        if had >= self._most // _SHARE:
            raise OSError(errno.EMFILE, f"{had} files are open in one process")
        if left <= 0 or (left <= self._most // _SHARE and had >= _FEW):
            raise OSError(errno.ENFILE, f"{len(self)} files are open")

    def _enter(self, file: ClientFile) -> None:
        self._by_identity[file.identity] = file
        file.payer = self.payer
        self._had[file.payer] += 1

    def create_event(self, released: Callable[[], None]) -> ClientEventFile:
        """A file to poll. Raises as ``create``."""
        self._check_room()
        file = ClientEventFile(released)
        self._enter(file)
        # The writing end reports an error once the last reading end is closed.
        self._loop.watch(file.fileno(), Order.FILES, lambda: self._release(file), select.EPOLLERR)
        return file

    def _closed(self) -> None:
        for watch, mask in self._inotify.read():
            if mask & IN_Q_OVERFLOW:
                for file in list(self._by_watch.values()):
                    self._look_at(file)
            elif (found := self._by_watch.get(watch)) is not None:
                self._look_at(found)

    def _look_at(self, file: ClientFile) -> None:
        if file not in self._closing:
            self._closing[file] = _FIRST_RETRY
            self._check(file)

    def settle(self) -> None:
        """Look again at files that are being closed. If a thread closed one and then makes a call, the close has
        completed.
        """
        for file in list(self._closing):
            if file.sole():
                self._release(file)

    def _check(self, file: ClientFile) -> None:
        """The event comes shortly before the kernel drops the file, and also if another open file of it remains."""
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
        if self._by_identity.pop(file.identity, None) is not None:
            self._had[file.payer] -= 1
            if not self._had[file.payer]:
                del self._had[file.payer]
        self._loop.forget(file.fileno())
        if file.watch is not None and self._by_watch.pop(file.watch, None) is not None:
            self._inotify.forget(file.watch)
        try:
            file.released()
        finally:
            file.close()


def _room() -> int:
    """Maximum number of open files of clients that leaves enough for the mock, which raises its own limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard // _COST
