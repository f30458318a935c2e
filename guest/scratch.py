# SPDX-License-Identifier: MIT
"""Clean-up of the directory that a guest wrote to: root of the guest is not root of the host.

If root starts QEMU, files get the modes that the guest requests. QEMU cannot make device nodes or file capabilities
(guest/processes.py).
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
            # By descriptor: the name may be another file's now.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                os.fchmod(file, stat.S_IMODE(os.fstat(file).st_mode) & ~RIGHTS)
            finally:
                os.close(file)
