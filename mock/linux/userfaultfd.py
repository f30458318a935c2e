# SPDX-License-Identifier: MIT
"""userfaultfd(2): page faults and mapping changes of another process, and its missing pages."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from mock.linux.syscall import io, ior, iowr, syscall

_API_VERSION = 0xAA
_USER_MODE_ONLY = 1
_IOC_NEW = io(0xAA, 0x00)
_API = iowr(0xAA, 0x3F, 24)
_REGISTER = iowr(0xAA, 0x00, 32)
_UNREGISTER = ior(0xAA, 0x01, 16)
_WAKE = ior(0xAA, 0x02, 16)
_COPY = iowr(0xAA, 0x03, 40)
_ZEROPAGE = iowr(0xAA, 0x04, 32)
_WRITEPROTECT = iowr(0xAA, 0x06, 24)

_MESSAGE = struct.Struct("=BBHIQQQ")
_RANGE = struct.Struct("=QQ")
_RANGE_MODE = struct.Struct("=QQQ")
_RANGE_MODE_OUT = struct.Struct("=QQQq")
_COPY_STRUCT = struct.Struct("=QQQQq")

_DEVICE = "/dev/userfaultfd"
PAGE = 4096
PAGEFAULT_WRITE = 1
"""UFFD_PAGEFAULT_FLAG_WRITE, in the flags of a PAGEFAULT message."""


class Feature(IntFlag):
    """UFFD_FEATURE_*."""

    PAGEFAULT_FLAG_WP = 1 << 0
    EVENT_FORK = 1 << 1
    EVENT_REMAP = 1 << 2
    EVENT_REMOVE = 1 << 3
    MISSING_HUGETLBFS = 1 << 4
    MISSING_SHMEM = 1 << 5
    EVENT_UNMAP = 1 << 6
    THREAD_ID = 1 << 8
    WP_HUGETLBFS_SHMEM = 1 << 12


EVENTS = Feature.EVENT_REMAP | Feature.EVENT_REMOVE | Feature.EVENT_UNMAP
NEEDED = EVENTS | Feature.PAGEFAULT_FLAG_WP | Feature.THREAD_ID
WISHED = Feature.MISSING_HUGETLBFS | Feature.MISSING_SHMEM | Feature.WP_HUGETLBFS_SHMEM


class Mode(IntFlag):
    """UFFDIO_REGISTER_MODE_*."""

    MISSING = 1
    WP = 2


class Kind(IntEnum):
    """UFFD_EVENT_*."""

    PAGEFAULT = 0x12
    FORK = 0x13
    REMAP = 0x14
    REMOVE = 0x15
    UNMAP = 0x16


class Message(NamedTuple):
    """struct uffd_msg. ``a``, ``b``, ``c`` are: PAGEFAULT flags, address, thread; FORK the new descriptor; REMAP
    from, to, length; REMOVE and UNMAP start, end.
    """

    kind: Kind
    a: int
    b: int
    c: int


class Busy(Exception):  # noqa: N818 - a condition, not a failure
    """EAGAIN: a mapping is being changed; read the event and try again."""


def create(*, user_mode_only: bool) -> int:
    """Create a userfaultfd, with /dev/userfaultfd if its permissions allow that, else with the system call.

    Non-blocking and close-on-exec. Raises OSError (EPERM, ENOSYS).
    """
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    if not user_mode_only:
        try:
            device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pass
        else:
            try:
                return fcntl.ioctl(device, _IOC_NEW, flags)
            finally:
                os.close(device)
    return syscall("userfaultfd", flags | (_USER_MODE_ONLY if user_mode_only else 0))


def features(fd: int) -> Feature:
    """Features of the kernel; ``fd`` must be new, and cannot be used afterwards."""
    buffer = bytearray(struct.pack("=QQQ", _API_VERSION, 0, 0))
    fcntl.ioctl(fd, _API, buffer, True)
    return Feature(struct.unpack("=QQQ", buffer)[1])


class Userfaultfd:
    """One userfaultfd, held by another process than the one it watches.

    Methods raise Busy, ProcessLookupError if the address space is gone, and FileNotFoundError if the range is not
    registered (any more).
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        # UFFDIO_COPY copies from an address of ours.
        self._staging = _Staging()

    def enable_all(self) -> bool:
        """The handshake, once, with all features that the mock uses. Returns whether forks give events, which needs
        CAP_SYS_PTRACE. Raises OSError if the kernel lacks a required feature.
        """
        probe = create(user_mode_only=True)
        try:
            wanted = NEEDED | WISHED & features(probe)
        finally:
            os.close(probe)
        try:
            self._enable(wanted | Feature.EVENT_FORK)
        except PermissionError:
            self._enable(wanted)
            return False
        return True

    def _enable(self, wanted: Feature) -> None:
        fcntl.ioctl(self.fd, _API, struct.pack("=QQQ", _API_VERSION, wanted, 0))

    def close(self) -> None:
        os.close(self.fd)

    def read(self, most: int = 64) -> list[Message]:
        """Pending messages, at most ``most``. FORK has a new descriptor, which the caller must close."""
        try:
            data = os.read(self.fd, most * _MESSAGE.size)
        except (BlockingIOError, InterruptedError):
            return []
        messages = []
        for kind, _, _, _, a, b, c in _MESSAGE.iter_unpack(data):
            messages.append(Message(Kind(kind), a & 0xFFFFFFFF if kind == Kind.FORK else a, b, c))
        return messages

    def register(self, start: int, end: int, mode: Mode) -> None:
        """Watch [start, end).

        Raises OSError: EINVAL or EPERM if the memory cannot be watched, EBUSY if another userfaultfd watches it.
        """
        fcntl.ioctl(self.fd, _REGISTER, _RANGE_MODE_OUT.pack(start, end - start, mode, 0))

    def unregister(self, start: int, end: int) -> None:
        """Stop watching; wakes the waiting threads."""
        fcntl.ioctl(self.fd, _UNREGISTER, _RANGE.pack(start, end - start))

    def wake(self, start: int, end: int) -> None:
        """Make threads that wait for faults in the range try again."""
        fcntl.ioctl(self.fd, _WAKE, _RANGE.pack(start, end - start))

    def copy(self, address: int, data: bytes | memoryview) -> int:
        """Fill missing pages and wake; returns the bytes done. Stops at a present page (FileExistsError at once)."""
        length = len(data)
        source = self._staging.put(data)
        buffer = bytearray(_COPY_STRUCT.pack(address, source, length, 0, 0))
        try:
            fcntl.ioctl(self.fd, _COPY, buffer, True)
        except BlockingIOError:
            done = _COPY_STRUCT.unpack(buffer)[4]
            if done > 0:
                return int(done)
            raise Busy from None
        return length

    def zero(self, start: int, end: int) -> None:
        """Fill missing pages with zeros and wake. Stops at a present page, FileExistsError if it is the first."""
        buffer = bytearray(_RANGE_MODE_OUT.pack(start, end - start, 0, 0))
        try:
            fcntl.ioctl(self.fd, _ZEROPAGE, buffer, True)
        except BlockingIOError:
            if _RANGE_MODE_OUT.unpack(buffer)[3] <= 0:
                raise Busy from None

    def write_protect(self, start: int, end: int, *, on: bool) -> None:
        """Make stores fault; with ``on=False`` allow them again and wake."""
        try:
            fcntl.ioctl(self.fd, _WRITEPROTECT, _RANGE_MODE.pack(start, end - start, 1 if on else 0))
        except BlockingIOError:
            raise Busy from None


class _Staging:
    """Our memory at a known address, grown on demand."""

    def __init__(self) -> None:
        self._grow(16 * PAGE)

    def put(self, data: bytes | memoryview) -> int:
        if len(data) > len(self._map):
            self._grow(len(data))
        self._map[: len(data)] = data
        return self._address

    def _grow(self, size: int) -> None:
        self._map = mmap.mmap(-1, size)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
