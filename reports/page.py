# SPDX-License-Identifier: MIT
"""index.html: the conformance matrix, behaviours by environments; one file, no network, no script needed.

Rows are behaviours by area, columns environments. Each cell leads to what the tests said there; panels open
and areas fold by HTML and CSS alone. The script adds the filter, the Escape key and copies replay commands.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import jinja2
from markupsafe import Markup

from reports.compare import Kind
from reports.ledger import Behaviour, Ledger
from reports.looks import LOOKS, NOTHING, look
from reports.merge import Report
from reports.stream import Run, environments_of, label
from reports.trend import HEIGHT, WIDTH, trend
from reports.unseen import headline
from reports.verdict import CONFORMANCE, DRIVER, UNLISTED, Cell, Matrix, Row, failures, is_regression

TEMPLATES = Path(__file__).resolve().parent / "templates"
MAX_TEXT = 20_000
"""Characters of one transcript or traceback that go into the page; results.jsonl has all of it."""
MAX_CHANGES = 100
"""Changes of a kind that are listed: more of them are one cause, not a list to read."""
MAX_TEXTS = 8_000_000
"""Characters of all of them together: a run in which everything fails must still open in a browser."""


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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "look": look,
        "clip": _Clip(),
        "seconds": _seconds,
        "identity": id,
        "took": _took,
        "time": _time,
        "gpu": _gpu,
        "label": label,
        "environments": environments_of,
        "regression": partial(is_regression, ledger=ledger),
    }
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    lines = _lines(matrix)
    anchors = {line.behaviour.id: line.anchor for area in lines for line in area}
    columns = {environment.name: column for column, environment in enumerate(matrix.environments)}
    return environment.get_template("page.html").render(
        report=report,
        matrix=matrix,
        areas=[
            {
                "name": name,
                "title": title,
                "lines": area,
                "open": any(line.acted for line in area),
                "scores": [matrix.score(column, name) for column in range(len(matrix.environments))],
            }
            for (name, title, _), area in zip(matrix.areas, lines, strict=True)
        ],
        scores=[matrix.score(column) for column in range(len(matrix.environments))],
        conformance=[
            matrix.score(column, promises=CONFORMANCE) for column in range(len(matrix.environments))
        ],
        driver=[matrix.score(column, promises=(DRIVER,)) for column in range(len(matrix.environments))],
        trends={name: trend(name, runs, ledger) for name, runs in report.history.items()},
        trend_size=(WIDTH, HEIGHT),
        part=headline(matrix),
        failures=failures(report.results),
        kinds_of_change=list(Kind),
        most_changes=MAX_CHANGES,
        anchors=anchors,
        columns=columns,
        homes=_homes(lines),
        looks=LOOKS,
        bar_looks=sorted(LOOKS.values(), key=lambda look: look.name != "PASS"),
        all_looks=[*LOOKS.values(), NOTHING],
        kinds={**ledger.vocabulary.kinds, **ledger.vocabulary.promises},
        style=Markup(style),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


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


def _homes(areas: list[list[_Line]]) -> dict[int, str]:
    """For each result (by identity) the row that shows its long texts; its other rows refer to that one."""
    homes: dict[int, str] = {}
    for lines in areas:
        for line in lines:
            for cell in line.cells:
                for result in cell.results:
                    homes.setdefault(id(result), line.anchor)
    return homes


class _Clip:
    """The text, or its start and end if it is too long for a page; nothing once the page is full."""

    def __init__(self) -> None:
        self._left = MAX_TEXTS

    def __call__(self, text: str) -> str:
        if self._left <= 0:
            return "[left out: the page is full, results.jsonl has it]"
        if len(text) > MAX_TEXT:
            half = MAX_TEXT // 2
            hidden = f"[... {len(text) - 2 * half} characters left out, results.jsonl has them ...]"
            text = f"{text[:half]}\n{hidden}\n{text[-half:]}"
        self._left -= len(text)
        return text


def _seconds(duration: float) -> str:
    return f"{duration * 1e3:.1f} ms" if duration < 1 else f"{duration:.1f} s"


def _took(run: Run) -> str:
    """How long the run took, as far as the stream tells."""
    try:
        seconds = (datetime.fromisoformat(run.end) - datetime.fromisoformat(run.start)).total_seconds()
    except (ValueError, TypeError):
        return ""
    return _seconds(seconds)


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
