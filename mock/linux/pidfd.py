# SPDX-License-Identifier: MIT
"""Processes and their descriptors by pidfd (pidfd_open(2), pidfd_getfd(2))."""

from __future__ import annotations

import os

from mock.linux.syscall import syscall


def take(pidfd: int, fd: int) -> int:
    """A descriptor here for the file that the process has open as `fd` (close-on-exec). Raises OSError: EPERM
    without the right to trace the process, ESRCH when it is gone.
    """
    return syscall("pidfd_getfd", pidfd, fd, 0)


def open_(pid: int) -> int:
    """A descriptor that becomes readable when process `pid` has ended. OSError(ESRCH)."""
    return os.pidfd_open(pid)
