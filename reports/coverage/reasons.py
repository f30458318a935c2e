# SPDX-License-Identifier: MIT
"""Reasons why no test executes code: ``reasons.yaml``, by function, and by line if only some lines are not executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from common.answers import NoAnswerError
from reports.coverage.measure import Covered, Function

FILE = Path(__file__).with_name("reasons.yaml")
KINDS: Mapping[str, str] = {
    "hardware": "needs a device or machine that the emulated one is not",
    "kernel": "needs a kernel that is built or configured in another way",
    "impossible": "no program gets there: the callers exclude it",
    "missing": "a test could get there, and none does",
}
"""Kinds of reason; what is only missing counts as reachable."""


@dataclass(frozen=True)
class Reason:
    """The reason why a function, or some lines of it, are not executed."""

    file: str
    function: str
    kind: str
    why: str
    lines: tuple[str, ...] = ()
    """Parts of the source lines that it is about, or of the two before; all of the function if there are none."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.why}"

    def about(self, context: str) -> bool:
        """Whether it is about a line of its function; ``context`` is the line and what it stands behind."""
        return not self.lines or any(part in context for part in self.lines)


_BEFORE = 2


@dataclass(frozen=True)
class Line:
    """A line that is not executed."""

    number: int
    text: str
    function: Function | None
    reason: Reason | None


@cache
def load(path: Path = FILE) -> tuple[Reason, ...]:
    """Raises NoAnswerError for an invalid reason."""
    return tuple(
        reason
        for number, entry in enumerate(yaml.safe_load(path.read_text()), 1)
        for reason in _reasons(path, number, entry)
    )


def _reasons(path: Path, number: int, entry: Any) -> Iterator[Reason]:
    """An entry, for each function that it is about."""
    where = f"{path}: entry {number}"
    if not isinstance(entry, dict) or not entry.keys() <= {"at", "kind", "why", "lines"}:
        raise NoAnswerError(f"{where}: it has at, kind, why and lines, and nothing else")
    if entry.get("kind") not in KINDS:
        raise NoAnswerError(f"{where}: kind is one of {', '.join(KINDS)}")
    if not entry.get("why"):
        raise NoAnswerError(f"{where}: why is missing")
    file, _, functions = str(entry.get("at", "")).partition(":")
    if not file or not functions.strip():
        raise NoAnswerError(f"{where}: at is FILE:FUNCTION, or FILE:FUNCTION FUNCTION...")
    for function in functions.split():
        yield Reason(file, function, entry["kind"], str(entry["why"]).strip(), tuple(entry.get("lines", ())))


def unexecuted(file: Covered, source: Sequence[str], reasons: Iterable[Reason]) -> list[Line]:
    """The lines of a file that are not executed, each with the reason if there is one.

    ``source`` are the lines of the file; without them only reasons for whole functions apply.
    """
    mine = [reason for reason in reasons if file.name.endswith(f"/{reason.file}")]
    found = []
    for number in sorted(number for number, count in file.lines.items() if not count):
        function = file.function_at(number)
        # An error's number stands before the jump that has the count, its condition before that.
        context = "\n".join(source[max(number - 1 - _BEFORE, 0) : number])
        text = source[number - 1].strip() if number <= len(source) else ""
        why = next(
            (r for r in mine if function and r.function == function.name and r.about(context)),
            None,
        )
        found.append(Line(number, text, function, why))
    return found


def outdated(file: Covered, lines: Iterable[Line], reasons: Iterable[Reason]) -> list[Reason]:
    """Reasons for a file that explain nothing: the code is executed now, or no longer exists."""
    used = {line.reason for line in lines}
    return [reason for reason in reasons if file.name.endswith(f"/{reason.file}") and reason not in used]
