# SPDX-License-Identifier: MIT
"""Signals to one thread of another process."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from mock.linux import procfs
from mock.linux.syscall import syscall

_NO_SYSTEM_CALL = "-1 "
"""Start of /proc/TID/syscall for a thread that waits for a page which the program itself accessed."""


def bus_error(tid: int) -> None:
    """Send SIGBUS to a thread that waits for a page.

    Not if a system call accessed the page: the kernel would fail it with EFAULT, which is impossible from outside, so
    the call has to try again. Does nothing for a thread that is gone.
    """
    with contextlib.suppress(OSError):
        if Path(f"/proc/{tid}/syscall").read_text().startswith(_NO_SYSTEM_CALL):
            syscall("tgkill", procfs.status(tid).tgid, tid, int(signal.SIGBUS))
