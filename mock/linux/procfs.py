# SPDX-License-Identifier: MIT
"""/proc of another process: its mappings, pages, files and credentials."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from mock.linux.syscall import iowr, syscall

_QUERY = struct.Struct("=QQQQQQQQQIIIIQQ")  # struct procmap_query, Linux 6.11
_QUERY_ADDRESS = struct.Struct("=Q")
_QUERY_ADDRESS_AT = 16
_ANSWER = struct.Struct("=QQQQQQII")
_ANSWER_AT = 24
"""Members of struct procmap_query from vma_start to dev_minor, which are all that is needed."""
_PROCMAP_QUERY = iowr(ord("f"), 17, _QUERY.size)
_COVERING_OR_NEXT = 0x10

READABLE = 1
WRITABLE = 2
EXECUTABLE = 4
SHARED = 8

PAGE = 4096
_PRESENT = 1 << 63 | 1 << 62


class Mapping(NamedTuple):
    """One line of /proc/PID/maps. ``flags``: READABLE ... SHARED; ``device`` as st_dev."""

    start: int
    end: int
    flags: int
    offset: int
    device: int
    inode: int
    page_size: int


@functools.cache
def _secret_device() -> int:
    """The st_dev of memory of memfd_secret(2), which no other process can read; 0 if there can be none."""
    try:
        fd = syscall("memfd_secret", os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


class Maps:
    """The mappings of one address space, even if its process execs another program.

    Secret memory is without READABLE and WRITABLE: it cannot be read or written here.
    Every method raises OSError(ESRCH) once the address space is gone.
    """

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
        # The kernel leaves the query fields unchanged, so only the address is set for each call.
        self._buffer = bytearray(_QUERY.pack(_QUERY.size, _COVERING_OR_NEXT, *([0] * 13)))
        self._query = True

    def close(self) -> None:
        os.close(self._fd)

    def at_or_after(self, address: int) -> Mapping | None:
        """The mapping that contains ``address``, or the next one above; None if there is none."""
        if self._query:
            try:
                return self._ask(address)
            except OSError as error:
                if error.errno not in (errno.ENOTTY, errno.EINVAL):
                    raise
                self._query = False
        return next((mapping for mapping in self.all() if mapping.end > address), None)

    def _ask(self, address: int) -> Mapping | None:
        buffer = self._buffer
        _QUERY_ADDRESS.pack_into(buffer, _QUERY_ADDRESS_AT, address)
        try:
            fcntl.ioctl(self._fd, _PROCMAP_QUERY, buffer, True)
        except FileNotFoundError:
            return None
        start, end, flags, page_size, offset, inode, major, minor = _ANSWER.unpack_from(buffer, _ANSWER_AT)
        return _as_seen(Mapping(start, end, flags, offset, os.makedev(major, minor), inode, page_size))

    def overlapping(self, start: int, end: int) -> list[Mapping]:
        """Mappings that overlap [start, end), in order."""
        found = []
        while start < end and (mapping := self.at_or_after(start)) is not None and mapping.start < end:
            found.append(mapping)
            start = mapping.end
        return found

    def all(self) -> list[Mapping]:
        """All mappings, read as text (for kernels before 6.11; without huge page sizes)."""
        return [_parse(line) for line in self._text().decode(errors="replace").splitlines()]

    def of_inode(self, inode: int) -> list[Mapping]:
        """Mappings of files with this inode number, on whatever device, without huge page sizes."""
        text, number = self._text(), b" %d " % inode
        lines = [line for line in text.splitlines() if number in line] if number in text else []
        return [
            mapping for line in lines if (mapping := _parse(line.decode(errors="replace"))).inode == inode
        ]

    def _text(self) -> bytes:
        data, at = b"", 0
        while chunk := os.pread(self._fd, 1 << 16, at):
            data, at = data + chunk, at + len(chunk)
        if not data:
            raise ProcessLookupError(errno.ESRCH, "address space is gone")
        return data


def _parse(line: str) -> Mapping:
    area, permissions, offset, device, inode = line.split(maxsplit=5)[:5]
    start, end = (int(part, 16) for part in area.split("-"))
    major, minor = (int(part, 16) for part in device.split(":"))
    bits = zip("rwxs", (READABLE, WRITABLE, EXECUTABLE, SHARED), strict=True)
    flags = sum(bit for letter, bit in bits if letter in permissions)
    return _as_seen(Mapping(start, end, flags, int(offset, 16), os.makedev(major, minor), int(inode), PAGE))


def _as_seen(mapping: Mapping) -> Mapping:
    if mapping.inode and mapping.device == _secret_device():
        return mapping._replace(flags=mapping.flags & ~(READABLE | WRITABLE))
    return mapping


class Pagemap:
    """The pages that exist in an address space."""

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._fd)

    def present(self, start: int, end: int) -> list[bool]:
        """For each page of [start, end): whether it was populated, that is, it is in memory or swapped out."""
        count = (end - start) // PAGE
        data = os.pread(self._fd, 8 * count, start // PAGE * 8)
        entries = memoryview(data.ljust(8 * count, b"\0")).cast("Q")
        return [entry & _PRESENT != 0 for entry in entries]


def threads_named(pid: int, name: str) -> list[int]:
    """Threads of a process with this name."""
    found = []
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - often, and pathlib is slow
            if _read(f"/proc/{pid}/task/{tid}/comm") == name.encode() + b"\n":
                found.append(int(tid))
    except OSError:
        pass
    return found


def sleeps_in(tid: int) -> bytes:
    """The kernel function in which a thread sleeps; empty or "0" if it runs, is gone, or the kernel hides it."""
    return _read(f"/proc/{tid}/wchan")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - often, and pathlib is slow
            return file.read()
    except OSError:
        return b""


def identity(descriptor: str, dir_fd: int | None = None) -> tuple[int, int] | None:
    """(st_dev, st_ino) of a memfd or pipe that a thread has open; ``descriptor`` is its entry in /proc/TID/fd.

    None for other files: their file systems may never respond.
    """
    try:
        if not os.readlink(descriptor, dir_fd=dir_fd).startswith(("/memfd:", "pipe:")):
            return None
        status = os.stat(descriptor, dir_fd=dir_fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_flags(tid: int, fd: int) -> int:
    """The flags of open(2) of a descriptor. Raises OSError."""
    with open(f"/proc/{tid}/fdinfo/{fd}", "rb", buffering=0) as file:  # noqa: PTH123 - as in status
        return int(file.read().partition(b"flags:\t")[2].split(None, 1)[0], 8)


def root(tid: int) -> tuple[int, int]:
    """(st_dev, st_ino) of a thread's root directory: its chroot, or that of its mount namespace. Raises OSError."""
    status = os.stat(f"/proc/{tid}/root")  # noqa: PTH116 - often, and pathlib is slow
    return status.st_dev, status.st_ino


