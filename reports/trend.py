# SPDX-License-Identifier: MIT
"""The trend of an environment over runs: the geometry of a small picture, which the page draws as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.event import Outcome
from reports.ledger import Ledger
from reports.stream import Run
from reports.verdict import Score, matrix

RUNS = 40
"""Runs that are drawn, the newest ones."""
WIDTH, HEIGHT = 300, 60
"""Size of the picture, in its own units."""
LEAST = 2.5
"""Height of the smallest part: one failure among hundreds is what people look for."""


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a bar."""

    name: str
    """passed, known, failed or claimed (the outline of all)."""
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One run."""

    x: float
    width: float
    parts: tuple[Part, ...]
    title: str
    failed: int


@dataclass(frozen=True, slots=True)
class Trend:
    """All of it."""

    bars: tuple[Bar, ...]
    first: str
    last: str


def trend(env: str, runs: Sequence[Run], ledger: Ledger) -> Trend | None:
    """The trend of an environment over the runs that have it; None for a single run."""
    runs = runs[-RUNS:]
    if len(runs) < 2:
        return None
    scores = [_score(env, run, ledger) for run in runs]
    most = max(score.claimed for score in scores) or 1
    step = WIDTH / len(runs)
    width = min(step * 0.8, 28.0)
    bars = [
        _bar(number * step, width, run, score, most)
        for number, (run, score) in enumerate(zip(runs, scores, strict=True))
    ]
    return Trend(tuple(bars), _day(runs[0]), _day(runs[-1]))


def _score(env: str, run: Run, ledger: Ledger) -> Score:
    verdicts = matrix(run, ledger)
    column = next(n for n, environment in enumerate(verdicts.environments) if environment.name == env)
    return verdicts.score(column)


def _bar(x: float, width: float, run: Run, score: Score, most: int) -> Bar:
    known = score.counts[Outcome.KNOWN]
    failed = score.bad
    parts = [Part("claimed", HEIGHT * (1 - score.claimed / most), HEIGHT * score.claimed / most)]
    top = float(HEIGHT)
    for name, number in (("passed", score.passed), ("known", known), ("failed", failed)):
        if number:
            height = max(LEAST, HEIGHT * number / most)
            top = max(0.0, top - height)
            parts.append(Part(name, top, height))
    said = f"{score.passed} passed, {failed} failed, {known} known of {score.claimed} claimed"
    return Bar(x, width, tuple(parts), f"{run.title}: {said}", failed)


def _day(run: Run) -> str:
    return run.start[:10] or "unknown"
