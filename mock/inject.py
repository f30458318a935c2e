# SPDX-License-Identifier: MIT
"""Equip a program that is not aware of the mock: it creates a userfaultfd and an io_uring itself.

Only a process can create them for its own memory. A thread that opens a device is stopped briefly on its return from
that system call, creates them, and continues; the mock takes the descriptors over. For children of fork, which have a
userfaultfd, only the io_uring is made.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from mock.kernel import PAGE_SIZE
from mock.linux import pidfd
from mock.linux.ptrace import Stopped, Stopping, Waiting
from mock.linux.uring import ENTRIES, PARAMS_SIZE, parameters
from mock.memory.process import ProcessMemory

_MADV_WIPEONFORK = 18
_UFFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_UFFD_USER_MODE_ONLY = 1
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


@dataclass
class Equipment:
    """The created files; descriptors are the mock's. ``missing`` is the reason for each that could not be created."""

    uffd: int | None = None
    user_mode_only: bool = False
    mailbox: int = 0
    ring: tuple[int, bytes] | None = None
    missing: str = ""


def equip(stopping: Stopping, tgid: int, memory: ProcessMemory, *, uffd: bool) -> Waiting[Equipment]:
    """Have the thread create an io_uring and, with ``uffd``, a userfaultfd and a mailbox page. Raises OSError if it
    cannot; the process keeps what was created by then, which is harmless.
    """
    made = Equipment()
    process = pidfd.open_(tgid)
    try:
        thread = yield from stopping.stop()
        try:
            if uffd:
                yield from _make_userfaultfd(thread, process, made)
            yield from _make_ring(thread, process, memory, made)
        except OSError as error:
            made.missing = str(error.strerror)
        finally:
            thread.restore()
    finally:
        os.close(process)
    return made


def _map_page(thread: Stopped) -> Waiting[int]:
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    return (yield from thread.syscall("mmap", 0, PAGE_SIZE, prot, _ANONYMOUS, -1, 0))


def _take(thread: Stopped, process: int, fd: int) -> Waiting[int]:
    taken = pidfd.take(process, fd)
    try:
        yield from thread.syscall("close", fd)
    except BaseException:
        os.close(taken)
        raise
    return taken


def _make_userfaultfd(thread: Stopped, process: int, made: Equipment) -> Waiting[None]:
    made.mailbox = yield from _map_page(thread)
    yield from thread.syscall("madvise", made.mailbox, PAGE_SIZE, _MADV_WIPEONFORK)
    try:
        fd = yield from thread.syscall("userfaultfd", _UFFD_FLAGS)
    except PermissionError:
        fd = yield from thread.syscall("userfaultfd", _UFFD_FLAGS | _UFFD_USER_MODE_ONLY)
        made.user_mode_only = True
    made.uffd = yield from _take(thread, process, fd)


def _make_ring(thread: Stopped, process: int, memory: ProcessMemory, made: Equipment) -> Waiting[None]:
    scratch = yield from _map_page(thread)
    memory.write(scratch, parameters())
    fd = yield from thread.syscall("io_uring_setup", ENTRIES, scratch)
    filled = memory.read(scratch, PARAMS_SIZE)
    made.ring = ((yield from _take(thread, process, fd)), filled)
    yield from thread.syscall("munmap", scratch, PAGE_SIZE)
