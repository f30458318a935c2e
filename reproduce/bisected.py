# SPDX-License-Identifier: MIT
"""The kernel that broke a test, if a search of ``svmcts bisect`` has found it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.kernels import Version
from common.place import written
from reports.bisect.judge import Verdict
from reports.bisect.log import NAME
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
    question: dict[str, str] = {}
    seen: dict[str, Verdict] = {}
    try:
        for line in log.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["event"] == "question":
                question = event
            elif event["event"] == "step":
                seen[event["kernel"]] = Verdict(event["verdict"])
        if question["test"] != test or Version.parse(question["good"]) > Version.parse(question["bad"]):
            return
        found = span(sorted(seen, key=Version.parse), seen, Verdict.WORKS)
    except (ValueError, KeyError, IndexError, ContradictionError, OSError):
        return  # a log that another version wrote, or that is being written
    yield Change(found.last_old, found.first_new, found.between)
