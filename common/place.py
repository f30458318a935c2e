# SPDX-License-Identifier: MIT
"""The location of the suite and of its output: in a checkout, or below the directory in which an installed suite is
called.

An installed suite is from a wheel (installed/build.py): the same folders, in one folder of site-packages, with a file
that has the commit.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder of the installed suite."""
COMMIT = "COMMIT"
"""The file of an installed suite: what ``git describe`` said when the wheel was built, and the commit."""
VARIABLE = "SVMCTS_DIR"
"""The environment variable with the folder that an installed suite writes to."""


def is_installed(root: Path = ROOT) -> bool:
    """Whether this comes from a wheel."""
    return (root / COMMIT).exists()


def written(root: Path = ROOT) -> Path:
    """The folder below which ``reports/out`` is: the checkout, or of an installed suite ``$SVMCTS_DIR``, which
    ``svmcts`` sets to the directory that it is called in.
    """
    return Path(os.environ.get(VARIABLE) or Path.cwd()) if is_installed(root) else root


def pytest_command(root: Path = ROOT) -> list[str]:
    """The command with which a user calls pytest."""
    return ["svmcts", "run"] if is_installed(root) else ["pytest"]


def resume_command(folder: object) -> str:
    """The command that continues the run in a folder."""
    return shlex.join([*pytest_command(), f"--resume={folder}"])


def cache() -> Path:
    """Folder for compiled Python of an installed suite: $XDG_CACHE_HOME/svm-cts/bytecode."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "svm-cts" / "bytecode"
