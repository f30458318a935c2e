# SPDX-License-Identifier: MIT
"""Equip a program that is not aware of the mock: it creates a userfaultfd and an adviser itself.

Only a process can create them for its own memory. A thread that opens a device is stopped briefly on its return from
that system call, creates them, and continues; the mock takes the descriptors over. For children of fork, which have a
userfaultfd, only the adviser is made.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass

from mock.kernel import PAGE_SIZE
from mock.linux import adviser, pidfd
from mock.linux.adviser import Adviser
from mock.linux.instructions import CLONE
from mock.linux.ptrace import Stopped, Stopping, Waiting
from mock.linux.syscall import MACHINE
from mock.memory.process import ProcessMemory

_MADV_WIPEONFORK = 18
_UFFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
_UFFD_USER_MODE_ONLY = 1
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_PAIR = struct.Struct("=ii")


@dataclass
class Equipment:
    """The created files; descriptors are the mock's. ``missing`` is the reason for each that could not be created."""

    uffd: int | None = None
    user_mode_only: bool = False
    mailbox: int = 0
    adviser: Adviser | None = None
    missing: str = ""


def equip(stopping: Stopping, tgid: int, memory: ProcessMemory, *, uffd: bool) -> Waiting[Equipment]:
    """Have the thread create an adviser and, with ``uffd``, a userfaultfd and a mailbox page. Raises OSError if it
    cannot; the process keeps what was created by then, which is harmless.
    """
    made = Equipment()
    process = pidfd.open_(tgid)
    try:
        thread = yield from stopping.stop()
        try:
            if uffd:
                yield from _make_userfaultfd(thread, process, made)
            yield from _make_adviser(thread, process, memory, made)
        except OSError as error:
            made.missing = str(error.strerror)
        finally:
            thread.restore()
    finally:
        os.close(process)
    return made


def _take(thread: Stopped, process: int, fd: int) -> Waiting[int]:
    taken = pidfd.take(process, fd)
    try:
        yield from thread.syscall("close", fd)
    except BaseException:
        os.close(taken)
        raise
    return taken


def _make_userfaultfd(thread: Stopped, process: int, made: Equipment) -> Waiting[None]:
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    made.mailbox = yield from thread.syscall("mmap", 0, PAGE_SIZE, prot, _ANONYMOUS, -1, 0)
    yield from thread.syscall("madvise", made.mailbox, PAGE_SIZE, _MADV_WIPEONFORK)
    try:
        fd = yield from thread.syscall("userfaultfd", _UFFD_FLAGS)
    except PermissionError:
        fd = yield from thread.syscall("userfaultfd", _UFFD_FLAGS | _UFFD_USER_MODE_ONLY)
        made.user_mode_only = True
    made.uffd = yield from _take(thread, process, fd)


def _make_adviser(thread: Stopped, process: int, memory: ProcessMemory, made: Equipment) -> Waiting[None]:
    """As adviser.create does; clone(2) is made with the adviser's own instructions, where the new thread
    continues.
    """
    prot = mmap.PROT_READ | mmap.PROT_WRITE
    place = yield from thread.syscall("mmap", 0, adviser.SIZE, prot, adviser.FLAGS, -1, 0)
    yield from thread.syscall("madvise", place, adviser.SIZE, adviser.MADV_DONTFORK)
    yield from thread.syscall("socketpair", *adviser.SOCKET, place)
    ours, theirs = _PAIR.unpack(memory.read(place, _PAIR.size))
    taken = Adviser((yield from _take(thread, process, ours)))
    try:
        memory.write(place, adviser.contents(theirs))
        yield from thread.syscall("mprotect", place, adviser.PAGE, mmap.PROT_READ | mmap.PROT_EXEC)
        yield from thread.syscall(
            "clone", adviser.CLONE_FLAGS, place + adviser.SIZE, at=place + CLONE[MACHINE]
        )
        yield from thread.syscall("close", theirs)
        while not taken.started():
            yield
    except BaseException:
        taken.close()
        raise
    made.adviser = taken
