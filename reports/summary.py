# SPDX-License-Identifier: MIT
"""The summary a person reads at the end of a run: plain text for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from reports import seeded
from reports.event import Outcome
from reports.stream import Run, environments_of, label
from reports.unseen import headline
from reports.verdict import CONFORMANCE, DRIVER, Matrix, failures, is_regression, tally

WIDTH = 100
MAX_FAILURES = 20
"""More than these are a pattern, not a list to read in a terminal; the HTML report has all of them."""

DETAILS = "--details"
"""The option of pytest that prints the whole summary."""
_LONGEST = 34
"""Characters of an environment's name that has its line for itself if it is longer."""
_SCORE = 22
_CONFORMANCE, _ONLY_DRIVER = "passed/claimed/all", "driver behaviour"

_PASSED = (Outcome.PASS,)
_FAILED = (Outcome.FAIL, Outcome.ERROR, Outcome.XPASS)
_KNOWN = (Outcome.KNOWN,)
_SKIPPED = (Outcome.NOT_CLAIMED, Outcome.UNTESTED, Outcome.NOTRUN)
_COLUMNS = (("pass", _PASSED), ("fail", _FAILED), ("known", _KNOWN), ("skip", _SKIPPED))


def brief(run: Run, matrix: Matrix, written: Iterable[Path]) -> str:
    """The same on a screen of 24 lines if nothing failed: a line for each environment, and one for reductions."""
    if not run.results:
        return summary(run, matrix, written)
    part = headline(matrix)
    files = [_relative(path) for path in written]
    shown = f"{files[0]} and {', '.join(path.name for path in files[1:])}" if files else ""
    lines = [
        _headline(run),
        *([f"a part of the suite: {part}"] if part else []),
        "",
        *_by_environment(run, matrix),
        *_sensitivity(),
        "",
        *_problems(run),
        *_lacking(replace(run, environments={n: e for n, e in run.environments.items() if e.missing})),
        *_failures(run, matrix),
        *_left_out(run),
        *([f"reports: {shown}"] if shown else []),
        "",
    ]
    return "\n".join(lines)


def _by_environment(run: Run, matrix: Matrix) -> list[str]:
    """Counts of tests and scores of behaviours, a row for each environment."""
    counts: dict[str, Counter[Outcome]] = {name: Counter() for name in run.environments}
    for result in run.results:
        counts.setdefault(result.env, Counter())[result.outcome] += 1
    columns = {environment.name: column for column, environment in enumerate(matrix.environments)}
    wide = max((len(name) for name in counts if len(name) <= _LONGEST), default=0)
    heads = "".join(f"{name:>7}" for name, _ in _COLUMNS)
    lines = [f"{'tests':<{wide}}{heads}   {_CONFORMANCE:<{_SCORE}}{_ONLY_DRIVER}"]
    for name, of_name in counts.items():
        cells = "".join(
            f"{sum(of_name[outcome] for outcome in outcomes) or '-':>7}" for _, outcomes in _COLUMNS
        )
        scores = "".join(
            f"{_score(matrix, columns.get(name), promises):<{_SCORE}}"
            for promises in (CONFORMANCE, (DRIVER,))
        )
        first = [name, " " * wide] if len(name) > wide else [f"{name:<{wide}}"]
        lines += [*first[:-1], f"{first[-1]}{cells}   {scores}".rstrip()]
    return lines


def _score(matrix: Matrix, column: int | None, promises: Sequence[str]) -> str:
    if column is None:
        return ""
    score = matrix.score(column, promises=promises)
    return f"{score.passed} / {score.claimed} / {score.total}" if score.total else "-"


def _left_out(run: Run) -> list[str]:
    """Skips, reductions and unexpected capabilities, one line each."""
    skipped = [result for result in run.results if result.outcome in _SKIPPED]
    reasons = {(result.reason_code or result.outcome.value, result.line) for result in skipped}
    reduced = {
        name: len(environment.reductions)
        for name, environment in run.environments.items()
        if environment.reductions
    }
    noted = {
        name: " ".join(environment.unexpected)
        for name, environment in run.environments.items()
        if environment.unexpected
    }
    lines = []
    if skipped:
        lines.append(f"skipped: {_number(len(skipped), 'result')} for {_number(len(reasons), 'reason')}")
    if reduced:
        where = ", ".join(f"{name} in {_number(number, 'way')}" for name, number in reduced.items())
        lines.append(f"reduced: {where}")
    if noted:
        lines.append(f"not expected: {', '.join(f'{name} has {what}' for name, what in noted.items())}")
    if lines:
        lines.append(f"{DETAILS} lists them, and counts by area; so does index.html")
    return [textwrap.shorten(line, WIDTH, placeholder=" ...") for line in lines]


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def summary(run: Run, matrix: Matrix, written: Iterable[Path]) -> str:
    """Counts by area and environment, reasons of skips, failures with their replay, totals, files."""
    if not run.results:
        parts = ["no test ran", "", *_problems(run)]
    else:
        parts = [
            *_table(run),
            *_skips(run),
            *_lacking(run),
            *_failures(run, matrix),
            *_reductions(run),
            *_problems(run),
        ]
    part = headline(matrix)
    first = [_headline(run), *([f"a part of the suite: {part}"] if part else [])]
    return "\n".join([*first, "", *parts, *_behaviours(matrix), *_files(written), ""])


def _headline(run: Run) -> str:
    suite = " ".join(filter(None, ("svm-cts", run.suite.get("version"), _in_brackets(run.suite.get("git")))))
    environments = len(run.environments)
    return f"{suite}, seed {run.seed or '?'}, {environments} environment{'s' * (environments != 1)}"


def _in_brackets(text: str | None) -> str | None:
    return f"({text})" if text else None


