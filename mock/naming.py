# SPDX-License-Identifier: MIT
"""Path arguments of system calls: the file of the mock that they name, if any."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mock.call import AT_FDCWD, INT, Call
from mock.clients import Clients
from mock.kernel import PAGE_SIZE
from mock.linux import procfs
from mock.memory.process import PeekedMemory, ProcessMemory, Unreadable
from mock.tree import NODES, Tree

VIRTUAL = tuple(
    f"/sys/kernel/debug/{name}" for name in ("dri", "fail_function", "failslab", "fail_page_alloc")
)
"""Directories of debugfs that are the mock's."""

_KALLSYMS = "/proc/kallsyms"
_FAIL_NTH = re.compile(r"/proc/(?:thread-self|self/task/(?P<tid>\d+))/fail-nth")

_PATH_MAX = 4096


@dataclass(frozen=True)
class Node:
    """A device node."""

    name: str
    minor: int


@dataclass(frozen=True)
class Entry:
    """A path in the Tree, which may have no such file."""

    path: str


@dataclass(frozen=True)
class Virtual:
    """A file whose contents the driver makes up, if there is one: in VIRTUAL, /proc/kallsyms, or fail-nth of a thread,
    as /proc/TID/fail-nth.
    """

    path: str


Place = Node | Entry | Virtual


class Naming:
    """Finds places. They are in the root directory of the mock, not in that of a chroot or of a container.

    A path that leads through a place and out again (/dev/dri/../null) is left to the kernel, with the caller's rights:
    the mock opens nothing for a client except its own files.
    """

    def __init__(self, clients: Clients, nodes: Mapping[str, int], tree: Tree) -> None:
        self._clients = clients
        self._nodes = nodes
        self._tree = tree
        self._root = procfs.root(os.getpid())

    def place(self, call: Call, directory: int, address: int, *, beneath: bool = False) -> Place | None:
        """The mock's file that a path argument, relative to a directory argument, names.

        ``beneath``: never from the root on (openat2(2): RESOLVE_BENEATH, RESOLVE_IN_ROOT).
        """
        path = self.text(call, address)
        if path is None:
            return None
        if not path.startswith("/"):
            directory &= INT
            if (
                not path
                or directory == AT_FDCWD
                or not self._tree.is_nodes(f"/proc/{call.tid}/fd/{directory}")
            ):
                return None
            place = self._find(f"{NODES}/{path}")
        elif beneath:
            return None
        else:
            place = self._find_absolute(path, call.tid)
            if place is not None and procfs.root(call.tid) != self._root:
                return None
        if place is not None:
            call.confirm()
        return place

    def _find_absolute(self, path: str, tid: int) -> Place | None:
        if path == _KALLSYMS:
            return Virtual(path)
        if match := _FAIL_NTH.fullmatch(path):
            other = int(match["tid"] or tid)
            # Below /proc/self are the caller's threads only.
            return Virtual(f"/proc/{other}/fail-nth") if _same_process(tid, other) else None
        return self._find(path)

    def _find(self, path: str) -> Place | None:
        if (
            not path.startswith(("/dev/", "/sys/"))
            and "/../" not in path
            and "//" not in path
            and "/./" not in path
        ):
            return None  # nearly all paths
        path = "/" + os.path.normpath(path).lstrip("/")
        if any(path == place or path.startswith(f"{place}/") for place in VIRTUAL):
            return Virtual(path)
        if not self._tree.has(path):
            return None
        name = path[len(NODES) + 1 :] if path.startswith(f"{NODES}/") else ""
        return Node(name, self._nodes[name]) if name in self._nodes else Entry(path)

    def text(self, call: Call, address: int) -> str | None:
        """The string argument of a call; None if it cannot be read or is longer than a path."""
        process = self._clients.of(call.tid)
        if process is not None and process.space.memory is not None:
            text = _read_string(process.space.memory, address)
        else:
            try:
                with PeekedMemory(call.tid) as memory:
                    text = _read_string(memory, address)
            except OSError:
                return None
        return None if text is None else os.fsdecode(text)


def _same_process(tid: int, other: int) -> bool:
    try:
        return tid == other or procfs.status(tid).tgid == procfs.status(other).tgid
    except OSError:
        return False


def _read_string(memory: ProcessMemory | PeekedMemory, address: int) -> bytes | None:
    text = b""
    while len(text) < _PATH_MAX:
        # Up to the end of the page: the next need not be mapped.
        size = min(256, PAGE_SIZE - (address + len(text)) % PAGE_SIZE)
        try:
            text += memory.peek(address + len(text), size)
        except Unreadable:
            return None
        end = text.find(b"\0")
        if end >= 0:
            return text[:end]
    return None
