# SPDX-License-Identifier: MIT
"""Reading and writing another process's memory with its own protections, and never waiting for a page.

/proc/PID/mem does not wait for userfaultfd: a page that only the mock could provide gives EIO instead of a
deadlock (process_vm_writev would never return). But it overrides protections (FOLL_FORCE), so those are
looked up first.
"""

from __future__ import annotations

import contextlib
import errno
import os

from mock.kernel import PAGE_SIZE
from mock.linux import procfs

_TOP = 1 << 56
"""No user address is this large on any machine; pread(2) takes no larger offset than 2**63 - 1."""


class Missing(Exception):  # noqa: N818 - a condition, not a failure
    """The page at ``address`` is not there and faulting it in needs the mock; ``done`` bytes before it were
    transferred.
    """

    def __init__(self, address: int, done: int) -> None:
        super().__init__(f"{address:#x}")
        self.address = address
        self.done = done


class Dead(Exception):  # noqa: N818 - a condition, not a failure
    """The address space is gone."""


def bad_address(address: int) -> OSError:
    """EFAULT, to raise."""
    return OSError(errno.EFAULT, f"bad address {address:#x}")


class Unreadable(Exception):  # noqa: N818 - a condition, not a failure
    """Nothing can be read there, or not without the mock's help."""


class PeekedMemory:
    """A moment's look into the memory of a process that has no device. Raises OSError when that is not
    allowed.
    """

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> PeekedMemory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def peek(self, address: int, size: int) -> bytes:
        """Read memory. Raises Unreadable."""
        return _read(self._fd, address, size)


def _read(fd: int, address: int, size: int) -> bytes:
    try:
        data = os.pread(fd, size, address) if address < _TOP else b""
    except OSError:
        data = b""
    if len(data) < size:
        raise Unreadable
    return data


class ProcessMemory:
    """One address space. Raises OSError (ENOENT, EACCES) when it cannot be opened."""

    def __init__(self, pid: int) -> None:
        self._seen: procfs.Mapping | None = None
        with contextlib.ExitStack() as opened:  # the process may end in between
            self._fd = os.open(f"/proc/{pid}/mem", os.O_RDWR | os.O_CLOEXEC)
            opened.callback(os.close, self._fd)
            self.maps = procfs.Maps(pid)
            opened.callback(self.maps.close)
            self.pagemap = procfs.Pagemap(pid)
            opened.pop_all()

    def close(self) -> None:
        os.close(self._fd)
        self.maps.close()
        self.pagemap.close()

    def alive(self) -> bool:
        """False after exit and exec."""
        try:
            return os.pread(self._fd, 1, PAGE_SIZE) != b""
        except OSError:
            return True

    def doubt(self) -> None:
        """Look up mappings again. Between calls they are taken as unchanged, so call it whenever the client may have
        run.
        """
        self._seen = None

    def check(self, address: int, size: int, permission: int) -> None:
        """OSError(EFAULT) unless every byte is mapped with ``permission`` (procfs.READABLE or WRITABLE)."""
        end = address + size
        seen = self._seen
        if seen is not None and seen.start <= address and end <= seen.end and seen.flags & permission:
            return
        if end > _TOP:
            raise bad_address(address)
        while address < end:
            try:
                mapping = self.maps.at_or_after(address)
            except ProcessLookupError as gone:
                raise Dead from gone
            if mapping is None or mapping.start > address or not mapping.flags & permission:
                raise bad_address(address)
            address = mapping.end
            self._seen = mapping

    def read(self, address: int, size: int) -> bytes:
        """Read memory, whatever its protection."""
        if address > _TOP:
            raise bad_address(address)
        try:
            data = os.pread(self._fd, size, address)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise Missing(address, 0) from error
        if len(data) == size:
            return data
        if not data:
            raise Dead
        raise Missing(address + len(data), len(data))

    def peek(self, address: int, size: int) -> bytes:
        """As ``read``, but raises Unreadable when anything is in the way."""
        return _read(self._fd, address, size)

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write memory, whatever its protection."""
        try:
            done = os.pwrite(self._fd, data, address)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise Missing(address, 0) from error
        if done == len(data):
            return
        if not done:
            raise Dead
        raise Missing(address + done, done)
