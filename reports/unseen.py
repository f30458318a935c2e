# SPDX-License-Identifier: MIT
"""Behaviours that a run did not cover: they did not run, or could not be exercised, in each environment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from reports.event import Environment, Outcome
from reports.verdict import Matrix

_AREAS = 3
"""Areas that are named; more are a number."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Behaviours that one environment left out."""

    environment: Environment
    total: int
    """Behaviours that a program can see."""
    not_run: Counter[str]
    """Area to behaviours of which no test ran."""
    untested: tuple[str, ...]
    """Reasons why a test that ran could not exercise its behaviour, one line each."""

    @property
    def lines(self) -> list[str]:
        """One line for each kind of gap; none if everything was covered."""
        lines = []
        if number := self.not_run.total():
            named = [f"{area} {count}" for area, count in self.not_run.most_common(_AREAS)]
            more = len(self.not_run) - _AREAS
            areas = ", ".join([*named, *([f"{more} more areas"] if more > 0 else [])])
            lines.append(f"{number} of {self.total} behaviours did not run ({areas})")
        lines += [f"not exercised: {why}" for why in self.untested]
        lines += [f"reduced: {' '.join(text.split())}" for text in self.environment.reductions]
        return lines


def unseen(matrix: Matrix) -> list[Unseen]:
    """An entry for each environment that left something out."""
    found = [_of(matrix, column) for column in range(len(matrix.environments))]
    return [one for one in found if one.lines]


def headline(matrix: Matrix) -> str:
    """``577 of 616 behaviours did not run``, of the environment that left out most; empty if none did."""
    counts = [(one.not_run.total(), one.total) for one in unseen(matrix)]
    number, total = max(counts, default=(0, 0))
    if not number:
        return ""
    alike = len(matrix.environments) == len(counts) and len(set(counts)) == 1
    return f"{'' if alike else 'up to '}{number} of {total} behaviours did not run"


def _of(matrix: Matrix, column: int) -> Unseen:
    not_run: Counter[str] = Counter()
    why: Counter[str] = Counter()
    for area, _, rows in matrix.areas:
        for row in rows:
            cell = row.cells[column]
            not_run[area] += cell.outcome is Outcome.NOTRUN
            if cell.outcome is Outcome.UNTESTED and cell.results:
                first = next((r for r in cell.results if r.outcome is Outcome.UNTESTED), None)
                why[f"{first.reason_code}: {first.reason}" if first else cell.why] += 1
    return Unseen(
        environment=matrix.environments[column],
        total=matrix.score(column).total,
        not_run=+not_run,
        untested=tuple(f"{number} behaviour{'s' * (number != 1)}, {text}" for text, number in why.items()),
    )
