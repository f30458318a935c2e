# SPDX-License-Identifier: MIT
"""Facilities of this machine that the mock needs, found by trying, and the effect of each missing one.

The ladder: everything; userfaultfd for user-mode faults only; no userfaultfd; no seccomp notification, no
mock.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mock.linux import adviser, pidfd, seccomp, userfaultfd
from mock.linux.syscall import MACHINE, NUMBERS


class Use(Enum):
    """Purpose of a facility."""

    MOCK = "the mock needs it to run at all"
    PART = "a part of the mock needs it"
    OTHER = "something other than the mock needs it"


@dataclass(frozen=True)
class Finding:
    """One facility. If it does not work, ``lost`` says what is impossible and ``remedy`` what to do, one line each."""

    name: str
    works: bool
    detail: str
    use: Use = Use.OTHER
    lost: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        """The reduction: what is lost and why."""
        return f"{self.lost} ({self.name}: {self.detail})"


def _why(error: OSError) -> str:
    return f"{errno.errorcode.get(error.errno or 0, '?')}: {os.strerror(error.errno or 0)}"


def privileged() -> bool:
    """Whether this process has CAP_SYS_ADMIN, so that filters need no NO_NEW_PRIVS."""
    return has_capability(21)


def has_capability(bit: int) -> bool:
    """Whether this process has a capability in effect (bit of linux/capability.h)."""
    return int(_status("CapEff"), 16) >> bit & 1 != 0


def _status(key: str) -> str:
    """A line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{key}:"))


def _sysctl(path: str) -> str | None:
    try:
        return Path("/proc/sys", path).read_text().strip()
    except OSError:
        return None


def find_seccomp() -> Finding:
    """Filters with user notification, which the mock requires."""
    name = "seccomp user notification"
    lost = "the mock is not available"
    if not NUMBERS:
        return Finding(
            name, False, f"the mock knows no {MACHINE}", Use.MOCK, lost, "use an x86_64 or aarch64 machine"
        )
    try:
        seccomp.available()
    except OSError as error:
        remedy = "use a kernel with CONFIG_SECCOMP_FILTER, 5.19 or newer, outside of sandboxes that forbid seccomp(2)"
        return Finding(name, False, _why(error), Use.MOCK, lost, remedy)
    if _status("Seccomp") == "2" and listening():
        detail = "a filter with a listener is installed already"
        remedy = "run outside of the program that watches this one"
        return Finding(name, False, detail, Use.MOCK, lost, remedy)
    return Finding(name, True, "available")


def listening() -> bool:
    """Whether this process is watched through a listener already: only one is allowed. Tried in a child."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(OSError):
            seccomp.install(seccomp.ALLOW_ALL, privileged=privileged())
            status = 0
        os._exit(status)
    return os.waitpid(child, 0)[1] != 0


@dataclass(frozen=True)
class Made:
    """A userfaultfd of this process, or why there is none."""

    fd: int | None
    user_mode_only: bool
    finding: Finding


def make_userfaultfd() -> Made:
    """The best userfaultfd this process can have."""
    name = "userfaultfd"
    try:
        fd = userfaultfd.create(user_mode_only=False)
    except OSError as full:
        reason = _why(full)
    else:
        return Made(fd, False, Finding(name, True, "user and kernel faults"))
    try:
        fd = userfaultfd.create(user_mode_only=True)
    except OSError as error:
        lost = "no memory can migrate, CPU faults and unmapping are not noticed"
        remedy = "use a kernel with CONFIG_USERFAULTFD, outside of sandboxes that forbid userfaultfd(2)"
        return Made(None, True, Finding(name, False, _why(error), Use.PART, lost, remedy))
    lost = "system calls on migrated memory fail with EFAULT"
    remedy = "run as root, or sysctl vm.unprivileged_userfaultfd=1, or give access to /dev/userfaultfd"
    detail = f"user-mode faults only ({reason} for the rest)"
    return Made(fd, True, Finding(name, False, detail, Use.PART, lost, remedy))


def find_userfaultfd() -> Finding:
    """Result of ``make_userfaultfd``."""
    made = make_userfaultfd()
    if made.fd is not None:
        os.close(made.fd)
    return made.finding


def fork_events(*, works: bool) -> Finding:
    """Whether children of fork get migrated memory."""
    name = "userfaultfd fork events"
    lost = "children of fork read zeros where memory had migrated"
    return Finding(name, works, f"{'' if works else 'no '}CAP_SYS_PTRACE", Use.PART, lost, "run as root")


def find_fork_events() -> Finding:
    """Value of ``fork_events``: a capability in a user namespace of this process's own does not count."""
    fd = make_userfaultfd().fd
    if fd is None:
        return fork_events(works=False)
    try:
        return fork_events(works=userfaultfd.Userfaultfd(fd).enable_all())
    except OSError:
        return fork_events(works=False)
    finally:
        os.close(fd)


@dataclass(frozen=True)
class MadeAdviser:
    """A descriptor of an adviser of this process, or why there is none."""

    fd: int | None
    finding: Finding


def make_adviser() -> MadeAdviser:
    """An adviser by which the mock zaps pages of this process."""
    name = "thread for madvise"
    try:
        fd = adviser.create()
    except OSError as error:
        remedy = "run outside of sandboxes that forbid clone(2), close_range(2) or executable memory"
        return MadeAdviser(None, Finding(name, False, _why(error), Use.PART, "no memory can migrate", remedy))
    return MadeAdviser(fd, Finding(name, True, "available"))


def find_adviser() -> Finding:
    """Result of ``make_adviser``."""
    made = make_adviser()
    if made.fd is not None:
        os.close(made.fd)
    return made.finding


def find_tracing() -> Finding:
    """Whether one process may read another's memory and take its descriptors, as the mock does with
    clients.
    """
    name = "access to other processes"
    scope = _sysctl("kernel/yama/ptrace_scope")
    said = "no Yama" if scope is None else f"ptrace_scope {scope}"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    process = pidfd.open_(child)
    sandbox = "run outside of sandboxes that forbid"
    try:
        # At ptrace_scope 1 children may be traced anyway, and the mock may trace processes that allow it
        # (PR_SET_PTRACER).
        os.close(os.open(f"/proc/{child}/mem", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        remedy = f"sysctl kernel.yama.ptrace_scope=1, or run as root, {sandbox} ptrace (Docker: --cap-add SYS_PTRACE)"
        return Finding(name, False, f"{said}, {_why(error)}", Use.MOCK, "the mock is not available", remedy)
    else:
        try:
            os.close(pidfd.take(process, 0))
        except OSError as error:
            remedy = f"{sandbox} pidfd_getfd(2) (Docker: --cap-add SYS_PTRACE)"
            return Finding(name, False, f"{said}, {_why(error)}", Use.PART, "no memory can migrate", remedy)
    finally:
        os.close(writer)
        os.close(process)
        os.waitpid(child, 0)
    return Finding(name, True, said)
