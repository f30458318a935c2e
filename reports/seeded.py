# SPDX-License-Identifier: MIT
"""Sensitivity of the suite: seeded faults of the driver that it noticed, as ``svmcts sensitivity --record`` kept them.

A fault has a row for each machine it was tried on. One that any of them shows is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from common.answers import NoAnswerError
from common.place import ROOT

RECORDED = ROOT / "sensitivity" / "results.tsv"
FOUND, MISSED = "found", "missed"


@dataclass(frozen=True, slots=True)
class Row:
    """A fault on a machine."""

    fault: str
    machine: str
    verdict: str
    """FOUND or MISSED."""
    by: str
    """The test that noticed; empty if the driver did not load."""
    after: int
    """Tests that ran, up to that one."""
    kernel: str
    suite: str
    """Commit of the suite."""


HEAD = "\t".join(field.name for field in fields(Row))


def read(path: Path | None = None) -> list[Row]:
    """The results in a file (default: RECORDED). Raises NoAnswerError with the line that is wrong."""
    path = path or RECORDED
    if not path.exists():
        return []
    head, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    if head != HEAD:
        raise NoAnswerError(f"{path.name}: its first line is not {HEAD!r}")
    rows = []
    for number, line in enumerate(lines, 2):
        words = line.split("\t")
        if len(words) != len(fields(Row)) or words[2] not in (FOUND, MISSED) or not words[4].isdecimal():
            raise NoAnswerError(f"{path.name}:{number}: not a result of a seeded fault")
        fault, machine, verdict, by, after, kernel, suite = words
        rows.append(Row(fault, machine, verdict, by, int(after), kernel, suite))
    return rows


def write(new: Iterable[Row], path: Path | None = None) -> None:
    """Add results; a fault's former result on the same machine is replaced."""
    path = path or RECORDED
    rows = {(row.fault, row.machine): row for row in [*read(path), *new]}
    lines = ["\t".join(map(str, astuple(row))) for _, row in sorted(rows.items())]
    path.write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")


def line(rows: Iterable[Row]) -> str | None:
    """``sensitivity: 240 of 250 seeded faults found, on ...``, or None if nothing is recorded."""
    verdicts: dict[str, bool] = {}
    kernels: set[str] = set()
    for row in rows:
        verdicts[row.fault] = verdicts.get(row.fault, False) or row.verdict == FOUND
        kernels.add(row.kernel)
    if not verdicts:
        return None
    return (
        f"sensitivity: {sum(verdicts.values())} of {len(verdicts)} seeded faults found, "
        f"recorded on {', '.join(sorted(kernels))}"
    )
