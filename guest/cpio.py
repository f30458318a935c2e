# SPDX-License-Identifier: MIT
"""Initramfs archives: the "newc" cpio format the kernel unpacks (Documentation/driver-api/early-userspace)."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

ALIGN = 4


class Writer:
    """Writes one archive to ``file``; parent directories and the symbolic links on the way are added automatically.

    The kernel unpacks archives that follow each other in one file, and a later entry replaces an earlier one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.paths: set[PurePosixPath] = {PurePosixPath("/")}
        self._inode = 0

    def text(self, path: str, content: str, *, mode: int = 0o644) -> None:
        self.data(PurePosixPath(path), content.encode(), mode=mode)

    def data(self, path: PurePosixPath, content: bytes, *, mode: int = 0o644, mtime: int = 0) -> None:
        if path in self.paths:
            return
        self._parents(path)
        self._entry(path, stat.S_IFREG | mode, content, mtime=mtime)

    def directory(self, path: PurePosixPath) -> None:
        if path in self.paths:
            return
        self._parents(path)
        self._entry(path, stat.S_IFDIR | 0o755, b"")

    def symlink(self, path: PurePosixPath, target: str) -> None:
        if path in self.paths:
            return
        self._parents(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def host(self, source: Path, content: bytes | None = None) -> None:
        """The host's file ``source`` at the same path, or ``content`` there; links on the way to it stay links."""
        resolved = Path("/")
        for part in source.absolute().parts[1:]:
            if part == "..":
                resolved = resolved.parent
                continue
            step = resolved / part
            if step.is_symlink():
                target = step.readlink()
                self.symlink(PurePosixPath(step), str(target))
                self.host(resolved / target)
                resolved = step.resolve()
            else:
                resolved = step
        if resolved.is_dir():
            self.directory(PurePosixPath(resolved))
        else:
            status = resolved.stat()
            self.data(
                PurePosixPath(resolved),
                resolved.read_bytes() if content is None else content,
                mode=stat.S_IMODE(status.st_mode),
                mtime=int(status.st_mtime),
            )

    def close(self) -> None:
        """End the archive; pads it so that another one may follow."""
        self._header(b"TRAILER!!!", 0, 0, 0)
        self.file.write(bytes(-self.file.tell() % 512))

    def _parents(self, path: PurePosixPath) -> None:
        self.directory(path.parent)

    def _entry(self, path: PurePosixPath, mode: int, content: bytes, *, mtime: int = 0) -> None:
        self.paths.add(path)
        self._header(str(path).lstrip("/").encode(), mode, len(content), mtime)
        self.file.write(content)
        self.file.write(bytes(-len(content) % ALIGN))

    def _header(self, name: bytes, mode: int, size: int, mtime: int) -> None:
        self._inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._inode, mode, 0, 0, links, mtime, size, 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % value for value in fields) + name + b"\0"
        self.file.write(header + bytes(-len(header) % ALIGN))
