# SPDX-License-Identifier: MIT
"""From results to verdicts: one cell for each behaviour and environment, and what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from common.kernels import Version
from reports.event import Environment, Outcome, Result, worst
from reports.ledger import Behaviour, Ledger
from reports.stream import Judged

UNLISTED = "not in the ledger"
CONFORMANCE = ("promised", "agreed")
"""Promises that a driver has to keep; the rest of the vocabulary's is driver behaviour."""
DRIVER = "driver"


@dataclass(frozen=True, slots=True)
class Cell:
    """Verdict of one environment on one behaviour."""

    outcome: Outcome | None
    """None if there is nothing to judge: no program can see the behaviour."""
    why: str
    """Reason why no test has a verdict; empty if one does."""
    results: tuple[Result, ...] = ()

    @property
    def summary(self) -> str:
        """The reason, or the number of results."""
        number = len(self.results)
        return self.why or f"{number} result{'s' * (number != 1)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One behaviour over all environments, in the order of ``Matrix.environments``."""

    behaviour: Behaviour
    cells: tuple[Cell, ...]

    @property
    def outcomes(self) -> frozenset[Outcome]:
        return frozenset(cell.outcome for cell in self.cells if cell.outcome)


@dataclass(frozen=True, slots=True)
class Score:
    """Behaviours of one environment: never passed of run, always passed of claimed of all."""

    counts: Counter[Outcome]

    @property
    def passed(self) -> int:
        """Behaviours that passed."""
        return self.counts[Outcome.PASS]

    @property
    def claimed(self) -> int:
        """Behaviours that the environment claims."""
        return self.total - self.counts[Outcome.NOT_CLAIMED]

    @property
    def total(self) -> int:
        """Behaviours that can be judged."""
        return self.counts.total()

    def of(self, name: str) -> int:
        """Number of behaviours with the outcome of this name."""
        return self.counts[Outcome(name)]

    @property
    def bad(self) -> int:
        """Behaviours with a failure, an error or an unexpected pass."""
        return sum(number for outcome, number in self.counts.items() if outcome.bad)

    @property
    def numbers(self) -> dict[str, int]:
        """For programs."""
        return {"passed": self.passed, "claimed": self.claimed, "all": self.total}

    def __str__(self) -> str:
        return f"{self.passed} / {self.claimed} / {self.total}"


@dataclass(frozen=True, slots=True)
class Standing:
    """The two scores of an environment, which are never added up."""

    conformance: Score
    """The score of promised and agreed behaviours."""
    driver: Score
    """The score of driver behaviour."""

    @property
    def numbers(self) -> dict[str, dict[str, int]]:
        """For programs."""
        return {"conformance": self.conformance.numbers, DRIVER: self.driver.numbers}


@dataclass(frozen=True, slots=True)
class Matrix:
    """Behaviours by environments."""

    environments: tuple[Environment, ...]
    areas: tuple[tuple[str, str, tuple[Row, ...]], ...]
    """(area, its title, its rows); the last one may be of ids that the ledger does not have."""
    loose: tuple[Result, ...]
    """Results of tests that name no behaviour."""
    ledger: Ledger

    def score(
        self, column: int, area: str | None = None, promises: Collection[str] = (*CONFORMANCE, DRIVER)
    ) -> Score:
        """The score of an environment, in one area or all; of what is promised so."""
        outcomes = (
            row.cells[column].outcome
            for name, _, rows in self.areas
            if area in (None, name)
            for row in rows
            if row.behaviour.promise in promises
        )
        return Score(Counter(outcome for outcome in outcomes if outcome))

    def standing(self, column: int) -> Standing:
        """The scores of an environment by who promises what they count."""
        return Standing(self.score(column, promises=CONFORMANCE), self.score(column, promises=(DRIVER,)))

    @property
    def standings(self) -> dict[str, Standing]:
        """The standing of each environment, by its name."""
        return {environment.name: self.standing(n) for n, environment in enumerate(self.environments)}


def nobody_promises(result: Result, ledger: Ledger) -> bool:
    """Whether the outcome of a test is only about driver behaviour, which no document or posting promises.

    Then its failure is a regression of the driver, and does not affect its conformance.
    """
    return bool(result.about) and all(
        identifier in ledger and ledger[identifier].promise == DRIVER for identifier in result.about
    )


