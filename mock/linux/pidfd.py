# SPDX-License-Identifier: MIT
"""Processes and their descriptors by pidfd (pidfd_open(2), pidfd_getfd(2))."""

from __future__ import annotations

import os

from mock.linux.syscall import syscall


def take(pidfd: int, fd: int) -> int:
    """Duplicate descriptor ``fd`` of the process (close-on-exec). Raises OSError: EPERM without rights, ESRCH."""
    return syscall("pidfd_getfd", pidfd, fd, 0)


def open_(pid: int) -> int:
    """A descriptor that becomes readable when process ``pid`` has ended. Raises OSError(ESRCH)."""
    return os.pidfd_open(pid)
