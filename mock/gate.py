# SPDX-License-Identifier: MIT
"""System calls of clients: which are the mock's, and their answers."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mock.clients import Clients
from mock.directory import NodeDirectory
from mock.files import ClientFile, Files
from mock.kernel import PAGE_SIZE, Deferred, Driver, MapRequest
from mock.linux.ptrace import Stopping
from mock.linux.seccomp import Gone, Listener, Notification
from mock.linux.syscall import NUMBERS
from mock.memory.process import Dead, Missing, ProcessMemory
from mock.paths import DIRECTORY, Debugfs, Directory, Node, Place, find
from mock.tasks import Process, Thread
from mock.unanswered import Unanswered
from mock.waiting import Waiting

if TYPE_CHECKING:
    from mock.loop import EventLoop

_AT_FDCWD = 0xFFFFFF9C
_INT = 0xFFFFFFFF
_PATH_MAX = 4096
_O_PATH = 0o10000000
_ANSWERED = -(1 << 40)
"""A handler has answered the call, or will later."""


class Gate:
    """Answers notifications, one at a time."""

    def __init__(
        self,
        driver: Driver,
        clients: Clients,
        files: Files,
        loop: EventLoop,
        unanswered: Unanswered,
        internal_error: Callable[[str, BaseException], None],
    ) -> None:
        self._driver = driver
        self._clients = clients
        self._files = files
        self._nodes = dict(driver.nodes())
        self._directory = NodeDirectory(self._nodes)
        self._internal_error = internal_error
        self._unanswered = unanswered
        self._waiting = Waiting(loop, unanswered, self._answer_late)
        self._listener: Listener | None = None
        self._recruit: tuple[Thread, Stopping] | None = None
        self._handlers: dict[int, Callable[[Listener, Notification], int | None]] = {
            NUMBERS[name]: handler
            for name, handler in (
                ("ioctl", self._ioctl),
                ("openat", self._openat),
                ("open", self._open),
                ("openat2", self._openat2),
                ("mmap", self._mmap),
                ("mremap", self._mremap),
                ("execve", self._exec),
                ("execveat", self._exec),
            )
            if name in NUMBERS
        }

    def serve(self, listener: Listener) -> None:
        """From now on answer on this listener."""
        self._listener = listener
        self._waiting.listener = listener

    def ready(self) -> bool:
        """The listener has something: answer it. False when nobody waits for an answer (any more)."""
        listener = self._listener
        assert listener is not None
        notification = listener.receive()
        if notification is None:
            return False
        self._unanswered.begin(notification.id)
        # Whoever closed a file and then makes a call has closed it by now.
        self._files.settle()
        self._recruit = None
        with contextlib.suppress(Gone):
            result = self._handle(listener, notification)
            if result is None:
                listener.proceed(notification.id)
            elif result is not _ANSWERED:
                listener.answer(notification.id, result)
        if self._recruit is not None:
            self._clients.equip(*self._recruit)
        return True

    def _recruit_caller(self, thread: Thread) -> None:
        """The call is about to be answered: if its process is new, have it make what the mock needs."""
        if not thread.process.recruited:
            stopping = self._clients.recruit(thread)
            self._recruit = (thread, stopping) if stopping else None

    def _handle(self, listener: Listener, notification: Notification) -> int | None:
        try:
            return self._handlers[notification.number](listener, notification)
        except OSError as error:
            return -(error.errno or errno.EIO)
        except Gone:
            raise
        except Exception as error:
            self._internal_error(f"system call {notification.number}", error)
            return -errno.EIO

    # Handlers return the result or negative errno, None to let the kernel do it, or _ANSWERED.

    def _ioctl(self, listener: Listener, notification: Notification) -> int | None:
        fd, request, argument = notification.arguments[:3]
        device = self._device(notification.tid, fd)
        if device is None:
            return None
        thread, file = device
        thread.installer = partial(self._install, listener, notification.id)
        result = self._driver.ioctl(file.private, thread, request & _INT, argument)
        if isinstance(result, Deferred):
            self._waiting.add(notification, result)
            return _ANSWERED
        self._recruit_caller(thread)
        return result

    def _device(self, tid: int, fd: int) -> tuple[Thread, ClientFile] | None:
        """The device that thread `tid` has open as `fd`, and the thread."""
        thread = self._clients.thread(tid)
        if thread is not None:
            file = thread.lookup(fd & _INT)
            if file is not None:
                return (thread, file) if file.node is not None else None
        # Not a device, or a thread or process that inherited one and uses it for the first time.
        file = self._file_at(f"/proc/{tid}/fd/{fd & _INT}")
        if file is None or file.node is None:
            return None
        return self._clients.meet(tid), file

    @staticmethod
    def _install(listener: Listener, ident: int, fd: int, cloexec: bool) -> int:
        try:
            return listener.add_fd(ident, fd, cloexec=cloexec)
        except Gone:
            raise ProcessLookupError(errno.ESRCH, "the caller was killed") from None

    def _answer_late(self, listener: Listener, ident: int, result: int) -> None:
        with contextlib.suppress(Gone):
            listener.answer(ident, result)

    def _file_at(self, path: str) -> ClientFile | None:
        try:
            status = os.stat(path)  # noqa: PTH116 - for each ioctl, and pathlib is slow
        except OSError:
            return None
        return self._files.get(status.st_dev, status.st_ino)

    def _mmap(self, listener: Listener, notification: Notification) -> int | None:
        del listener
        _, length, protection, flags, fd, offset = notification.arguments
        device = self._device(notification.tid, fd)
        if device is None:
            return None
        thread, file = device
        request = MapRequest(
            offset,
            length,
            readable=protection & 1 != 0,
            writable=protection & 2 != 0,
            shared=flags & 1 != 0,
        )
        self._driver.mmap(file.private, thread, request)
        return None

    def _mremap(self, listener: Listener, notification: Notification) -> int | None:
        del listener
        process = self._clients.of(notification.tid)
        if process is not None and process.space.inbox is not None:
            process.space.inbox.stays(notification.arguments[0])
        return None

    def _exec(self, listener: Listener, notification: Notification) -> int | None:
        del listener
        process = self._clients.of(notification.tid)
        if process is not None:
            process.exec_seen = True
        return None

    def _openat(self, listener: Listener, notification: Notification) -> int | None:
        directory, path, flags = notification.arguments[:3]
        return self._open_path(listener, notification, directory, path, flags)

    def _open(self, listener: Listener, notification: Notification) -> int | None:
        path, flags = notification.arguments[:2]
        return self._open_path(listener, notification, _AT_FDCWD, path, flags)

    def _openat2(self, listener: Listener, notification: Notification) -> int | None:
        directory, path, how = notification.arguments[:3]
        place = self._place(notification.tid, directory, path)
        if place is None:
            return None
        flags = int.from_bytes(self._clients.meet(notification.tid).mm.read(how, 8), "little")
        return self._open_place(listener, notification, place, flags)

    def _open_path(
        self, listener: Listener, notification: Notification, directory: int, path: int, flags: int
    ) -> int | None:
        place = self._place(notification.tid, directory, path)
        if place is None:
            return None
        return self._open_place(listener, notification, place, flags)

    def _place(self, tid: int, directory: int, address: int) -> Place | None:
        """What of the mock's a path argument names."""
        text = _read_path(self._clients.of(tid), tid, address)
        if text is None:
            return None
        path = os.fsdecode(text)
        if not path.startswith("/"):
            if directory & _INT == _AT_FDCWD or not self._directory.is_at(
                f"/proc/{tid}/fd/{directory & _INT}"
            ):
                return None
            path = f"{DIRECTORY}/{path}"
        return find(path, self._nodes)

    def _open_place(
        self, listener: Listener, notification: Notification, place: Place, flags: int
    ) -> int | None:
        match place:
            case Node(_, minor):
                return self._open_node(listener, notification, minor, flags)
            case Directory():
                return self._give(listener, notification, self._directory.open(), flags)
            case Debugfs(path):
                return self._open_debugfs(listener, notification, path, flags)
            case _:
                return -errno.ENOENT

    def _open_node(self, listener: Listener, notification: Notification, minor: int, flags: int) -> int:
        if flags & os.O_DIRECTORY:
            return -errno.ENOTDIR
        thread = self._clients.meet(notification.tid)
        file = self._files.create(lambda: self._released(file))
        # Counted as open from here: should opening fail, closing this releases the file.
        given = file.reopen(flags & (os.O_ACCMODE | os.O_NONBLOCK | _O_PATH))
        try:
            file.private = self._driver.open(minor, thread, file)
            file.node = minor
        except BaseException:
            os.close(given)
            raise
        self._recruit_caller(thread)
        return self._give(listener, notification, given, flags)

    def _released(self, file: ClientFile) -> None:
        if file.node is not None:
            self._driver.release(file.private)

    def _open_debugfs(self, listener: Listener, notification: Notification, path: str, flags: int) -> int:
        data = self._driver.debugfs(path)
        if data is None:
            return -errno.ENOENT
        if flags & os.O_ACCMODE != os.O_RDONLY:
            return -errno.EACCES
        fd = os.memfd_create("debugfs", os.MFD_CLOEXEC)
        os.write(fd, data)
        given = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        os.close(fd)
        return self._give(listener, notification, given, flags)

    def _give(self, listener: Listener, notification: Notification, fd: int, flags: int) -> int:
        """Answer an open with a file of ours; closes our descriptor of it."""
        try:
            listener.add_fd(notification.id, fd, cloexec=flags & os.O_CLOEXEC != 0, answer=True)
        finally:
            os.close(fd)
        return _ANSWERED

    def close(self) -> None:
        """Leave nothing behind."""
        self._directory.close()

    def abandon_all(self) -> None:
        """No client is left."""
        self._waiting.abandon_all()


def _read_path(process: Process | None, tid: int, address: int) -> bytes | None:
    """The string argument of a call, None when it cannot be read or is too long to be one of ours."""
    if process is not None and process.space.memory is not None:
        return _read_string(process.space.memory, address)
    try:
        memory = ProcessMemory(tid)
    except OSError:
        return None
    try:
        return _read_string(memory, address)
    finally:
        memory.close()


def _read_string(memory: ProcessMemory, address: int) -> bytes | None:
    text = b""
    while len(text) < _PATH_MAX:
        # Up to the end of the page: the next need not be mapped.
        size = min(256, PAGE_SIZE - (address + len(text)) % PAGE_SIZE)
        try:
            text += memory.read(address + len(text), size)
        except (Missing, Dead, OSError):
            return None
        end = text.find(b"\0")
        if end >= 0:
            return text[:end]
    return None
