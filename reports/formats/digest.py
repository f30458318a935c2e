# SPDX-License-Identifier: MIT
"""A report for people, in the order of a mail: regressions first, the unchanged folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reports.compare import Change, Comparison, Kind
from reports.event import Outcome, Result
from reports.ledger import Ledger
from reports.merge import Report
from reports.stream import label
from reports.unseen import headline
from reports.verdict import DRIVER, Standing, failures, is_regression, matrix

LISTED = 20
"""Maximum number of entries of a section; the others are counted."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One test, in all environments with the same change."""

    test: str
    where: tuple[str, ...]
    """``mock/bmg: PASS -> FAIL`` each."""
    said: str
    statements: tuple[tuple[str, str], ...]
    """(id, title) of what it proves."""
    replay: str
    link: str
    number: int
    """Results that it is about."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is below."""

    title: str
    number: int
    """Results that it is about."""
    entries: tuple[Entry, ...]
    more: int
    """Entries that are not listed."""


@dataclass(frozen=True, slots=True)
class Digest:
    """All of it."""

    verdict: str
    """``2 possible regressions`` or ``no failures``."""
    environments: tuple[tuple[str, str, Standing], ...]
    """(name, kernel, scores)."""
    about: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    sections: tuple[Section, ...]
    unchanged: str


def digest(report: Report, ledger: Ledger) -> Digest:
    """Make one."""
    comparison = report.comparison
    sections = list(_compared(report, comparison, ledger) if comparison else _plain(report, ledger))
    if comparison:
        told = {id(change.new) for change in comparison.changes}
        others = failures(result for result in report.results if id(result) not in told)
        sections.append(_section("Other failures", [_of_results(group, report, ledger) for group in others]))
    known = [[result] for result in report.results if result.outcome is Outcome.KNOWN]
    entries = [_of_results(group, report, ledger) for group in _alike(known)]
    sections.append(_section("Known issues", entries))
    counts = (
        comparison.unchanged
        if comparison
        else Counter(r.outcome for r in report.results if not r.outcome.bad)
    )
    said = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
    return Digest(
        verdict="; ".join(
            filter(None, (_verdict(report, comparison, ledger), headline(matrix(report, ledger))))
        ),
        environments=tuple(_environments(report, ledger)),
        about=tuple(_about(report)),
        problems=(
            *report.lacking,
            *report.problems,
            *(f"{name} is missing" for name in (comparison.missing if comparison else ())),
        ),
        sections=tuple(section for section in sections if section.entries),
        unchanged=said or "nothing",
    )


def _verdict(report: Report, comparison: Comparison | None, ledger: Ledger) -> str:
    lacking = [f"{len(report.lacking)} expected capabilities missing"] if report.lacking else []
    return ", ".join([_of_all_results(report, comparison), *_of_driver(report, ledger), *lacking])


def _of_driver(report: Report, ledger: Ledger) -> list[str]:
    """Number of failures that do not affect conformance."""
    number = sum(is_regression(result, ledger) for result in report.results)
    return [f"{number} of driver behaviour"] if number else []


def _of_all_results(report: Report, comparison: Comparison | None) -> str:
    if not report.results:
        return "no test ran"
    bad = sum(result.outcome.bad for result in report.results)
    if comparison:
        failing, untested = len(comparison.of(Kind.FAILING)), len(comparison.of(Kind.UNTESTED))
        words = [_number(failing, "possible regression"), _number(untested, "result") + " no longer there"]
        parts = [word for word, number in zip(words, (failing, untested), strict=True) if number]
        mended = sum(change.result.outcome.bad for change in comparison.of(Kind.FIXED))  # XPASS
        others = bad - failing - mended
        return ", ".join(
            [", ".join(parts) or "no regressions", *([_number(others, "other failure")] * (others > 0))]
        )
    return _number(bad, "failure") if bad else "no failures"


