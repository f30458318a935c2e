# SPDX-License-Identifier: MIT
"""History of each test over runs: its outcomes, how often it failed, and since when."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reports.compare import is_flaky
from reports.event import Outcome, Result
from reports.stream import Run

Key = tuple[str, str]
"""An environment and a test."""


@dataclass(frozen=True, slots=True)
class Past:
    """One test in one environment, over the runs that have it."""

    runs: tuple[Run, ...]
    """Oldest first."""
    outcomes: tuple[Outcome, ...]
    """One for each of the runs."""

    @property
    def flaky(self) -> bool:
        """Whether it alternates between pass and fail."""
        return is_flaky(self.outcomes)

    @property
    def since(self) -> Run | None:
        """The first of the newest runs that all failed; None if the newest did not fail."""
        failed = itertools.takewhile(
            lambda pair: pair[1].bad, zip(self.runs[::-1], self.outcomes[::-1], strict=True)
        )
        return next((run for run, _ in list(failed)[::-1]), None)

    @property
    def said(self) -> str:
        """``failed 2 of 5, fails since nightly (2026-11-21 05:40)``; empty for a test that never failed."""
        number, failed = len(self.outcomes), sum(outcome.bad for outcome in self.outcomes)
        if not failed:
            return ""
        since = self.since
        if since is self.runs[0]:
            return f"failed in each of {number} runs"
        words = [f"failed {failed} of {number}", *(["alternating"] if self.flaky else [])]
        return ", ".join([*words, *([f"fails since {since.title}"] if since is not None else [])])


def pasts(history: Iterable[tuple[str, Sequence[Run]]]) -> dict[Key, Past]:
    """The past of each test in each environment that several runs have; ``history`` is oldest first."""
    found: dict[Key, dict[int, tuple[Run, Outcome]]] = {}
    for env, runs in history:
        if len(runs) < 2:
            continue
        for number, run in enumerate(runs):
            for result in _of(run, env):
                told = found.setdefault((env, result.test), {})
                before = told.get(number)
                if before is None or result.outcome.rank < before[1].rank:
                    told[number] = (run, result.outcome)
    return {
        key: Past(tuple(run for run, _ in told.values()), tuple(outcome for _, outcome in told.values()))
        for key, told in found.items()
        if len(told) > 1
    }


def _of(run: Run, env: str) -> Iterator[Result]:
    return (result for result in run.results if result.env == env)
