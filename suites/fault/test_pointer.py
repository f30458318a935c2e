# SPDX-License-Identifier: MIT
"""Pointers of a process that the GPU can use (drm_gpusvm.c: drm_gpusvm_range_find_or_insert)."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import threading
from pathlib import Path

import pytest

from fixtures import QueueError, acts, behaviour, landed, needs
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.timeouts import scale_timeout
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm

pytestmark = needs("page-faults")

_libc = ctypes.CDLL(None)
_libc.__h_errno_location.restype = ctypes.c_void_p


def stack() -> tuple[int, int]:
    """[start, end) of the part of the main thread's stack that is mapped."""
    found = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*\[stack\]$", Path("/proc/self/maps").read_text(), re.M)
    assert found, "no stack in /proc/self/maps"
    return int(found[1], 16), int(found[2], 16)


@behaviour("fault.any-pointer")
@acts("store")
def test_global_variable_is_usable(queue: Queue, sentinel: Sentinel) -> None:
    """The GPU can store to a variable of a shared library, optind of libc."""
    variable, value = ctypes.c_int.in_dll(_libc, "optind"), sentinel()
    before = variable.value
    queue.store(ctypes.addressof(variable), value)
    landed(Buffer(ctypes.addressof(variable), 4), 0, value)
    variable.value = before


@behaviour("fault.any-pointer")
@acts("store")
@needs("kernel-faults")
def test_thread_local_variable_is_usable(queue: Queue, sentinel: Sentinel) -> None:
    """The GPU can store to a thread-local variable, h_errno of a thread that does not use it."""
    value, (read, write) = sentinel(), os.pipe()
    where: list[int] = []
    known = threading.Event()

    def sleep() -> None:
        where.append(_libc.__h_errno_location())
        known.set()
        os.read(read, 1)

    thread = threading.Thread(target=sleep)
    thread.start()
    try:
        assert known.wait(scale_timeout(5))
        queue.store(where[0], value)
        landed(Buffer(where[0], 4), 0, value)
    finally:
        os.write(write, b"x")
        thread.join()
        os.close(read)
        os.close(write)


@behaviour("fault.any-pointer")
@acts("load")
@needs("kernel-faults")
def test_stack_is_readable(queue: Queue) -> None:
    """The GPU can load from the stack of the main thread: its environment."""
    _, end = stack()
    address = end - PAGE // 2
    words = Buffer(address, 64)
    for offset in range(0, 64, 16):
        assert queue.load(address + offset) == words.u32(offset)
    count("load")


@behaviour("fault.stack-growth")
@acts("refusal", "load")
@needs("kernel-faults")
@pytest.mark.parametrize("below", [8, PAGE, 16 * PAGE], ids=["next", "a-page", "16-pages"])
def test_access_below_stack_fails_or_grows_it(mirror_vm: Vm, below: int) -> None:
    """A GPU access below the mapped stack fails, or grows it as a CPU access of the thread does."""
    start, end = stack()
    survivor = mirror_vm.queue()
    assert survivor.load(end - PAGE // 2) == Buffer(end - PAGE // 2, 4).u32()
    count("load")
    queue = mirror_vm.queue()
    try:
        queue.load(start - below)
    except QueueError as error:
        if error.errno != errno.EIO:
            raise
        count("refusal")
        chose("GPU access below the stack: fails")
    else:
        count("refusal")
        assert stack()[0] <= start - below
        chose("GPU access below the stack: grows it")
    assert survivor.load(end - PAGE // 2) == Buffer(end - PAGE // 2, 4).u32()
