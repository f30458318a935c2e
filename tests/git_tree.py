# SPDX-License-Identifier: MIT
"""A git repository for one test."""

from __future__ import annotations

import subprocess
from pathlib import Path


class GitTree:
    """An empty repository in a folder, which is created if missing; its branch is main."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        for setting in ("user.email=someone@example.org", "user.name=someone", "commit.gpgsign=false"):
            self.git("config", *setting.split("="))

    def git(self, *arguments: str) -> str:
        """Output of a git command, which must succeed."""
        command = ["git", "-C", str(self.path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def write(self, name: str, text: str) -> None:
        """A file, with its folders."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def commit(self, title: str) -> str:
        """Commit everything, even if nothing changed. Returns the new commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", title)
        return self.git("rev-parse", "HEAD").strip()
