# SPDX-License-Identifier: MIT
"""Any number of runs merged into one set of verdicts: the newest of each environment, and its history."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from reports.compare import Comparison, compare
from reports.event import EXPECTED, Environment, Outcome, Result
from reports.history import Key, Past, pasts
from reports.stream import Run
from reports.waivers import Waived, Waiver, apply


@dataclass(frozen=True)
class Report:
    """Input of reports."""

    runs: tuple[Run, ...]
    """Oldest first."""
    environments: Mapping[str, Environment]
    results: tuple[Result, ...]
    """Results of the newest run of each environment; waived ones are KNOWN."""
    run_of: Mapping[str, Run]
    """Environment to its newest run."""
    history: Mapping[str, tuple[Run, ...]]
    """Environment to the runs that have it, oldest first, its newest included."""
    waived: Waived
    baseline: Run | None = None
    comparison: Comparison | None = None

    @property
    def shown(self) -> tuple[Run, ...]:
        """The runs whose verdicts are shown."""
        newest = {run.path: run for run in self.run_of.values()}
        return tuple(newest.values()) or self.runs[-1:]

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems of the streams of the runs that are shown."""
        several = len(self.shown) > 1
        return tuple(
            f"{run.title}: {problem}" if several else str(problem)
            for run in self.shown
            for problem in run.problems
        )

    @property
    def lacking(self) -> tuple[str, ...]:
        """Expected capabilities that environments lack, and unexpected ones, one line each."""
        return tuple(
            f"{environment.name}: {line}"
            for environment in self.environments.values()
            for line in environment.missing.values()
        )

    @cached_property
    def listed(self) -> tuple[Result, ...]:
        """The results, and an ERROR for each capability that an environment is known to have and lacks, if no test
        shows that: for formats that have nothing but tests.
        """
        shown = {(result.env, result.lacking) for result in self.results}
        return (
            *self.results,
            *(
                Result(
                    environment.name,
                    f"environment::{name}",
                    Outcome.ERROR,
                    area="environment",
                    message=line,
                    reason_code=f"{EXPECTED}{name}",
                    at=environment.at,
                )
                for environment in self.environments.values()
                for name, line in environment.missing.items()
                if (environment.name, name) not in shown
            ),
        )

    @cached_property
    def pasts(self) -> Mapping[Key, Past]:
        """History of each test in environments that several runs have."""
        return pasts(self.history.items())


def merge(
    runs: Iterable[Run],
    baseline: Run | None = None,
    waivers: Sequence[Waiver] = (),
    today: datetime.date | None = None,
) -> Report:
    """Merge runs; an environment of several runs is that of the newest."""
    ordered = tuple(sorted(runs, key=lambda run: run.start))
    history: dict[str, tuple[Run, ...]] = {}
    for run in ordered:
        for name in run.environments:
            history[name] = (*history.get(name, ()), run)
    run_of = {name: having[-1] for name, having in history.items()}
    environments = {name: run.environments[name] for name, run in run_of.items()}
    results = [result for run in ordered for result in run.results if run_of[result.env] is run]
    waived = apply(waivers, results, environments, today or datetime.datetime.now(datetime.UTC).date())
    report = Report(ordered, environments, waived.results, run_of, history, waived, baseline)
    if baseline is None:
        return report
    older = [run for run in ordered if run not in report.shown]
    return replace(report, comparison=compare(baseline, report, older))


def named(run: Run, name: str) -> Run:
    """The run with ``name:`` before the names of its environments, for machines with equal names."""

    def full(env: str) -> str:
        return f"{name}:{env}"

    return replace(
        run,
        environments={full(e): replace(value, name=full(e)) for e, value in run.environments.items()},
        results=tuple(replace(result, env=full(result.env)) for result in run.results),
        expected=tuple(map(full, run.expected)),
    )


def split_name(text: str) -> tuple[str, Path]:
    """``lab-a=reports/out`` is a name and a path; a path that exists has none."""
    name, equals, rest = text.partition("=")
    if not equals or "/" in name or Path(text).exists():
        return "", Path(text)
    return name, Path(rest)
