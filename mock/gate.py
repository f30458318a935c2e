# SPDX-License-Identifier: MIT
"""System calls of clients: dispatch to the module that answers, and calls on devices."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mock.call import ANSWERED, INT, Call
from mock.clients import Clients
from mock.files import ClientFile, Files
from mock.kernel import Deferred, Driver, MapRequest
from mock.linux import procfs
from mock.linux.ptrace import Stopping
from mock.linux.seccomp import Gone, Listener
from mock.linux.syscall import NUMBERS
from mock.looking import Looking
from mock.naming import Naming
from mock.opening import Opening
from mock.tasks import Thread
from mock.tree import Tree
from mock.unanswered import Unanswered
from mock.virtual import VirtualFiles
from mock.waiting import Waiting

if TYPE_CHECKING:
    from mock.loop import EventLoop


_SEEK_MAX = 4
_FALLOCATE_MODES = frozenset((0x00, 0x01, 0x03, 0x08, 0x10, 0x11, 0x20, 0x40, 0x41, 0x80))
"""linux/falloc.h: one mode each, some with FALLOC_FL_KEEP_SIZE (1)."""


class Gate:
    """Answers notifications, one at a time."""

    def __init__(
        self,
        driver: Driver,
        clients: Clients,
        files: Files,
        virtual: VirtualFiles,
        loop: EventLoop,
        unanswered: Unanswered,
        internal_error: Callable[[str, BaseException], None],
    ) -> None:
        self._driver = driver
        self._clients = clients
        self._files = files
        self._virtual = virtual
        self._internal_error = internal_error
        self._unanswered = unanswered
        self._waiting = Waiting(loop, unanswered, clients.unsettled)
        self._listener: Listener | None = None
        self._recruit: tuple[Thread, Stopping] | None = None
        nodes = dict(driver.nodes())
        self._tree = Tree(nodes, {minor: driver.pci(minor) for minor in nodes.values()})
        naming = Naming(clients, nodes, self._tree)
        opening = Opening(driver, clients, files, naming, self._tree, virtual, self._recruit_caller)
        looking = Looking(driver, clients, files, naming, self._tree, nodes)
        handlers: dict[str, Callable[[Call], int | None]] = {
            "ioctl": self._ioctl,
            "mmap": self._mmap,
            "mremap": self._mremap,
            "lseek": self._lseek,
            "ftruncate": self._ftruncate,
            "fallocate": self._fallocate,
            "execve": self._exec,
            "execveat": self._exec,
            **opening.handlers,
            **looking.handlers,
        }
        self._handlers = {NUMBERS[name]: handler for name, handler in handlers.items() if name in NUMBERS}

    def serve(self, listener: Listener) -> None:
        """From now on answer on this listener."""
        self._listener = listener

    def ready(self) -> bool:
        """Answer a notification of the listener. False if its caller no longer waits."""
        listener = self._listener
        assert listener is not None
        notification = listener.receive()
        if notification is None:
            return False
        self._serve(Call(listener, notification))
        return True

    def _serve(self, call: Call) -> None:
        self._unanswered.begin(call.notification.id)
        # A thread that closed or wrote a file and then makes a call has done so already.
        self._files.settle()
        self._virtual.take_in()
        self._recruit = None
        space = self._clients.unsettled(call.tid)
        if space is not None:
            self._unanswered.sleep(call.notification.id)
            space.when_settled(lambda: self._serve_late(call))
            return
        with contextlib.suppress(Gone):
            call.answer(self._handle(call))
        if self._recruit is not None:
            self._clients.equip(*self._recruit)

    def _serve_late(self, call: Call) -> None:
        self._unanswered.wake(call.notification.id)
        if call.listener.valid(call.notification.id):
            self._serve(call)

    def _handle(self, call: Call) -> int | None:
        try:
            return self._handlers[call.notification.number](call)
        except OSError as error:
            return -(error.errno or errno.EIO)
        except Gone:
            raise
        except Exception as error:
            self._internal_error(f"system call {call.notification.number}", error)
            return -errno.EIO

    def _recruit_caller(self, thread: Thread) -> None:
        """The call is about to be answered: if its process is new, have it create what the mock needs."""
        if not thread.process.recruited:
            stopping = self._clients.recruit(thread)
            self._recruit = (thread, stopping) if stopping else None

    def _ioctl(self, call: Call) -> int | None:
        fd, request, argument = call.arguments[:3]
        device = self._device(call, fd)
        if device is None:
            return None
        thread, file = device
        thread.installer = call.install
        self._files.payer = thread.process
        result = self._driver.ioctl(file.private, thread, request & INT, argument)
        if isinstance(result, Deferred):
            self._waiting.add(call, result)
            return ANSWERED
        self._recruit_caller(thread)
        return result

    def _device(self, call: Call, fd: int) -> tuple[Thread, ClientFile] | None:
        """The device that the caller has open as ``fd``, and its thread."""
        thread = self._clients.thread(call.tid)
        if thread is not None:
            file = thread.lookup(fd & INT)
            if file is not None:
                return (thread, file) if file.node is not None else None
        # Not a device, or a thread or process that inherited one and uses it for the first time.
        found = procfs.identity(f"/proc/{call.tid}/fd/{fd & INT}")
        file = self._files.get(*found) if found else None
        if file is None or file.node is None:
            return None
        return self._clients.meet(call), file

    def _mmap(self, call: Call) -> int | None:
        _, length, protection, flags, fd, offset = call.arguments
        device = self._device(call, fd)
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

    def _lseek(self, call: Call) -> int | None:
        """noop_llseek(): the position stays at 0."""
        if self._device(call, call.arguments[0]) is None:
            return None
        return 0 if call.arguments[2] & INT <= _SEEK_MAX else -errno.EINVAL

    def _ftruncate(self, call: Call) -> int | None:
        return None if self._device(call, call.arguments[0]) is None else -errno.EINVAL

    def _fallocate(self, call: Call) -> int | None:
        """As vfs_fallocate() on a file that is not a regular one."""
        fd, mode, offset, length = call.arguments[:4]
        if self._device(call, fd) is None:
            return None
        if offset >> 63 or not length or length >> 63:
            return -errno.EINVAL
        if mode & INT not in _FALLOCATE_MODES:
            return -errno.EOPNOTSUPP
        writable = procfs.open_flags(call.tid, fd & INT) & os.O_ACCMODE != os.O_RDONLY
        return -errno.ENODEV if writable else -errno.EBADF

    def _mremap(self, call: Call) -> int | None:
        process = self._clients.of(call.tid)
        if process is not None and process.space.inbox is not None:
            process.space.inbox.stays(call.arguments[0])
        return None

    def _exec(self, call: Call) -> int | None:
        process = self._clients.of(call.tid)
        if process is not None:
            process.exec_seen = True
        return None

    def abandon_all(self) -> None:
        """The last client has exited."""
        self._waiting.abandon_all()

    def close(self) -> None:
        """Clean up."""
        self._tree.close()
