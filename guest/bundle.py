# SPDX-License-Identifier: MIT
"""Folders of the project in one file, for the guest to unpack: over 9p each file takes milliseconds.

The bundle is a line of JSON, ``[[path, size, time], ...]`` with paths relative to the project and times in nanoseconds
since the epoch, and then the contents. The guest (guest/init.py) mounts each folder over the host's.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

from guest import compiled

FOLDERS = ("suites", "fixtures", "ioctl", "gpu", "common", "behaviours")
"""Folders without output of runs: the guest gets all that is in them."""
NAME = "project.bundle"


def write(target: Path, project: Path) -> None:
    """Bundle the folders, with the compiled forms that their modules have (compiled.refresh)."""
    entries, contents = [], []
    for path in files(project):
        content = path.read_bytes()
        entries.append([str(path.relative_to(project)), len(content), path.stat().st_mtime_ns])
        contents.append(content)
    target.write_bytes(b"".join([json.dumps(entries).encode(), b"\n", *contents]))


def files(project: Path) -> Iterator[Path]:
    """Regular files of the folders; of compiled forms, those of this Python and this pytest."""
    endings = tuple(f".{tag}.pyc" for tag in compiled.FORMS)
    for folder in FOLDERS:
        for path in sorted((project / folder).rglob("*")):
            wanted = (
                path.name.endswith(endings) if path.parent.name == "__pycache__" else path.suffix != ".pyc"
            )
            if wanted and stat.S_ISREG(path.lstat().st_mode):
                yield path