@dataclass(frozen=True, slots=True)
class Status:
    """Parts of /proc/TID/status. Signal masks and capabilities are bit sets."""

    name: str
    tgid: int
    uid: int
    capabilities: int
    pending: int
    shared_pending: int
    blocked: int
    threads: int


_STATUS = re.compile(
    rb"Name:\t([^\n]*)\n.*?\nTgid:\t(\d+)\n.*?\nUid:\t\d+\t(\d+)\t.*?\nThreads:\t(\d+)\n.*?"
    rb"\nSigPnd:\t(\w+)\nShdPnd:\t(\w+)\nSigBlk:\t(\w+)\n.*?\nCapEff:\t(\w+)\n",
    re.DOTALL,
)
"""The lines to read, in the order of fs/proc/array.c."""


def status(tid: int) -> Status:
    """Read /proc/TID/status. Raises OSError (ENOENT, ESRCH) if there is no such thread."""
    with open(f"/proc/{tid}/status", "rb", buffering=0) as file:  # noqa: PTH123 - often, and pathlib is slow
        text = file.read()
    found = _STATUS.match(text)
    if found is None:
        raise ProcessLookupError(errno.ESRCH, f"thread {tid} is gone")
    name, tgid, uid, threads, pending, shared_pending, blocked, capabilities = found.groups()
    return Status(
        name=name.decode(errors="replace"),
        tgid=int(tgid),
        uid=int(uid),
        capabilities=int(capabilities, 16),
        pending=int(pending, 16),
        shared_pending=int(shared_pending, 16),
        blocked=int(blocked, 16),
        threads=int(threads),
    )
