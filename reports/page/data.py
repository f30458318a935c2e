# SPDX-License-Identifier: MIT
"""Data of the page's script: everything that a cell shows when it is opened, as compact JSON.

A cell is not stored: its tests are those of its behaviour, its outcome is in the table. Results are arrays by column,
texts numbers into a list of all texts; a replay command that is made of the column's and the test is left out.
templates/page/types.js names the fields.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.event import Outcome, Result
from reports.history import Past
from reports.ledger import Ledger
from reports.looks import LOOKS, NOTHING
from reports.merge import Report
from reports.page.columns import Column
from reports.page.texts import Clipped, Texts
from reports.sources import AS_OF, url
from reports.verdict import Cell, Matrix, Row, is_regression

LETTERS: dict[Outcome | None, str] = {None: "-", **dict(zip(Outcome, "FEXNUKPC", strict=True))}
"""A letter for each outcome; ``-`` if there is nothing to judge."""


def data(
    report: Report, matrix: Matrix, ledger: Ledger, anchors: Mapping[str, str], columns: Sequence[Column]
) -> tuple[dict[str, Any], list[str]]:
    """All but the long texts, and those."""
    texts, long = Texts(), Clipped()
    rows = [row for _, _, rows in matrix.areas for row in rows]
    releases = list(dict.fromkeys(column.release for column in columns if column.release))
    tests = _Tests({row.behaviour.id: number for number, row in enumerate(rows)})
    by_column: dict[str, list[Result]] = {column.name: [] for column in columns}
    # Ordered by test, so that what columns say of one is close together and packs well.
    for result in sorted(report.results, key=lambda result: result.test):
        by_column[result.env].append(result)
        for text in (result.longrepr, result.transcript, result.kernel_log):
            long(text)
    core = {
        "looks": [
            [LETTERS[one.outcome], one.name, one.sign, one.word, one.meaning]
            for one in (*LOOKS.values(), NOTHING)
        ],
        "areas": [[name, title, len(rows)] for name, title, rows in matrix.areas],
        "rows": [_row(row, anchors[row.behaviour.id], releases) for row in rows],
        "releases": releases,
        "columns": [
            {
                "name": column.name,
                **column.groups,
                "release": column.release,
                "bad": column.bad,
                "passed": column.standing.conformance.passed,
                "outcomes": "".join(LETTERS[row.cells[number].outcome] for row in rows),
                "why": _reasons((row.cells[number] for row in rows), texts),
                **_results(by_column[column.name], tests, report.pasts, texts, long, ledger),
            }
            for number, column in enumerate(columns)
        ],
        "changed": _changed(report),
        "tests": tests.all,
        "texts": texts.all,
    }
    return core, long.all


def _row(row: Row, anchor: str, releases: Sequence[str]) -> list[Any]:
    b = row.behaviour
    newest = releases[0] if releases else ""
    places = [[place.at, place.words or "", url(place.at, AS_OF)] for place in b.promised_by]
    facts = {
        "reason": b.reason,
        "since": f"Linux {b.since}" if b.since else None,
        "kernels": b.history,
        "needs": ", ".join(b.needs),
        "seen by": ", ".join(b.observable),
        "landed as": b.landed_as,
    }
    return [
        anchor,
        b.id,
        b.title,
        b.kind,
        b.promise,
        b.statement,
        places,
        [[source, url(source, newest)] for source in b.sources],
        {name: fact for name, fact in facts.items() if fact},
    ]


class _Tests:
    """Tests by number; one that proves other behaviours in another column is another."""

    def __init__(self, rows: Mapping[str, int]) -> None:
        self.all: list[list[Any]] = []
        self._rows = rows
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}

    def __call__(self, result: Result) -> int:
        key = (result.test, result.behaviours)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.all)
            self.all.append([result.test, [self._rows[identifier] for identifier in result.behaviours]])
        return number


def apart(result: Result) -> str:
    """Results of a test for behaviours that its outcome is not about; empty if there are none."""
    said = ", ".join(f"{identifier} {outcome.value}" for identifier, outcome in result.apart.items())
    return f"apart from it: {said}" if said else ""


def _reasons(cells: Iterable[Cell], texts: Texts) -> list[int]:
    return [texts(cell.why) for cell in cells]


def _results(
    results: Sequence[Result],
    tests: _Tests,
    pasts: Mapping[tuple[str, str], Past],
    texts: Texts,
    long: Clipped,
    ledger: Ledger,
) -> dict[str, Any]:
    """The results of a column, an array for each field; ``more`` of those that have more to say."""
    prefix = _prefix(results)
    more: dict[int, list[Any]] = {}
    past: dict[int, list[Any]] = {}
    for number, result in enumerate(results):
        standard = f"{prefix}{shlex.quote(result.test)}"
        own = "" if result.replay == standard else result.replay or "-"
        reason = f"{result.reason_code}: {result.reason}" if result.reason_code else result.reason
        said = "" if result.reason and result.reason in result.line else reason
        ways = "driver behaviour" if is_regression(result, ledger) else ""
        said = "; ".join(one for one in (ways, said, apart(result)) if one)
        parts = (result.line, said, result.known_as, own)
        longer = (result.longrepr, result.transcript, result.kernel_log)
        if any(parts) or any(longer):
            more[number] = [*map(texts, parts), *map(long, longer)]
        if told := pasts.get((result.env, result.test)):
            letters = "".join(LETTERS[outcome] for outcome in told.outcomes)
            if letters.strip(LETTERS[Outcome.PASS]):
                past[number] = [letters, texts(told.said), int(told.flaky)]
    return {
        "again": prefix,
        "runs": max(
            (len(told.runs) for key, told in pasts.items() if results and key[0] == results[0].env), default=0
        ),
        "test": [tests(result) for result in results],
        "outcome": "".join(LETTERS[result.outcome] for result in results),
        "took": [float(f"{result.duration * 1e3:.3g}") for result in results],
        "acts": [texts(", ".join(f"{kind} {count}" for kind, count in r.acts.items())) for r in results],
        "more": more,
        "past": past,
    }


def _prefix(results: Sequence[Result]) -> str:
    """Start of the replay commands of a column, before the test."""
    for result in results:
        quoted = shlex.quote(result.test)
        if result.replay.endswith(quoted):
            return result.replay.removesuffix(quoted)
    return ""


def _changed(report: Report) -> dict[str, str]:
    """The name of the change of each test and environment that differs from the baseline."""
    if report.comparison is None:
        return {}
    return {f"{c.result.env} {c.result.test}": c.kind.value for c in report.comparison.changes}
