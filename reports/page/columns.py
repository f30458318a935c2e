# SPDX-License-Identifier: MIT
"""The columns of the page: description of each environment, its numbers, and its group."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reports.event import Environment, Outcome
from reports.ledger import Ledger
from reports.looks import LOOKS
from reports.merge import Report
from reports.trend import Trend, trend
from reports.verdict import Matrix, Score, Standing

_RELEASE = re.compile(r"\d+\.\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Column:
    """One environment."""

    environment: Environment
    score: Score
    """The score over all behaviours."""
    standing: Standing
    trend: Trend | None

    @property
    def name(self) -> str:
        """The name in the stream and in the page's links."""
        return self.environment.name

    @property
    def bad(self) -> int:
        """Behaviours with a failure, an error or an unexpected pass."""
        return self.score.bad

    @property
    def state(self) -> str:
        """bad, part (something did not run) or good."""
        if self.bad or self.environment.missing:
            return "bad"
        return "part" if self.score.counts[Outcome.NOTRUN] else "good"

    @property
    def release(self) -> str:
        """The kernel's release, as it is tagged: 7.3.4; empty if it is not known."""
        fields = self.environment.fields
        for name in ("level",) if fields.get("backend") == "mock" else ("kernel", "level"):
            if found := _RELEASE.match(fields.get(name, "")):
                return found[0]
        return ""

    @property
    def groups(self) -> dict[str, str]:
        """Kernel series, platform and machine."""
        fields = self.environment.fields
        lab, colon, _ = self.name.partition(":")
        machine = lab if colon else fields.get("machine", "unknown")
        return {
            "kernel": ".".join(self.release.split(".")[:2]) or "unknown",
            "platform": fields.get("platform", "unknown"),
            "machine": "mock" if fields.get("backend") == "mock" else machine,
        }

    @property
    def bar(self) -> list[tuple[str, str, int]]:
        """(name, word, behaviours) of each outcome, passed ones first."""
        looks = sorted(LOOKS.values(), key=lambda look: look.name != "PASS")
        return [(look.name, look.word, number) for look in looks if (number := self.score.of(look.name))]


def columns(report: Report, matrix: Matrix, ledger: Ledger) -> list[Column]:
    """All of them, in the order of the matrix."""
    return [
        Column(
            environment,
            matrix.score(number),
            matrix.standing(number),
            trend(environment.name, report.history.get(environment.name, ()), ledger),
        )
        for number, environment in enumerate(matrix.environments)
    ]
