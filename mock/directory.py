# SPDX-License-Identifier: MIT
"""/dev/dri as a directory that can be listed: a file system of its own that has no name anywhere."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from ctypes import c_char_p
from pathlib import Path

from mock.linux.syscall import syscall

DRM_MAJOR = 226

_FSCONFIG_CMD_CREATE = 6
_CLOEXEC = 1
_MOUNT_ATTR_NODEV = 0x4


class NodeDirectory:
    """Made when it is first asked for."""

    def __init__(self, nodes: Mapping[str, int]) -> None:
        self._nodes = nodes
        self._root: int | None = None
        self._temporary: str | None = None

    def open(self) -> int:
        """A new descriptor of the directory, positioned at its start."""
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._made())

    def is_at(self, path: str) -> bool:
        """Whether that path leads to it."""
        if self._root is None:
            return False
        try:
            return os.path.samestat(Path(path).stat(), os.fstat(self._root))
        except OSError:
            return False

    def close(self) -> None:
        """Leave nothing behind."""
        if self._root is not None:
            os.close(self._root)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _made(self) -> int:
        if self._root is None:
            try:
                self._root = _unnamed_file_system()
            except OSError:
                # Without privilege: a directory with a name, removed at the end.
                self._temporary = tempfile.mkdtemp(prefix="svm-cts-dri-")
                self._root = os.open(self._temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name, minor in self._nodes.items():
                self._make(name, minor)
        return self._root

    def _make(self, name: str, minor: int) -> None:
        assert self._root is not None
        try:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(DRM_MAJOR, minor), dir_fd=self._root)
        except OSError:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=self._root))


def _unnamed_file_system() -> int:
    """A tmpfs that is mounted nowhere and goes with its last descriptor. Raises OSError without
    CAP_SYS_ADMIN.
    """
    context = syscall("fsopen", c_char_p(b"tmpfs"), _CLOEXEC)
    try:
        syscall("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return syscall("fsmount", context, _CLOEXEC, _MOUNT_ATTR_NODEV)
    finally:
        with contextlib.suppress(OSError):
            os.close(context)