def _table(run: Run) -> list[str]:
    """Tests by area (rows) and environment (groups of columns); groups that do not fit start a new table."""
    counts = tally(run.results)
    areas = list(dict.fromkeys(area for area, _ in counts))
    first = max(len("total"), *(len(area) for area in areas)) + 2
    columns = [c for c in _COLUMNS if c[0] != "known" or any(n[Outcome.KNOWN] for n in counts.values())]
    group = max(6 * len(columns) + 2, *(len(name) + 3 for name in run.environments))
    names = list(run.environments)
    per_table = max(1, (WIDTH - first) // group)
    lines: list[str] = []
    for at in range(0, len(names), per_table):
        part = names[at : at + per_table]
        lines.append((" " * first + "".join(f"{name:>{group}}" for name in part)).rstrip())
        heads = "".join(f"{name:>6}" for name, _ in columns)
        lines.append(" " * first + "".join(f"{heads:>{group}}" for _ in part))
        for area in areas:
            cells = (_counts(counts.get((area, name), Counter()), columns) for name in part)
            lines.append(f"{area:<{first}}" + "".join(f"{cell:>{group}}" for cell in cells))
        totals = (
            _counts(sum((counts.get((a, n), Counter()) for a in areas), Counter()), columns) for n in part
        )
        lines += [f"{'total':<{first}}" + "".join(f"{cell:>{group}}" for cell in totals), ""]
    return lines


def _counts(counts: Counter[Outcome], columns: Sequence[tuple[str, tuple[Outcome, ...]]]) -> str:
    return "".join(f"{sum(counts[outcome] for outcome in outcomes) or '-':>6}" for _, outcomes in columns)


def _skips(run: Run) -> list[str]:
    """Each reason once, with the tests it cost in each environment."""
    by_reason: dict[tuple[str, str], Counter[str]] = {}
    for result in run.results:
        if result.outcome in _SKIPPED:
            code = result.reason_code or result.outcome.value
            by_reason.setdefault((code, result.line), Counter())[result.env] += 1
    lines = ["skipped"] if by_reason else []
    for (code, text), environments in sorted(by_reason.items()):
        where = ", ".join(f"{env} {number}" for env, number in environments.items())
        lines += _wrapped(
            f"{code}: {text.removeprefix(code).lstrip(': ') or 'no reason given'} ({where})", "  "
        )
    return [*lines, ""] if lines else []


def _lacking(run: Run) -> list[str]:
    """Expected capabilities that environments lack, and unexpected ones that they have."""
    lines = []
    for environment in run.environments.values():
        for name, text in environment.missing.items():
            lines += _wrapped(f"ERROR {environment.name}: {text}", "  ")
            tests = sum(r.env == environment.name and r.lacking == name for r in run.results)
            lines += [f"    tests that need it: {tests}"] if tests else []
        for text in environment.unexpected.values():
            lines += _wrapped(f"note {environment.name}: {text}", "  ")
    return ["environments", *lines, ""] if lines else []


def _failures(run: Run, matrix: Matrix) -> list[str]:
    """Failures; tests that could not run because the environment lacks a capability are in its line."""
    groups = failures(r for r in run.results if r.lacking not in run.environments[r.env].missing)
    lines = ["failures"] if groups else []
    for group in groups[:MAX_FAILURES]:
        first = group[0]
        mark = f"  {DRIVER}" if is_regression(first, matrix.ledger) else ""
        lines.append(f"  {first.outcome.value} {label(group)}  ({environments_of(group)}){mark}")
        lines += _wrapped(first.line or "no message", "    ")
        lines += [f"    {first.replay}"] if first.replay else []
    if len(groups) > MAX_FAILURES:
        lines.append(f"  and {len(groups) - MAX_FAILURES} more: see index.html")
    return [*lines, ""] if lines else []


def _reductions(run: Run) -> list[str]:
    by_text: dict[str, list[str]] = {}
    for environment in run.environments.values():
        for text in environment.reductions:
            by_text.setdefault(text, []).append(environment.name)
    lines = ["reduced"] if by_text else []
    for text, names in by_text.items():
        lines += _wrapped(f"{' '.join(text.split())} ({', '.join(names)})", "  ")
    return [*lines, ""] if lines else []


def _problems(run: Run) -> list[str]:
    return ["results stream", *(f"  {problem}" for problem in run.problems), ""] if run.problems else []


def _behaviours(matrix: Matrix) -> list[str]:
    return [
        *_scores("conformance: passed / claimed / all", matrix, CONFORMANCE),
        *_scores("driver behaviour: passed / claimed / all", matrix, (DRIVER,)),
        *([*said, ""] if (said := _sensitivity()) else []),
    ]


def _sensitivity() -> list[str]:
    """How much the suite notices, by itself: a figure of the suite, not of this run."""
    said = seeded.line(seeded.read())
    return [said] if said else []


def _scores(title: str, matrix: Matrix, promises: Sequence[str]) -> list[str]:
    lines = [title]
    width = max((len(environment.name) for environment in matrix.environments), default=0)
    for column, environment in enumerate(matrix.environments):
        score = matrix.score(column, promises=promises)
        if not score.total:
            continue
        rest = ", ".join(
            f"{score.counts[outcome]} {outcome.value.lower().replace('notrun', 'not run')}"
            for outcome in Outcome
            if score.counts[outcome] and outcome is not Outcome.PASS
        )
        lines.append(f"  {environment.name:<{width}}  {score}  ({rest})")
    return [*lines, ""] if len(lines) > 1 else []


def _files(written: Iterable[Path]) -> list[str]:
    return ["reports", *(f"  {_relative(path)}" for path in written)]


def _relative(path: Path) -> Path:
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        max_lines=3,
        break_on_hyphens=False,
    )
