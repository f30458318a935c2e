# SPDX-License-Identifier: MIT
"""/proc of a thread, compared with the thread's own view."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import threading

import pytest

from mock.linux import procfs
from mock.linux.syscall import syscall

PR_SET_NAME = 15


def test_status_is_that_of_the_thread() -> None:
    """Its name contains a newline."""
    seen: list[procfs.Status] = []

    def look() -> None:
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"a\nTgid:\t7", 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        seen.append(procfs.status(threading.get_native_id()))
        signal.sigtimedwait({signal.SIGUSR1}, 0)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    (status,) = seen
    assert status.tgid == os.getpid()
    assert status.name == r"a\nTgid:\t7".replace(r"\t", "\t")
    assert status.uid == os.geteuid()
    assert status.threads >= 2
    usr1, usr2 = 1 << signal.SIGUSR1 - 1, 1 << signal.SIGUSR2 - 1
    assert status.blocked & (usr1 | usr2) == usr1 | usr2
    assert (status.pending, status.shared_pending) == (usr1, 0)
    other = procfs.status(os.getpid())
    assert other.name != status.name
    assert not other.blocked & usr1


def test_no_such_thread() -> None:
    with pytest.raises(OSError, match=r"No such file"):
        procfs.status(2**22 + 1)


def test_mappings_of_a_file_are_found_by_its_inode() -> None:
    """All of them, as in the list of all mappings; a mapping of another file is none."""
    maps = procfs.Maps(os.getpid())
    size = 2 * procfs.PAGE
    ours, other = os.memfd_create("ours"), os.memfd_create("other")
    try:
        for fd in (ours, other):
            os.ftruncate(fd, 2 * size)
        inode = os.fstat(ours).st_ino
        assert maps.of_inode(inode) == []
        with mmap.mmap(ours, size), mmap.mmap(ours, size, offset=size), mmap.mmap(other, size):
            found = maps.of_inode(inode)
            assert sorted(mapping.offset for mapping in found) == [0, size]
            assert found == [mapping for mapping in maps.all() if mapping.inode == inode]
        assert maps.of_inode(inode) == []
    finally:
        maps.close()
        os.close(ours)
        os.close(other)


def test_secret_memory_can_neither_be_read_nor_written() -> None:
    """As another process sees it, whatever its protection says."""
    try:
        fd = syscall("memfd_secret", os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no secret memory here: {error}")
    os.ftruncate(fd, 2 * mmap.PAGESIZE)
    secret, plain = mmap.mmap(fd, 2 * mmap.PAGESIZE), mmap.mmap(-1, 2 * mmap.PAGESIZE)
    os.close(fd)
    maps = procfs.Maps(os.getpid())
    flags = []
    for memory in secret, plain:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        mapping = maps.at_or_after(address)
        assert mapping is not None
        assert mapping.start <= address
        flags.append(mapping.flags & (procfs.READABLE | procfs.WRITABLE))
    maps.close()
    assert flags == [0, procfs.READABLE | procfs.WRITABLE]
