# SPDX-License-Identifier: MIT
"""The kernel that broke a test, if a search of ``svmcts bisect`` has found it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.answers import NoAnswerError
from common.kernels import Version
from common.place import written
from reports.bisect.judge import Verdict
from reports.bisect.log import NAME, read
from reports.bisect.search import ContradictionError, span
from reports.bisect.versions import REPORT


@dataclass(frozen=True, slots=True)
class Change:
    """Result of a search for what broke a test."""

    good: str
    """The last good kernel."""
    bad: str
    """The first bad one."""
    between: tuple[str, ...] = ()
    """Kernels without a verdict."""


def introduced(test: str, searches: Path | None = None) -> Change | None:
    """Result of the newest finished search for what broke a test; None if there is none."""
    folder = searches or written() / "reports/out/bisect"
    logs = sorted(folder.glob(f"*/{NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((change for log in logs for change in _changes(log, test)), None)


def _changes(log: Path, test: str) -> Iterator[Change]:
    """The result of one search, if it was for this test, is over, and is not for a fix."""
    if not (log.parent / REPORT).exists():
        return
    try:
        search = read(log)
        if search.size < log.stat().st_size or search.question["test"] != test:
            return
        if Version.parse(search.question["good"]) > Version.parse(search.question["bad"]):
            return
        seen = {kernel: step.verdict for kernel, step in search.steps.items()}
        found = span(sorted(seen, key=Version.parse), seen, Verdict.WORKS)
    except (NoAnswerError, ValueError, KeyError, IndexError, ContradictionError, OSError):
        return  # a log of another version, or of a search of commits
    yield Change(found.last_old, found.first_new, found.between)
