# SPDX-License-Identifier: MIT
"""Path arguments of system calls: whether they name something of the mock's, and what."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mock.call import AT_FDCWD, INT
from mock.clients import Clients
from mock.kernel import PAGE_SIZE
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


@dataclass(frozen=True)
class Elsewhere:
    """A path that leads through the mock's places and out again: /dev/dri/../null."""

    path: str


Place = Node | Entry | Virtual | Elsewhere


class Naming:
    """Finds places."""

    def __init__(self, clients: Clients, nodes: Mapping[str, int], tree: Tree) -> None:
        self._clients = clients
        self._nodes = nodes
        self._tree = tree

    def place(self, tid: int, directory: int, address: int) -> Place | None:
        """What of the mock's a path argument, relative to a directory argument, names."""
        path = self.text(tid, address)
        if path is None:
            return None
        if not path.startswith("/"):
            directory &= INT
            if not path or directory == AT_FDCWD or not self._tree.is_nodes(f"/proc/{tid}/fd/{directory}"):
                return None
            path = f"{NODES}/{path}"
        if path == _KALLSYMS:
            return Virtual(path)
        if match := _FAIL_NTH.fullmatch(path):
            return Virtual(f"/proc/{match['tid'] or tid}/fail-nth")
        return self._find(path)

    def _find(self, path: str) -> Place | None:
        if (
            not path.startswith(("/dev/", "/sys/"))
            and "/../" not in path
            and "//" not in path
            and "/./" not in path
        ):
            return None  # nearly all paths
        given = path
        path = "/" + os.path.normpath(path).lstrip("/")
        if any(path == place or path.startswith(f"{place}/") for place in VIRTUAL):
            return Virtual(path)
        if not self._tree.has(path):
            through = given.partition("/..")[0].replace("//", "/")
            return Elsewhere(path) if through != given and self._tree.has(through) else None
        name = path[len(NODES) + 1 :] if path.startswith(f"{NODES}/") else ""
        return Node(name, self._nodes[name]) if name in self._nodes else Entry(path)

    def text(self, tid: int, address: int) -> str | None:
        """The string argument of a call; None when it cannot be read or is longer than a path."""
        process = self._clients.of(tid)
        if process is not None and process.space.memory is not None:
            text = _read_string(process.space.memory, address)
        else:
            try:
                with PeekedMemory(tid) as memory:
                    text = _read_string(memory, address)
            except OSError:
                return None
        return None if text is None else os.fsdecode(text)


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
