# SPDX-License-Identifier: MIT
"""The report in Markdown: results by program, and the reasons of subtests that did not pass."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from guest.igt.reasons import Reason, reason_of
from guest.igt.results import OUTCOMES, Result


def unexplained(results: Iterable[Result]) -> list[Result]:
    """Results without a known reason that are not a pass, and passes with a checker's report."""
    return [
        result
        for result in results
        if (result.outcome != "pass" and reason_of(result) is None)
        or (result.outcome == "pass" and result.checks)
    ]


def markdown(results: Sequence[Result], title: str) -> str:
    """The whole report."""
    parts = [f"## {title}", "", *totals(results), ""]
    if explained := _explained(results):
        parts += ["### Explained", "", *explained, ""]
    if left := unexplained(results):
        parts += ["### Not explained", ""]
        parts += [f"- `{result.key}`: {result.outcome}: {_said(result)}" for result in left]
        parts.append("")
    return "\n".join(parts)


def totals(results: Iterable[Result]) -> list[str]:
    """A line for each program, and the total."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        counts.setdefault(result.program, Counter())[result.outcome] += 1
    lines = [_row(["program", *OUTCOMES, "all"]), _row(["---", *["---:"] * (len(OUTCOMES) + 1)])]
    total: Counter[str] = sum(counts.values(), Counter())
    for program, count in [*counts.items(), ("**all**", total)]:
        numbers = [str(count[outcome]) if count[outcome] else "" for outcome in OUTCOMES]
        lines.append(_row([program, *numbers, str(count.total())]))
    return lines


def _explained(results: Iterable[Result]) -> list[str]:
    groups: dict[Reason, list[Result]] = defaultdict(list)
    for result in results:
        if result.outcome != "pass" and (reason := reason_of(result)) is not None:
            groups[reason].append(result)
    if not groups:
        return []
    lines = [
        _row(["subtests", "count", "outcome", "kind", "why"]),
        _row(["---", "---:", "---", "---", "---"]),
    ]
    for reason, found in sorted(groups.items(), key=lambda item: (item[0].kind, -len(item[1]))):
        outcomes = ", ".join(sorted({result.outcome for result in found}))
        lines.append(_row([f"`{reason.subtests}`", str(len(found)), outcomes, reason.kind, reason.why]))
    return lines


def _said(result: Result) -> str:
    return (result.checks or [result.message or "nothing printed"])[0]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
