# SPDX-License-Identifier: MIT
"""The commit that a kernel was built from: by its user, or by its release and a git tree."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from reports.event import Environment

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_IN_RELEASE = re.compile(r"-g([0-9a-f]{7,40})(?![0-9a-f])(-d[0-9a-f]+)?")
"""As CONFIG_LOCALVERSION_AUTO and ``svmcts kernel build`` write it; the latter adds -d for changes."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that is the same for all, or a git tree that knows that of each kernel."""

    hash: str = ""
    tree: Path | None = None

    def of(self, environment: Environment) -> str:
        """Its hash; empty if it is not known, as of a kernel that the tree does not have."""
        if self.tree is None:
            return self.hash
        if environment.fields.get("backend") == "mock":
            return ""
        found = _IN_RELEASE.search(environment.fields.get("kernel", ""))
        if found is None:
            return _resolved(self.tree, "HEAD")
        return "" if found[2] else _resolved(self.tree, found[1])


NOT_KNOWN = Commit()


def commit(said: str) -> Commit:
    """From the user's option: a hash, or the path of a git tree; raises ValueError with what to write instead."""
    if not said or _HASH.fullmatch(said):
        return Commit(said)
    if not _resolved(Path(said), "HEAD"):
        raise ValueError(
            f"commit {said!r} has to be a full hash, of 40 or 64 hexadecimal digits, or a git tree of the kernel"
        )
    return Commit(tree=Path(said))


def _resolved(tree: Path, revision: str) -> str:
    command = ["git", "-C", str(tree), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
