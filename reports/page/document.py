# SPDX-License-Identifier: MIT
"""The document: a table that needs no script, and what the script reads.

Rows are behaviours by area, columns environments. What changed and what fails comes first. A cell opens what its tests
said, from packed data; without script a panel for each behaviour has what is not a pass.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import jinja2
from markupsafe import Markup

from reports import seeded
from reports.compare import Kind
from reports.event import Outcome, Result
from reports.ledger import Behaviour, Ledger
from reports.looks import LOOKS, NOTHING, look
from reports.merge import Report
from reports.page.columns import columns
from reports.page.data import apart, data
from reports.page.texts import clip, packed
from reports.said import said_once
from reports.stream import Run, label
from reports.trend import HEIGHT, WIDTH
from reports.unseen import headline
from reports.verdict import UNLISTED, Cell, Matrix, Row, failures, is_regression

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "page"
STYLES = ("base", "summary", "matrix", "panel", "print")
SCRIPTS = ("types", "inflate", "data", "query", "state", "columns", "rows", "panel", "main")
"""Scripts in the order in which they use each other."""
MAX_CHANGES = 100
"""Changes of a kind that are listed: more of them are one cause, not a list to read."""
MAX_FAILURES = 6
"""Failures that are shown at once: the matrix has to be near; the rest is folded."""
FEW = 10
"""Columns that have space for words, if no script measures the window."""
MAX_PLAIN = 300_000
"""Characters of long texts for readers without script."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One row as the template needs it: with the anchor that leads to it."""

    anchor: str
    """The id of the behaviour, so that a link into the report says what it is about."""
    behaviour: Behaviour
    cells: tuple[Cell, ...]
    bad: bool
    acted: bool
    """Whether any test said anything."""
    why: str
    """The common reason of all cells without a test; empty if they differ."""


