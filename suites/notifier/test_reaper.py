# SPDX-License-Identifier: MIT
"""The OOM reaper and process_mrelease(2): the kernel frees the memory of a dying process without blocking.

The OOM reaper, and process_mrelease(2) which does the same on request, notify in a way that must not block. The driver
cannot take memory from a GPU without waiting, so it declines, and the reaper leaves that memory to the exit of the
process (drm_gpusvm.c: drm_gpusvm_notifier_invalidate). Neither waits for the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from fixtures import FAULTING, acts, behaviour, landed, needs, untested, wait_until
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import allocate
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.vm import Vm

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_PTRACE_CONT, _PTRACE_SEIZE = 7, 0x4206
_PTRACE_O_TRACEEXIT = 1 << 6
_SYS_PROCESS_MRELEASE = 448  # the same number on every architecture

pytestmark = needs("page-faults")


def ptrace(request: int, pid: int, data: int = 0) -> None:
    """The system call; raises OSError."""
    if _libc.ptrace(request, pid, None, data):
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x}): {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def forked(function: Callable[[], None]) -> Iterator[int]:
    """A child that runs ``function`` and then waits to be killed: its process id. It is killed and waited for."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            function()
            os.write(write, b"1")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    try:
        if not os.read(read, 1):
            pytest.fail("the child did not get ready")
        yield pid
    finally:
        os.close(read)
        with contextlib.suppress(OSError):
            ptrace(_PTRACE_CONT, pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def ends(pid: int) -> bool:
    """Whether the traced child, which was killed, has come to the point where it ends and still has its memory."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return found == pid and os.WIFSTOPPED(status)


@behaviour("notifier.nonblockable")
@acts("store")
@needs("cpu-addr-mirror")
def test_process_mrelease_while_gpu_has_memory(
    device: Device, make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """process_mrelease(2) of a killed process returns at once while a GPU uses its memory; the device still works."""

    def use_memory() -> None:
        opened = Device(device.path)
        vm = Vm(opened, FAULTING)
        vm.mirror()
        buffer = allocate(SZ_2M, align=SZ_2M)
        vm.queue().store(buffer.address, 1)

    with forked(use_memory) as pid:
        try:
            ptrace(_PTRACE_SEIZE, pid, _PTRACE_O_TRACEEXIT)
        except OSError as error:
            untested("MACHINE:ptrace", f"the child cannot be held at its end: {error}")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ends(pid), what="the end of the child")
        pidfd = os.pidfd_open(pid)
        try:
            ctypes.set_errno(0)
            result = _libc.syscall(_SYS_PROCESS_MRELEASE, pidfd, 0)
            assert (result, ctypes.get_errno()) in ((0, 0), (-1, errno.EAGAIN))
        finally:
            os.close(pidfd)
    vm, buffer, value = make_vm(FAULTING), memory(SZ_2M, align=SZ_2M), sentinel()
    vm.mirror()
    vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