def _number(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _environments(report: Report, ledger: Ledger) -> Iterable[tuple[str, str, Standing]]:
    for name, standing in matrix(report, ledger).standings.items():
        yield name, report.environments[name].fields.get("kernel", "unknown"), standing


def _about(report: Report) -> Iterable[tuple[str, str]]:
    for run in report.shown:
        yield "suite", run.suite.get("version", "unknown")
        yield "seed", run.seed or "unknown"
        if run.command:
            yield "command", run.command_line
    if report.baseline is not None:
        yield "baseline", f"{report.baseline.title}, suite {report.baseline.suite.get('version', 'unknown')}"


_TITLES = {
    Kind.FAILING: "Possible regressions",
    Kind.UNTESTED: "No longer tested",
    Kind.FLAKY: "Flaky",
    Kind.REASON: "Fail otherwise than before",
    Kind.FIXED: "Possible fixes",
}


def _compared(report: Report, comparison: Comparison, ledger: Ledger) -> Iterable[Section]:
    for kind, title in _TITLES.items():
        if kind is Kind.UNTESTED:
            yield _section(title, _untested(comparison.of(kind)))
        else:
            yield _section(title, [_of_changes(group, report, ledger) for group in comparison.groups(kind)])


def _untested(changes: list[Change]) -> list[Entry]:
    """By reason: a capability that is gone, or a folder that was not run, takes many tests with it."""
    reasons: dict[str, list[Change]] = {}
    for change in changes:
        new = change.new
        why = (
            f"{new.outcome.value}: {new.reason_code} {new.reason}"
            if new
            else "the test is gone, or was not run"
        )
        reasons.setdefault(why, []).append(change)
    entries = []
    for why, group in reasons.items():
        tests = list(dict.fromkeys(change.result.test for change in group))
        where = Counter(change.result.env for change in group)
        more = f" and {_number(len(tests) - 1, 'more test')}" if len(tests) > 1 else ""
        places = tuple(f"{env}: {_number(number, 'test')}" for env, number in where.items())
        entries.append(Entry(f"{tests[0]}{more}", places, why, (), "", "", len(group)))
    return entries


def _plain(report: Report, ledger: Ledger) -> Iterable[Section]:
    yield _section("Failures", [_of_results(group, report, ledger) for group in failures(report.results)])


def _section(title: str, entries: list[Entry]) -> Section:
    number = sum(entry.number for entry in entries)
    return Section(title, number, tuple(entries[:LISTED]), max(0, len(entries) - LISTED))


def _alike(groups: list[list[Result]]) -> list[list[Result]]:
    """Groups of results with the same message about a test."""
    alike: dict[tuple[str, str], list[Result]] = {}
    for group in groups:
        for result in group:
            alike.setdefault((result.function, result.signature), []).append(result)
    return list(alike.values())


def _of_changes(changes: list[Change], report: Report, ledger: Ledger) -> Entry:
    results = [change.result for change in changes]
    where = [f"{change.result.env}: {change.arrow}" for change in changes]
    rate = changes[0].rate
    return _entry(results, where, report, ledger, rate)


def _of_results(results: list[Result], report: Report, ledger: Ledger) -> Entry:
    where = [f"{result.env}: {result.outcome.value}" for result in results]
    return _entry(results, where, report, ledger, "")


def _entry(results: list[Result], where: list[str], report: Report, ledger: Ledger, rate: str) -> Entry:
    first = results[0]
    waiver = report.waived.by.get((first.env, first.test))
    mark = f"{DRIVER}: " if is_regression(first, ledger) else ""
    return Entry(
        test=label(results),
        where=tuple(dict.fromkeys(where)),
        said="; ".join(filter(None, (rate, mark + first.line, first.known_as))),
        statements=tuple((i, ledger[i].title if i in ledger else "") for i in first.about),
        replay=first.replay if first.outcome.bad else "",
        link=waiver.link if waiver else "",
        number=len(results),
    )