def is_regression(result: Result, ledger: Ledger) -> bool:
    """Whether a test failed, and only in driver behaviour: the driver changed, but may still conform.

    A broken or vacuous test says nothing about the driver.
    """
    failed = result.outcome in (Outcome.FAIL, Outcome.XPASS)
    return failed and not result.vacuous and nobody_promises(result, ledger)


def matrix(run: Judged, ledger: Ledger) -> Matrix:
    """Every behaviour of the ledger, and every id the results name beyond it, against every environment."""
    by_cell: dict[tuple[str, str], list[Result]] = {}
    for result in run.results:
        for identifier in result.behaviours:
            by_cell.setdefault((identifier, result.env), []).append(result)
    environments = tuple(run.environments.values())
    tested = {identifier for identifier, _ in by_cell}

    def row(behaviour: Behaviour) -> Row:
        return Row(
            behaviour,
            tuple(
                _cell(
                    behaviour, environment, by_cell.get((behaviour.id, environment.name), []), ledger, tested
                )
                for environment in environments
            ),
        )

    areas: dict[str, list[Row]] = {area: [] for area in ledger.vocabulary.areas}
    for behaviour in ledger.values():
        areas[behaviour.area].append(row(behaviour))
    titled = [(area, ledger.vocabulary.areas[area], tuple(rows)) for area, rows in areas.items() if rows]
    if unlisted := [row(_unlisted(identifier)) for identifier in sorted(tested - ledger.keys())]:
        titled.append((UNLISTED, "ids that tests name and behaviours/ does not have", tuple(unlisted)))
    return Matrix(environments, tuple(titled), tuple(r for r in run.results if not r.behaviours), ledger)


def _cell(
    behaviour: Behaviour, environment: Environment, results: list[Result], ledger: Ledger, tested: set[str]
) -> Cell:
    if results:
        # Behaviours that random steps did not exercise do not spoil the verdict of another test.
        met = [result for result in results if result.apart.get(behaviour.id) is not Outcome.UNTESTED]
        outcome = worst(result.outcome_of(behaviour.id) for result in met or results)
        return Cell(outcome, "" if met else "no step of this kind was drawn", tuple(results))
    if behaviour.kind == "model-only":
        return Cell(None, f"no program can see it: {behaviour.reason}")
    for need in behaviour.needs:
        if environment.lacks(need) and need not in environment.missing:
            absent = environment.absent.get(need, "which the environment has not")
            return Cell(Outcome.NOT_CLAIMED, f"needs {need}: {absent}")
    if _newer(behaviour.since, environment.fields.get("level", "")):
        return Cell(Outcome.NOT_CLAIMED, f"since Linux {behaviour.since}")
    if behaviour.id not in tested and (why := ledger.why_untested(behaviour.id)):
        return Cell(Outcome.UNTESTED, why)
    return Cell(Outcome.NOTRUN, "its tests were not part of this run, or the run stopped before them")


def _newer(since: str, level: str) -> bool:
    """Whether a behaviour is newer than the kernel of an environment; False if one is not known."""
    try:
        first, has = Version.parse(since), Version.parse(level)
    except ValueError:
        return False
    return first[: len(has)] > has


def _unlisted(identifier: str) -> Behaviour:
    return Behaviour(
        id=identifier,
        title="",
        area=UNLISTED,
        kind="must",
        statement="A test names this id, and behaviours/ has no such entry.",
        sources=(),
        since="",
        history=None,
        observable=(),
        needs=(),
        reason=None,
        landed_as=None,
    )


def tally(results: Iterable[Result]) -> dict[tuple[str, str], Counter[Outcome]]:
    """Tests by outcome for each (area, environment)."""
    counts: dict[tuple[str, str], Counter[Outcome]] = {}
    for result in results:
        counts.setdefault((result.area, result.env), Counter())[result.outcome] += 1
    return counts


def failures(results: Iterable[Result]) -> list[list[Result]]:
    """Results that need attention, worst first; a function that failed alike everywhere is one entry."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.outcome.bad:
            groups.setdefault((result.function, result.signature), []).append(result)
    return sorted(groups.values(), key=lambda group: group[0].outcome.rank)
