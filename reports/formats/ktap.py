# SPDX-License-Identifier: MIT
"""KTAP (Documentation/dev-tools/ktap.rst): environments, in them areas, in them tests; ``kunit.py parse`` reads it."""

from __future__ import annotations

from collections.abc import Sequence

from reports.event import Outcome, Result
from reports.ledger import Ledger
from reports.merge import Report
from reports.verdict import DRIVER, is_regression

VERSION = "KTAP version 1"
_FAILED = frozenset({Outcome.FAIL, Outcome.ERROR, Outcome.XPASS, Outcome.NOTRUN})
_SKIPPED = frozenset({Outcome.NOT_CLAIMED, Outcome.UNTESTED})
_DID_NOT_RUN = frozenset({Outcome.NOT_CLAIMED, Outcome.NOTRUN})
_WORDS = {Outcome.ERROR: "ERROR", Outcome.NOTRUN: "ERROR", Outcome.KNOWN: "XFAIL"}

_Block = tuple[str, list[str], Sequence[Result]]
"""Name, lines, and the results in it."""


def ktap(report: Report, ledger: Ledger) -> str:
    """The whole document, in which a failure of driver behaviour has a line ``# driver``.

    With no test in it, it is a plan of none, which a parser reports as such.
    """
    blocks: list[_Block] = []
    for name in report.environments:
        areas: dict[str, list[Result]] = {}
        for result in report.listed:
            if result.env == name:
                areas.setdefault(result.area or "none", []).append(result)
        if areas:
            inner: list[_Block] = [
                (area, _tests(results, ledger), results) for area, results in areas.items()
            ]
            everything = [result for results in areas.values() for result in results]
            blocks.append((name, _block(inner, []), everything))
    return "\n".join([*_block(blocks, _head(report)), ""])


def _head(report: Report) -> list[str]:
    lines = [f"# svm-cts {run.suite.get('version', '')}, seed {run.seed}" for run in report.shown]
    for name, environment in report.environments.items():
        lines.append(f"# {_name(name)}: kernel {environment.fields.get('kernel', 'unknown')}")
    return [_line(line) for line in lines]


def _block(blocks: list[_Block], head: list[str]) -> list[str]:
    lines = [VERSION, *head, f"1..{len(blocks)}"]
    for number, (name, inner, results) in enumerate(blocks, 1):
        lines += [f"  {line}" for line in inner]
        lines.append(_time(results))
        lines.append(f"{_sum(results)} {number} {_name(name)}{_skip_all(results)}")
    return lines


def _tests(results: Sequence[Result], ledger: Ledger) -> list[str]:
    lines = [VERSION, f"1..{len(results)}"]
    for number, result in enumerate(results, 1):
        if result.outcome not in _DID_NOT_RUN:
            lines.append(_time([result]))
        if result.outcome in _FAILED:
            mark = DRIVER if is_regression(result, ledger) else ""
            said = (mark, *result.about, result.line, f"again: {result.replay}" if result.replay else "")
            lines += [f"# {_line(text)}" for text in said if text]
        verdict = "not ok" if result.outcome in _FAILED else "ok"
        lines.append(f"{verdict} {number} {_name(_short(result))}{_directive(result)}")
    return lines


def _time(results: Sequence[Result]) -> str:
    """A diagnostic line before the result that it belongs to: KTAP has no other place for a time."""
    return f"# time: {sum(result.duration for result in results):.3f} s"


def _short(result: Result) -> str:
    """The node id below the folder of the area."""
    folder = result.area.replace("-", "_")
    return result.test.removeprefix("suites/").removeprefix(f"{folder}/")


def _directive(result: Result) -> str:
    if result.outcome in _SKIPPED:
        return f" # SKIP {_line(result.line).replace('#', '')}".rstrip()
    if word := _WORDS.get(result.outcome):
        said = "; ".join(filter(None, (result.line, result.known_as)))
        return f" # {word} {_line(said).replace('#', '')}".rstrip()
    return ""


def _sum(results: Sequence[Result]) -> str:
    return "not ok" if any(result.outcome in _FAILED for result in results) else "ok"


def _skip_all(results: Sequence[Result]) -> str:
    return " # SKIP all of it" if all(result.outcome in _SKIPPED for result in results) else ""


def _name(text: str) -> str:
    """A name has no number sign, which would begin a directive, and no new line."""
    return _line(text).replace("#", "_")


def _line(text: str) -> str:
    return " ".join(text.split())
