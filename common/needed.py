# SPDX-License-Identifier: MIT
"""Libraries that the suite needs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

LIST = "requirements/run.in"


def missing(root: Path) -> list[str]:
    """Libraries in requirements/run.in that this Python lacks; empty in an installed wheel, which has no such file."""
    try:
        lines = (root / LIST).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    from packaging.requirements import Requirement  # late: a guest has no list, and would wait for it

    needed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [one.name for one in needed if (not one.marker or one.marker.evaluate()) and not _there(one.name)]


def _there(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