def page(report: Report, matrix: Matrix, ledger: Ledger) -> str:
    """The whole document."""
    lines = _lines(matrix)
    anchors = {line.behaviour.id: line.anchor for area in lines for line in area}
    every = columns(report, matrix, ledger)
    core, long = data(report, matrix, ledger, anchors, every)
    style = "".join(_read(f"{name}.css") for name in STYLES)
    script = "".join(['"use strict";\n(() => {\n', *(_read(f"{name}.js") for name in SCRIPTS), "})();\n"])
    names = [column.name for column in every]
    return (
        _environment(ledger)
        .get_template("page.html")
        .render(
            report=report,
            matrix=matrix,
            columns=every,
            few=len(every) <= FEW,
            areas=[
                {
                    "name": name,
                    "title": title,
                    "lines": area,
                    "open": any(line.acted for line in area),
                    "scores": [matrix.score(column, name) for column in range(len(every))],
                }
                for (name, title, _), area in zip(matrix.areas, lines, strict=True)
            ],
            trend_size=(WIDTH, HEIGHT),
            part=headline(matrix),
            sensitivity=seeded.line(seeded.read()),
            failures=_widest_first(failures(report.results)),
            most_failures=MAX_FAILURES,
            kinds_of_change=list(Kind),
            most_changes=MAX_CHANGES,
            anchors=anchors,
            lacking=said_once({column.name: (*column.environment.missing.values(),) for column in every}),
            unexpected=said_once(
                {column.name: (*column.environment.unexpected.values(),) for column in every}
            ),
            reductions=said_once({column.name: column.environment.reductions for column in every}),
            looks=LOOKS,
            all_looks=[*LOOKS.values(), NOTHING],
            kinds={**ledger.vocabulary.kinds, **ledger.vocabulary.promises},
            names=names,
            linked=_linked(report),
            plain=_Plain(),
            core=packed(core),
            long=packed(long),
            style=Markup(style),
            script=Markup(script),
            script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _environment(ledger: Ledger) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "look": look,
        "took": _took,
        "time": _time,
        "gpu": _gpu,
        "label": label,
        "environments": _environments_of,
        "told": _told,
        "apart": apart,
        "regression": partial(is_regression, ledger=ledger),
    }
    return environment


def _lines(matrix: Matrix) -> list[list[_Line]]:
    numbers = itertools.count()
    return [
        # An id that the ledger does not have may be any text.
        [_line(f"unlisted-{next(numbers)}" if name == UNLISTED else row.behaviour.id, row) for row in rows]
        for name, _, rows in matrix.areas
    ]


def _line(anchor: str, row: Row) -> _Line:
    reasons = {cell.why for cell in row.cells}
    return _Line(
        anchor=anchor,
        behaviour=row.behaviour,
        cells=row.cells,
        bad=any(outcome.bad for outcome in row.outcomes),
        acted=any(cell.results for cell in row.cells),
        why=reasons.pop() if len(reasons) == 1 else "",
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Columns whose cells of a row say the same."""

    outcome: Outcome | None
    names: tuple[str, ...]
    where: str
    why: str
    results: tuple[Result, ...]
    """Failures, expected ones included, worst first."""


class _Plain:
    """A row for readers without script: equal columns are one; long texts if there is space."""

    def __init__(self) -> None:
        self._left = MAX_PLAIN
        self._shown: set[str] = set()

    def groups(self, line: _Line, names: Sequence[str]) -> list[_Group]:
        """The cells of a row."""
        found: dict[tuple[Outcome | None, str, object], list[tuple[str, Cell]]] = {}
        for name, cell in zip(names, line.cells, strict=True):
            failing = tuple((r.test, r.signature) for r in _failing(cell))
            found.setdefault((cell.outcome, _why(cell), failing), []).append((name, cell))
        ordered = sorted(found.items(), key=lambda item: len(item[1]))
        return [
            _Group(
                outcome,
                tuple(name for name, _ in having),
                _where([name for name, _ in having], len(names), number == len(ordered)),
                why,
                _failing(having[0][1]),
            )
            for number, ((outcome, why, _), having) in enumerate(ordered, 1)
        ]

    def text(self, text: str) -> str:
        """A long text, or nothing if it was shown before or the page has reached its limit."""
        if self._left <= 0 or not text or text in self._shown:
            return ""
        self._shown.add(text)
        short = clip(text)
        self._left -= len(short)
        return short


def _failing(cell: Cell) -> tuple[Result, ...]:
    failing = (result for result in cell.results if result.outcome.bad or result.outcome is Outcome.KNOWN)
    return tuple(sorted(failing, key=lambda result: result.outcome.rank))


def _why(cell: Cell) -> str:
    """Reason why no test has a verdict, or the reason of the worst one."""
    if cell.why or cell.outcome in (None, Outcome.PASS):
        return cell.why
    return next((r.reason for r in cell.results if r.outcome is cell.outcome and r not in _failing(cell)), "")


def _where(names: Sequence[str], all_columns: int, last: bool) -> str:
    if len(names) == all_columns > 1:
        return "everywhere"
    return f"all {len(names)} others" if last and len(names) > 2 else ", ".join(names)


def _linked(report: Report) -> frozenset[tuple[str, str]]:
    """(behaviour, environment) of the cells that lists of changes and failures lead to."""
    changes = report.comparison.changes if report.comparison else ()
    results = [*(change.result for change in changes), *(r for r in report.results if r.outcome.bad)]
    return frozenset((identifier, result.env) for result in results for identifier in result.behaviours)


def _widest_first(groups: list[list[Result]]) -> list[list[Result]]:
    """Worst ones first, and of those what fails in most environments."""
    return sorted(groups, key=lambda group: (group[0].outcome.rank, -len({result.env for result in group})))


def _environments_of(results: Iterable[Result], most: int = 3) -> str:
    """Sources of the results; if there are many, their number and the first ones."""
    names = list(dict.fromkeys(result.env for result in results))
    if len(names) <= most:
        return ", ".join(names)
    return f"{len(names)} environments: {', '.join(names[:most])}, ..."


def _told(result: Result, report: Report) -> str:
    """Outcomes of a test in earlier runs."""
    past = report.pasts.get((result.env, result.test))
    return past.said if past else ""


def _took(run: Run) -> str:
    """Duration of the run, if the stream has it."""
    try:
        seconds = (datetime.fromisoformat(run.end) - datetime.fromisoformat(run.start)).total_seconds()
    except (ValueError, TypeError):
        return ""
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _time(text: str) -> str:
    """A time as people read it, what is not a time stays as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return text


def _gpu(device: Mapping[str, str | int]) -> str:
    """A device in a few words."""
    vram = str(device.get("vram", ""))
    memory = (
        f"{int(vram) >> 20} MiB of VRAM"
        if vram.isdecimal() and int(vram)
        else "no VRAM"
        if vram == "0"
        else vram
    )
    words = (device.get("pci_id"), memory, device.get("path"))
    return ", ".join(str(word) for word in words if word) or "unknown"
