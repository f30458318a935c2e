# SPDX-License-Identifier: MIT
"""``svmcts compare BASE NEW``: changes between two runs."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable

from common import as_json
from reports.commands.inputs import RUN, run_at
from reports.compare import Change, Comparison, Kind, compare
from reports.event import Outcome, Result, counted
from reports.ledger import Ledger
from reports.stream import Run, environments_of, label
from reports.verdict import DRIVER, matrix, nobody_promises

DESCRIPTION = """\
Compares two runs, test by test in each environment. Environments are paired by name, else by machine, platform and
kernel series; renamed tests by the behaviours they prove. A change marked "driver" concerns driver behaviour, which no
document and no posting promises.
"""
LISTED = 3
"""Tests that are named of a group that changed alike."""
STATUS = (
    "exit status: 0 nothing got worse; 1 something did: newly failing, newly untested, or an environment is missing; "
    "2 no answer"
)


def main(arguments: list[str]) -> int:
    """Exit status: 0 nothing got worse, 1 something did, 2 no answer."""
    parser = argparse.ArgumentParser("svmcts compare", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("base", metavar="BASE", help=RUN)
    parser.add_argument("new", metavar="NEW", help="the same, of the newer run")
    parser.add_argument(
        "--history",
        metavar="RUN",
        nargs="+",
        default=[],
        help="earlier runs, oldest first: a test that alternated between pass and fail is flaky, not newly failing",
    )
    as_json.add_option(parser)
    options = parser.parse_args(arguments)
    base, new = run_at(options.base), run_at(options.new)
    comparison = compare(base, new, [run_at(text) for text in options.history])
    status, ledger = int(comparison.worse), Ledger.load()
    if options.json:
        return as_json.print_answer("compare", status, answer(base, new, comparison, ledger))
    print("\n".join(text(base, new, comparison, ledger)))
    return status


def text(base: Run, new: Run, comparison: Comparison, ledger: Ledger) -> list[str]:
    """The comparison for a terminal."""
    lines = [f"base  {_about(base)}", f"new   {_about(new)}"]
    for name, other in comparison.environments.items():
        if name != other:
            lines.append(f"environment {name} is compared with {other}")
    lines += [f"environment {name} is missing in the new run" for name in comparison.missing]
    lines += [f"environment {name} is new, compared with nothing" for name in comparison.added]
    lines += [f"{run.path}: {problem}" for run in (base, new) for problem in run.problems]
    lines += [f"{old} is now {now.rpartition('::')[2]}" for old, now in comparison.renamed[:LISTED]]
    if len(comparison.renamed) > LISTED:
        lines.append(f"and {len(comparison.renamed) - LISTED} more tests have other names")
    lines += _scores(base, new, comparison, ledger)
    for kind in Kind:
        if changes := comparison.of(kind):
            lines += ["", f"{kind.value}: {len(changes)}"]
            lines += _untested(changes) if kind is Kind.UNTESTED else _listed(comparison.groups(kind), ledger)
    counts = ", ".join(f"{n} {outcome.value}" for outcome in Outcome if (n := comparison.unchanged[outcome]))
    return [*lines, "", f"unchanged: {counts or 'nothing'}"]


def _scores(base: Run, new: Run, comparison: Comparison, ledger: Ledger) -> list[str]:
    """Both scores of each environment that both runs have."""
    before, after = matrix(base, ledger).standings, matrix(new, ledger).standings
    lines = []
    for old, name in comparison.environments.items():
        said = [
            f"{word} {was}" if was.numbers == now.numbers else f"{word} {was} -> {now}"
            for word, was, now in (
                ("conformance", before[old].conformance, after[name].conformance),
                (DRIVER, before[old].driver, after[name].driver),
            )
        ]
        lines.append(f"passed / claimed / all: {name}: {', '.join(said)}")
    return lines


def _about(run: Run) -> str:
    suite = run.suite.get("version", "unknown")
    return f"{run.path}: suite {suite}, seed {run.seed or 'unknown'}, {len(run.results)} results"


def _listed(groups: list[list[Change]], ledger: Ledger) -> list[str]:
    lines = []
    for group in groups:
        first = group[0]
        results = [change.result for change in group]
        mark = f"  {DRIVER}" if nobody_promises(first.result, ledger) else ""
        lines.append(f"  {first.arrow}  {label(results)}  ({environments_of(results)}){mark}")
        said = [first.rate] if first.rate else []
        if first.kind is Kind.REASON and first.base is not None:
            said.append(f"was: {first.base.line or first.base.outcome.value}")
        if first.result.line:
            said.append(first.result.line)
        lines += [f"      {line}" for line in said]
        if first.kind.worse and first.result.replay:
            lines.append(f"      again: {first.result.replay}")
    return lines


def _untested(changes: list[Change]) -> list[str]:
    """By reason: a missing capability affects many tests."""
    reasons: dict[str, list[Change]] = {}
    for change in changes:
        new = change.new
        why = (
            f"{new.outcome.value} {new.reason_code} {new.reason}".strip() if new else "no such test any more"
        )
        reasons.setdefault(why, []).append(change)
    lines = []
    for why, group in sorted(reasons.items(), key=lambda item: -len(item[1])):
        environments = Counter(change.result.env for change in group)
        where = ", ".join(f"{env} {number}" for env, number in environments.items())
        tests = list(dict.fromkeys(change.result.test for change in group))
        lines += [f"  {why} ({where})", *(f"      {test}" for test in tests[:LISTED])]
        lines += [f"      and {len(tests) - LISTED} more"] if len(tests) > LISTED else []
    return lines


def answer(base: Run, new: Run, comparison: Comparison, ledger: Ledger) -> as_json.Row:
    """The comparison for programs."""
    return {
        "worse": comparison.worse,
        "base": _facts(base, ledger),
        "new": _facts(new, ledger),
        "environments": _pairs(comparison.environments.items()),
        "missing": sorted(comparison.missing),
        "added": sorted(comparison.added),
        "renamed": _pairs(comparison.renamed),
        "changes": as_json.rows(_row(change, ledger) for change in comparison.changes),
        "unchanged": counted(comparison.unchanged.elements()),
    }


def _facts(run: Run, ledger: Ledger) -> as_json.Row:
    return {
        "run": run.path,
        "suite": run.suite.get("version"),
        "seed": run.seed or None,
        "results": len(run.results),
        "scores": as_json.rows(
            {"environment": name, **standing.numbers}
            for name, standing in matrix(run, ledger).standings.items()
        ),
        "problems": as_json.rows({"line": p.line or None, "what": p.what} for p in run.problems),
    }


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[as_json.Row]:
    return as_json.rows({"base": old, "new": now} for old, now in pairs)


def _row(change: Change, ledger: Ledger) -> as_json.Row:
    result = change.result
    return {
        "environment": result.env,
        "test": result.test,
        "change": change.kind,
        "base": _side(change.base),
        "new": _side(change.new),
        "history": change.history,
        "driver": nobody_promises(result, ledger),
        "replay": result.replay or None,
    }


def _side(result: Result | None) -> as_json.Row | None:
    if result is None:
        return None
    return {"outcome": result.outcome, "reason": result.reason_code or None, "message": result.line or None}
