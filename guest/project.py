# SPDX-License-Identifier: MIT
"""The part of the project that every test worker imports, for the initramfs.

A waiting worker (guest/worker.py) imports it before its machine is saved, so that a copy need not: over 9p and under
software emulation that takes longer than everything else between a start and the first verdict. The suites are not
part of it: a worker collects them from the run's own files (guest/bundle.py). If files have changed since the template
was made, the worker forgets what it imported, and imports it from those files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.place import COMMIT, is_installed
from guest import compiled
from guest.cpio import Writer

PLACE = PurePosixPath("/svmcts/project")  # as in guest/init.py
PATTERNS = (
    "fixtures/**/*.py",
    "ioctl/**/*.py",
    "gpu/**/*.py",
    "reports/*.py",
    "common/*.py",
    "behaviours/*.yaml",
)
FILES = ("conftest.py", "pytest.ini")
PACKAGES = ("fixtures", "ioctl", "gpu", "reports", "common")  # what is imported of them
FOLDER = "suites"  # where pytest looks first; there is no test to find
REWRITTEN = ("conftest.py", "fixtures")  # compiled by pytest, with assertions rewritten


def sources(project: Path) -> Iterator[Path]:
    for name in FILES:
        yield project / name
    if is_installed(project):
        yield project / COMMIT
    for pattern in PATTERNS:
        yield from sorted(project.glob(pattern))


def digest(project: Path) -> str:
    """Identity of the packed files: their paths and contents."""
    total = hashlib.sha256(f"{project}\0".encode())
    for path in sources(project):
        content = path.read_bytes()
        total.update(f"{path.relative_to(project)}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def pack(writer: Writer, project: Path) -> None:
    """Add the files and the compiled forms of modules, below PLACE: at their own place they would hide the host's."""
    writer.directory(PLACE / FOLDER)
    for path in sources(project):
        writer.data(PLACE / path.relative_to(project), path.read_bytes())
        if path.suffix == ".py":
            tested = path.relative_to(project).parts[0] in REWRITTEN
            for name, content in compiled.forms(path, tested=tested):
                writer.data(PLACE / name.relative_to(project), content)
