# SPDX-License-Identifier: MIT
"""The directory that a guest writes to, once the guest has gone: its root is not the host's.

QEMU, started by root, gives files the modes that the guest asks for. Device nodes and capabilities of files it cannot
make (guest/processes.py).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

RIGHTS = stat.S_ISUID | stat.S_ISGID


def drop_rights(directory: Path, since: float) -> None:
    """Clear set-user-ID and set-group-ID of the files that were changed after ``since`` (seconds since the epoch)."""
    for _, _, names, folder in os.fwalk(directory, follow_symlinks=False):
        for name in names:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or not status.st_mode & RIGHTS or status.st_ctime < since:
                continue
            # By descriptor: the name may be another file's by now.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                os.fchmod(file, stat.S_IMODE(os.fstat(file).st_mode) & ~RIGHTS)
            finally:
                os.close(file)
