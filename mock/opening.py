# SPDX-License-Identifier: MIT
"""open(2), openat(2) and similar calls."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

from mock.call import AT_FDCWD, Call
from mock.clients import Clients
from mock.files import ClientFile, Files
from mock.kernel import Driver
from mock.naming import Entry, Naming, Node, Place, Virtual
from mock.tasks import Thread
from mock.tree import Tree
from mock.virtual import VirtualFiles

_O_PATH = 0o10000000
_OPEN_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
_BENEATH = 0x08 | 0x10
"""RESOLVE_BENEATH, RESOLVE_IN_ROOT."""


class Opening:
    """Handlers of the calls. ``opened`` is called with the thread that opens a device, before it has the
    answer.
    """

    def __init__(
        self,
        driver: Driver,
        clients: Clients,
        files: Files,
        naming: Naming,
        tree: Tree,
        virtual: VirtualFiles,
        opened: Callable[[Thread], None],
    ) -> None:
        self._driver = driver
        self._clients = clients
        self._files = files
        self._naming = naming
        self._tree = tree
        self._virtual = virtual
        self._opened = opened
        self.handlers = {"open": self._open, "openat": self._openat, "openat2": self._openat2}

    def _open(self, call: Call) -> int | None:
        path, flags = call.arguments[:2]
        place = self._naming.place(call, AT_FDCWD, path)
        return None if place is None else self._open_place(call, place, flags)

    def _openat(self, call: Call) -> int | None:
        directory, path, flags = call.arguments[:3]
        place = self._naming.place(call, directory, path)
        return None if place is None else self._open_place(call, place, flags)

    def _openat2(self, call: Call) -> int | None:
        directory, path, how = call.arguments[:3]
        path_is_ours = self._naming.place(call, directory, path) is not None
        if not path_is_ours:
            return None  # nearly all paths
        flags, _, resolve = _OPEN_HOW.unpack(self._clients.meet(call).mm.read(how, _OPEN_HOW.size))
        place = self._naming.place(call, directory, path, beneath=resolve & _BENEATH != 0)
        return None if place is None else self._open_place(call, place, flags)

    def _open_place(self, call: Call, place: Place, flags: int) -> int:
        match place:
            case Node(_, minor):
                return self._open_node(call, minor, flags)
            case Virtual(path):
                return self._virtual.open(call, path, flags)
            case Entry(path):
                return call.give(self._tree.open(path, flags), flags)

    def _open_node(self, call: Call, minor: int, flags: int) -> int:
        if flags & os.O_DIRECTORY:
            return -errno.ENOTDIR
        thread = self._clients.meet(call)
        self._files.payer = thread.process
        file = self._files.create_node(lambda: self._released(file))
        # Counted as open from here: if opening fails, closing this releases the file. O_APPEND: write(2) is at the end
        # of a file that cannot grow, and fails; mappings are not affected.
        given = file.reopen(flags & (os.O_ACCMODE | os.O_NONBLOCK | _O_PATH) | os.O_APPEND)
        try:
            file.private = self._driver.open(minor, thread, file)
            file.node = minor
        except BaseException:
            os.close(given)
            raise
        self._opened(thread)
        return call.give(given, flags)

    def _released(self, file: ClientFile) -> None:
        if file.node is not None:
            self._driver.release(file.private)
