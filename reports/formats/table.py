# SPDX-License-Identifier: MIT
"""The matrix as CSV, for spreadsheets, and as JSON, for programs."""

from __future__ import annotations

import csv
import io
import json

from reports.verdict import Cell, Matrix

_FORMULA = ("=", "+", "-", "@")
"""First characters of cells that a spreadsheet would compute."""


def as_csv(matrix: Matrix) -> str:
    """A row for each behaviour, a column for each environment; RFC 4180 with its line ends."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(
        ["area", "behaviour", "title", "kind", "promise", *(_plain(e.name) for e in matrix.environments)]
    )
    for area, _, lines in matrix.areas:
        for row in lines:
            b = row.behaviour
            facts = [area, b.id, b.title, b.kind, b.promise]
            rows.writerow([*map(_plain, facts), *(_word(cell) for cell in row.cells)])
    return text.getvalue()


def as_json(matrix: Matrix) -> str:
    """Environments with their scores, and behaviours with the outcome in each of them; a behaviour a line."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    environments = []
    for column, environment in enumerate(matrix.environments):
        environments.append(
            {"name": environment.name, **environment.fields, **matrix.standing(column).numbers}
        )
    names = [environment.name for environment in matrix.environments]
    behaviours = [
        {
            "id": row.behaviour.id,
            "area": area,
            "title": row.behaviour.title,
            "kind": row.behaviour.kind,
            "promise": row.behaviour.promise,
            "outcomes": {name: _word(cell) or None for name, cell in zip(names, row.cells, strict=True)},
        }
        for area, _, lines in matrix.areas
        for row in lines
    ]
    return (
        '{"environments": [\n'
        + ",\n".join(map(encode, environments))
        + '\n], "behaviours": [\n'
        + ",\n".join(map(encode, behaviours))
        + "\n]}\n"
    )


def _word(cell: Cell) -> str:
    return cell.outcome.value if cell.outcome else ""


def _plain(text: str) -> str:
    """Text that no spreadsheet interprets as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
