# SPDX-License-Identifier: MIT
"""Which paths are the mock's: device nodes, their directory, and debugfs."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass

DIRECTORY = "/dev/dri"
DEBUGFS = "/sys/kernel/debug/dri"


@dataclass(frozen=True)
class Node:
    """A device node."""

    name: str
    minor: int


@dataclass(frozen=True)
class Directory:
    """/dev/dri itself."""


@dataclass(frozen=True)
class Debugfs:
    """Something below /sys/kernel/debug/dri; `path` is relative to that."""

    path: str


@dataclass(frozen=True)
class Nothing:
    """A name in /dev/dri that no device of the mock has: there are no other devices."""


Place = Node | Directory | Debugfs | Nothing


def find(path: str, nodes: Mapping[str, int]) -> Place | None:
    """What an absolute path means; None when it is not the mock's."""
    if "/dri" not in path or not path.startswith("/"):
        return None
    path = "/" + os.path.normpath(path).lstrip("/")
    if path == DIRECTORY:
        return Directory()
    if path.startswith(DIRECTORY + "/"):
        name = path[len(DIRECTORY) + 1 :]
        return Node(name, nodes[name]) if name in nodes else Nothing()
    if path == DEBUGFS or path.startswith(DEBUGFS + "/"):
        return Debugfs(path[len(DEBUGFS) + 1 :])
    return None
