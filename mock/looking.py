# SPDX-License-Identifier: MIT
"""stat(2), access(2), readlink(2) and similar calls, for programs that look at devices before they use them.

Filtered for ``svmcts mock`` only: a device then looks like one, also through a descriptor.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from mock.call import AT_FDCWD, INT, Call
from mock.clients import Clients
from mock.files import Files
from mock.kernel import Driver
from mock.linux import procfs
from mock.linux.procfs import WRITABLE
from mock.linux.syscall import MACHINE
from mock.memory.process import Dead, ProcessMemory, bad_address
from mock.naming import Entry, Naming, Node, Place, Virtual
from mock.tree import DRM_MAJOR, NODES, Tree
from mock.virtual import accessible

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_STATX_BASIC_STATS = 0x7FF

_STAT = {
    # struct stat: dev, ino, nlink, mode, uid, gid, rdev, size, blksize, blocks, three times.
    "x86_64": struct.Struct("=QQQIII4xQqqq6Q24x"),
    # dev, ino, mode, nlink, uid, gid, rdev, size, blksize, blocks, three times.
    "aarch64": struct.Struct("=QQIIIIQ8xqi4xq6Q8x"),
}
_STATX = struct.Struct("=IIQIIIH2xQQQQ64x4I112x")

_DESCRIPTOR = re.compile(r"/proc/(?:self|thread-self|\d+)/fd/(\d+)")


@dataclass(frozen=True)
class _Look:
    mode: int
    inode: int
    rdev: int = 0
    size: int = 0


class Looking:
    """Handlers of the calls."""

    def __init__(
        self,
        driver: Driver,
        clients: Clients,
        files: Files,
        naming: Naming,
        tree: Tree,
        nodes: Mapping[str, int],
    ) -> None:
        self._driver = driver
        self._clients = clients
        self._files = files
        self._naming = naming
        self._tree = tree
        self._names = {minor: name for name, minor in nodes.items()}
        self.handlers = {
            "stat": self._stat,
            "lstat": self._lstat,
            "fstat": self._fstat,
            "newfstatat": self._fstatat,
            "statx": self._statx,
            "access": self._access,
            "faccessat": self._faccessat,
            "faccessat2": self._faccessat,
            "readlink": self._readlink,
            "readlinkat": self._readlinkat,
            "getxattr": self._getxattr,
            "lgetxattr": self._getxattr,
            "listxattr": self._listxattr,
            "llistxattr": self._listxattr,
        }

    def _stat(self, call: Call) -> int | None:
        return self._stat_path(call, AT_FDCWD, call.arguments[0], call.arguments[1], 0)

    def _lstat(self, call: Call) -> int | None:
        return self._stat_path(call, AT_FDCWD, call.arguments[0], call.arguments[1], _AT_SYMLINK_NOFOLLOW)

    def _fstat(self, call: Call) -> int | None:
        return self._put_stat(call, call.arguments[1], self._look_at_descriptor(call.tid, call.arguments[0]))

    def _fstatat(self, call: Call) -> int | None:
        directory, path, buffer, flags = call.arguments[:4]
        return self._stat_path(call, directory, path, buffer, flags)

    def _stat_path(self, call: Call, directory: int, path: int, buffer: int, flags: int) -> int | None:
        return self._put_stat(call, buffer, self._look_at_path(call, directory, path, flags))

    def _statx(self, call: Call) -> int | None:
        directory, path, flags, _, buffer = call.arguments[:5]
        look = self._look_at_path(call, directory, path, flags)
        if look is None:
            return None
        data = _STATX.pack(
            _STATX_BASIC_STATS, 4096, 0, 1, 0, 0, look.mode, look.inode, look.size, 0, 0,
            os.major(look.rdev), os.minor(look.rdev), 0, 6,
        )  # fmt: skip
        return self._put(call, buffer, data)

    def _look_at_path(self, call: Call, directory: int, path: int, flags: int) -> _Look | None:
        if flags & _AT_EMPTY_PATH and self._naming.text(call, path) == "":
            return self._look_at_descriptor(call.tid, directory)
        place = self._naming.place(call, directory, path)
        return None if place is None else self._look_at(call, place, follow=not flags & _AT_SYMLINK_NOFOLLOW)

    def _look_at_descriptor(self, tid: int, fd: int) -> _Look | None:
        minor = self._minor_of(tid, fd)
        return None if minor is None else self._look_at_node(minor)

    def _minor_of(self, tid: int, fd: int) -> int | None:
        found = procfs.identity(f"/proc/{tid}/fd/{fd & INT}")
        file = self._files.get(*found) if found else None
        return file.node if file is not None else None

    @staticmethod
    def _look_at_node(minor: int) -> _Look:
        return _Look(stat.S_IFCHR | 0o666, 0x1000 + minor, os.makedev(DRM_MAJOR, minor))

    def _look_at(self, call: Call, place: Place, *, follow: bool) -> _Look:
        """Raises OSError if there is nothing, or nothing that the caller may see."""
        match place:
            case Node(_, minor):
                return self._look_at_node(minor)
            case Virtual(path):
                if not accessible(call, path):
                    raise PermissionError(errno.EACCES, path)
                if self._driver.read_file(path) is None:
                    raise FileNotFoundError(errno.ENOENT, path)
                return _Look(stat.S_IFREG | (0o644 if self._driver.writable_file(path) else 0o444), 0x2000)
            case Entry(path):
                status = self._tree.stat(path, follow=follow)
        return _Look(status.st_mode, status.st_ino, status.st_rdev, status.st_size)

    def _put_stat(self, call: Call, buffer: int, look: _Look | None) -> int | None:
        if look is None:
            return None
        head = (1, look.mode, 0, 0) if MACHINE == "x86_64" else (look.mode, 1, 0, 0)
        data = _STAT[MACHINE].pack(5, look.inode, *head, look.rdev, look.size, 4096, 0, *[0] * 6)
        return self._put(call, buffer, data)

    def _put(self, call: Call, address: int, data: bytes) -> int:
        """copy_to_user, also of programs that have no device open."""
        process = self._clients.of(call.tid)
        if process is not None:
            process.space.write(address, data)
            return 0
        memory = ProcessMemory(call.tid)
        try:
            call.confirm()
            memory.check(address, len(data), WRITABLE)
            memory.write(address, data)
        except Dead:
            raise bad_address(address) from None
        finally:
            memory.close()
        return 0

    def _access(self, call: Call) -> int | None:
        return self._access_path(call, AT_FDCWD, *call.arguments[:2])

    def _faccessat(self, call: Call) -> int | None:
        return self._access_path(call, *call.arguments[:3])

    def _access_path(self, call: Call, directory: int, path: int, mode: int) -> int | None:
        place = self._naming.place(call, directory, path)
        if place is None:
            return None
        look = self._look_at(call, place, follow=True)
        return 0 if _allowed(look, mode, root=procfs.status(call.tid).uid == 0) else -errno.EACCES

    def _getxattr(self, call: Call) -> int | None:
        return -errno.ENODATA if self._naming.place(call, AT_FDCWD, call.arguments[0]) else None

    def _listxattr(self, call: Call) -> int | None:
        return 0 if self._naming.place(call, AT_FDCWD, call.arguments[0]) else None

    def _readlink(self, call: Call) -> int | None:
        return self._readlink_path(call, AT_FDCWD, *call.arguments[:3])

    def _readlinkat(self, call: Call) -> int | None:
        return self._readlink_path(call, *call.arguments[:4])

    def _readlink_path(self, call: Call, directory: int, path: int, buffer: int, size: int) -> int | None:
        place = self._naming.place(call, directory, path)
        if place is None:
            target = self._descriptor_target(call, path)
            if target is None:
                return None
        elif isinstance(place, Entry):
            target = self._tree.readlink(place.path)
        else:
            self._look_at(call, place, follow=False)
            return -errno.EINVAL
        data = os.fsencode(target)[: size & INT]
        self._put(call, buffer, data)
        return len(data)

    def _descriptor_target(self, call: Call, path: int) -> str | None:
        """/proc/self/fd/N of a device leads to its node."""
        match = _DESCRIPTOR.fullmatch(self._naming.text(call, path) or "")
        minor = self._minor_of(call.tid, int(match[1])) if match else None
        return None if minor is None else f"{NODES}/{self._names[minor]}"


def _allowed(look: _Look, mode: int, *, root: bool) -> bool:
    """Whether root, or another user, may access a file of root's like this (R_OK, W_OK, X_OK)."""
    if not root:
        return mode & ~look.mode & 0o7 == 0
    return not mode & os.X_OK or look.mode & 0o111 != 0
