# SPDX-License-Identifier: MIT
"""The version of svm-cts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from common.place import COMMIT, is_installed

VERSION = "0.2.0"
"""The release that CHANGELOG.md begins with."""
UNKNOWN = "unknown"


def commit(root: Path) -> tuple[str, str]:
    """``git describe`` of a checkout and its commit, as of the build if it is installed; UNKNOWN if git fails."""
    if is_installed(root):
        described, commit_ = (root / COMMIT).read_text(encoding="utf-8").split()
        return described, commit_

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, check=False, timeout=10
        )
        return done.stdout.strip() or UNKNOWN

    try:
        return git("describe", "--always", "--dirty"), git("rev-parse", "HEAD")
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN, UNKNOWN


def text(root: Path) -> str:
    """Output of ``svmcts --version``."""
    return f"svm-cts {VERSION} ({commit(root)[0]})"
