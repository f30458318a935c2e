# SPDX-License-Identifier: MIT
"""The lists of tests that must not pass under a defect, a file in claims/ for each, to be reviewed.

A line is a test: file::function for all its cases, or file::function[case]. A line ``except TEST: why`` is a
test that a rule requires in the list, and the reason why it may pass or cannot be run; ``*`` in it is any text.
``#`` begins a comment.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tests.controls.inventory import Test

DIRECTORY = Path(__file__).resolve().parent / "claims"
_EXCEPT = "except "


@dataclasses.dataclass(frozen=True)
class Claims:
    """One list. Names are of functions or cases."""

    tests: tuple[str, ...] = ()
    exceptions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Name to reason; reasons in brackets were found by recording."""

    def by_hand(self) -> Claims:
        """Only the exceptions that a person made."""
        return Claims(exceptions={n: why for n, why in self.exceptions.items() if not why.startswith("[")})

    def covers(self, test: Test) -> bool:
        """Whether the test must not pass."""
        return test.id in self.tests or (test.function in self.tests and self.reason(test) is None)

    def reason(self, test: Test) -> str | None:
        """Reason of the exception, if it is one."""
        why = self.exceptions.get(test.id, self.exceptions.get(test.function))
        if why is not None:
            return why
        return next((why for name, why in self.exceptions.items() if "*" in name and fits(name, test)), None)

    def unknown(self, tests: Collection[Test]) -> list[str]:
        """Names that no test has."""
        known = {name for test in tests for name in (test.id, test.function)}
        missing = [name for name in (*self.tests, *self.exceptions) if name not in known]
        return [name for name in missing if not ("*" in name and any(fits(name, test) for test in tests))]


def fits(pattern: str, test: Test) -> bool:
    """Whether a name matches a test; only ``*`` is special, as node ids have brackets."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), test.id) is not None


def path_of(defect: str) -> Path:
    """Path of a defect's list."""
    return DIRECTORY / f"{defect}.txt"


def read(defect: str) -> Claims:
    """The list of a defect, empty if it has none yet. Raises ValueError for an exception without a reason."""
    path = path_of(defect)
    return parse(path.read_text(encoding="utf-8"), path.name) if path.exists() else Claims()


def parse(text: str, where: str) -> Claims:
    """A list from its text; ``where`` is for the message of the ValueError."""
    tests: list[str] = []
    exceptions: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith(_EXCEPT):
            name, colon, reason = line.removeprefix(_EXCEPT).partition(": ")
            if not colon or not reason.strip():
                raise ValueError(f"{where}: no reason for an exception: {line}")
            exceptions[name] = reason.strip()
        elif line and not line.startswith("#"):
            tests.append(line)
    return Claims(tuple(tests), exceptions)


def collapse(ids: Collection[str], tests: Iterable[Test]) -> list[str]:
    """Names for a set of cases, in the order of the tests: a function if all of its cases are in the set."""
    functions: dict[str, list[str]] = {}
    for test in tests:
        functions.setdefault(test.function, []).append(test.id)
    names: list[str] = []
    for function, cases in functions.items():
        chosen = [case for case in cases if case in ids]
        names += [function] if len(chosen) == len(cases) else chosen
    return names


def write(defect: str, head: str, claims: Claims) -> Path:
    """Write a list, with a comment at its top. Returns its path."""
    blocks = ["".join(f"# {line}\n" for line in head.splitlines())]
    if claims.tests:
        blocks.append("".join(f"{name}\n" for name in claims.tests))
    if claims.exceptions:
        blocks.append("".join(f"{_EXCEPT}{name}: {why}\n" for name, why in claims.exceptions.items()))
    path = path_of(defect)
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path
