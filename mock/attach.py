# SPDX-License-Identifier: MIT
"""The client's side: attach this process, and all that it starts, to mock GPUs.

It cannot be undone: the filter stays for the life of the process. So a test runner attaches in the worker process that
runs the tests, never in the one that starts workers.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.kernels import DEFAULT_KERNEL
from mock.filter import DEVICES
from mock.handover import Channel, HandoverError
from mock.linux import seccomp
from mock.linux.bpf import Rule, assemble
from mock.linux.syscall import syscall
from mock.probe import Use, find_seccomp, find_tracing, make_adviser, make_userfaultfd, privileged

DRIVER = "mock.driver.driver:Driver"
"""The class of the driver, as module:class."""

_ROOT = Path(__file__).resolve().parent.parent
_START = 60.0
"""Seconds in which a mock has to start, on a very busy machine."""

_PR_SET_PTRACER = 0x59616D61
_MADV_WIPEONFORK = 18
_PAGE = 4096


class Unavailable(Exception):  # noqa: N818 - a condition, not a failure
    """No mock can run here; one line says why and what to do."""


@dataclass
class Attachment:
    """The mock of this process."""

    nodes: list[str]
    """Paths of the device nodes: /dev/dri/card0, /dev/dri/renderD128, ..."""
    ladder: list[str]
    """Limitations of the mock here and their causes, one line each; empty if there are none."""
    abilities: frozenset[str]
    """Its abilities on this process's memory: values of kernel.Ability."""
    pid: int
    """The mock process."""
    _channel: Channel = field(repr=False)
    _errors: int = field(repr=False)

    def alive(self) -> bool:
        """False when the mock has died: devices answer ENODEV then, and memory in VRAM is lost (reads as
        zeros).
        """
        try:
            os.read(self._channel.fileno(), 1)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def errors(self) -> str:
        """Output of the mock: internal errors with their tracebacks, and how it ended. Empty if nothing went wrong."""
        return _read_errors(self._errors)


_attached: Attachment | None = None


def attach(
    platform: str,
    level: str = DEFAULT_KERNEL,
    defect: str | None = None,
    *,
    driver: str = DRIVER,
    rules: Iterable[Rule] = DEVICES,
    verbose: bool = False,
    errors: int | None = None,
) -> Attachment:
    """Start a mock with the GPUs of ``platform`` at a uAPI level (a kernel version), which from now on answers the
    calls on /dev/dri of this process, its threads and its descendants. ``defect``: one of mock.defects. ``errors``: a
    descriptor for what the mock prints, which otherwise is kept for Attachment.errors. Raises Unavailable.
    """
    global _attached  # noqa: PLW0603 - a process has one mock, permanently
    if _attached is not None:
        raise Unavailable(
            f"this process is already attached to a mock (pid {_attached.pid}), which cannot be undone"
        )
    for finding in (find_seccomp(), find_tracing()):
        if not finding.works and finding.use is Use.MOCK:
            raise Unavailable(f"no mock: {finding.name}: {finding.detail}; {finding.remedy}")
    arguments = ["--platform", platform, "--level", level, "--driver", driver]
    arguments += ["--defect", defect] if defect is not None else []
    arguments += ["--verbose"] if verbose else []
    kept = os.memfd_create("svm-cts-errors", os.MFD_CLOEXEC) if errors is None else -1
    channel: Channel | None = None
    try:
        channel = _start(arguments, kept if errors is None else errors)
        _attached = _join(channel, kept, assemble(rules))
    except BaseException as error:
        if channel is not None:
            channel.close()
        said = _read_errors(kept).strip().splitlines()
        if kept >= 0:
            os.close(kept)
        if isinstance(error, HandoverError):
            raise Unavailable(f"no mock: {error}" + (f" ({said[-1]})" if said else "")) from error
        raise
    return _attached


def _read_errors(fd: int) -> str:
    return os.pread(fd, 1 << 20, 0).decode(errors="replace") if fd >= 0 else ""


def _start(arguments: list[str], errors: int) -> Channel:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "mock", "--channel", str(theirs.fileno()), *arguments]
        # Returns at once: the mock goes to the background on its own.
        result = subprocess.run(
            command,
            cwd=_ROOT,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            check=False,
        )
    if result.returncode:
        ours.close()
        raise HandoverError(f"the mock did not start (status {result.returncode})")
    return Channel(ours)


def _join(channel: Channel, errors: int, program: bytes) -> Attachment:
    """The handover (see mock.handover). Only its last step changes this process permanently."""
    hello, _ = channel.receive(_START)
    with contextlib.suppress(OSError):  # EINVAL without Yama
        syscall("prctl", _PR_SET_PTRACER, hello["pid"], 0, 0, 0)
    uffd, adviser = make_userfaultfd(), make_adviser()
    with _closing(uffd.fd), _closing(adviser.fd):
        ladder = [str(finding) for finding in (uffd.finding, adviser.finding) if not finding.works]
        channel.send(
            {
                "pid": os.getpid(),
                "mailbox": _mailbox() if uffd.fd is not None else 0,
                "user_mode_only": uffd.user_mode_only,
                "adviser": adviser.fd,
            },
            (uffd.fd,) if uffd.fd is not None else (),
        )
        taken, _ = channel.receive(_START)
    try:
        listener = seccomp.install(program, privileged=privileged())
    except OSError as error:
        raise HandoverError(f"the filter cannot be installed: {error.strerror}") from error
    with _closing(listener):
        channel.send({}, (listener,))
    channel.receive(_START)
    os.set_blocking(channel.fileno(), False)
    return Attachment(
        nodes=[f"/dev/dri/{name}" for name in hello["nodes"]],
        ladder=ladder + taken["reductions"],
        abilities=frozenset(taken["abilities"]),
        pid=hello["pid"],
        _channel=channel,
        _errors=errors,
    )


def _mailbox() -> int:
    """Map a page for memory.mailbox, which is never unmapped; returns its address."""
    page = mmap.mmap(-1, _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.madvise(_MADV_WIPEONFORK)
    page.madvise(mmap.MADV_DONTNEED)
    view = ctypes.c_char.from_buffer(page)
    _kept.append(view)
    return ctypes.addressof(view)


_kept: list[object] = []


@contextlib.contextmanager
def _closing(fd: int | None) -> Iterator[None]:
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)
