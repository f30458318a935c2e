# SPDX-License-Identifier: MIT
"""Signals to one thread of another process."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from mock.linux import procfs
from mock.linux.syscall import syscall

_NO_SYSTEM_CALL = "-1 "
"""How /proc/TID/syscall begins for a thread that waits on a page which the program itself touched."""


def bus_error(tid: int) -> None:
    """SIGBUS to a thread that waits on a page.

    Not when a system call touched the page: the kernel would fail that with EFAULT, which cannot be done from outside,
    so it is to try again. Does nothing for a thread that is gone.
    """
    with contextlib.suppress(OSError):
        if Path(f"/proc/{tid}/syscall").read_text().startswith(_NO_SYSTEM_CALL):
            syscall("tgkill", procfs.status(tid).tgid, tid, int(signal.SIGBUS))
