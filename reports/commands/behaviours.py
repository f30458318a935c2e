# SPDX-License-Identifier: MIT
"""``svmcts behaviours [GLOB]``: documented behaviours, their tests and results."""

from __future__ import annotations

import argparse
import textwrap
from collections import Counter
from collections.abc import Iterable

from common import as_json
from common.answers import NoAnswerError
from common.near import near_glob
from reports.commands.inputs import RUN, what_there_is_at, whole
from reports.event import Outcome, counted
from reports.ledger import Behaviour, Ledger
from reports.looks import look
from reports.marks import proofs
from reports.merge import merge
from reports.verdict import Matrix, Row, Score, matrix

DESCRIPTION = """\
Lists the behaviours of the ledger: id, kind, who promises it, title, and the tests that prove each, or why there is
none. With results, it adds the verdict of each environment. A single id prints the whole entry. --summary counts them
by who promises them: documents (promised), postings and commits (agreed) or the code alone (driver); and by whether
they have a test. With results, skipped ones have only tests that no environment could run; seconds are of all tests.
"""
WIDTH = 100
STATUS = "exit status: 0 listed, 2 no answer: nothing matches, or something cannot be read"


def main(arguments: list[str]) -> int:
    """Exit status: 0 listed, 2 nothing matches or something cannot be read."""
    parser = argparse.ArgumentParser("svmcts behaviours", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument(
        "glob", metavar="GLOB", nargs="?", default="*", help="ids to list, for example 'bind.cam.*'"
    )
    parser.add_argument(
        "--untested",
        action="store_true",
        help="only behaviours without a test; with results, also those without a verdict",
    )
    parser.add_argument(
        "--summary",
        action="store_true",
        help="count by area and promise; with results, passed / claimed / all of each environment too",
    )
    parser.add_argument(
        "--results", metavar="RUN", action="append", default=[], help=f"{RUN}; may be repeated"
    )
    as_json.add_option(parser)
    options = parser.parse_args(arguments)
    ledger = Ledger.load()
    chosen = ledger.matching(options.glob)
    if not chosen:
        raise NoAnswerError(f"no behaviour is called {options.glob}{near_glob(options.glob, ledger)}")
    tests = proofs()
    runs = [what_there_is_at(text) for text in options.results]
    verdicts = matrix(merge(runs), ledger) if runs else None
    rows = {row.behaviour.id: row for _, _, rows in verdicts.areas for row in rows} if verdicts else {}
    if options.untested:
        chosen = [b for b in chosen if _is_untested(b, tests, rows.get(b.id))]
    if options.json:
        whole(*runs)
        listing = () if options.summary else chosen
        said = {
            "behaviours": as_json.rows(
                _entry(b, tests.get(b.id, []), ledger, verdicts, rows.get(b.id)) for b in listing
            ),
            **_numbers(chosen, tests, ledger, verdicts, rows),
        }
        return as_json.print_answer("behaviours", 0, said)
    lines = (
        _summary(chosen, tests, ledger, verdicts, rows)
        if options.summary
        else _listing(chosen, tests, ledger, verdicts, rows)
    )
    print("\n".join(lines))
    whole(*runs)
    return 0


def _is_untested(behaviour: Behaviour, tests: dict[str, list[str]], row: Row | None) -> bool:
    if row is None:
        return behaviour.kind != "model-only" and behaviour.id not in tests
    return bool(row.outcomes & {Outcome.UNTESTED, Outcome.NOTRUN})


def _listing(
    chosen: list[Behaviour],
    tests: dict[str, list[str]],
    ledger: Ledger,
    verdicts: Matrix | None,
    rows: dict[str, Row],
) -> Iterable[str]:
    for behaviour in chosen:
        yield f"{behaviour.id}  [{behaviour.kind}, {behaviour.promise}]  {behaviour.title}"
        if len(chosen) == 1:
            yield from _details(behaviour)
        yield from (f"    {test}" for test in tests.get(behaviour.id, ()))
        if behaviour.id not in tests:
            why = ledger.no_test(behaviour.id)
            yield from _wrapped(why if behaviour.kind == "model-only" else f"untested: {why}")
        if verdicts is not None and behaviour.id in rows:
            yield from _verdicts(rows[behaviour.id], verdicts)
    yield from _sum(chosen, tests, verdicts, rows)


def _details(behaviour: Behaviour) -> Iterable[str]:
    yield from _wrapped(behaviour.statement)
    if behaviour.history:
        yield from _wrapped(f"kernels: {behaviour.history}")
    yield f"    since Linux {behaviour.since}" + (
        f", needs {', '.join(behaviour.needs)}" if behaviour.needs else ""
    )
    yield from (f"    {source}" for source in behaviour.sources)
    for place in behaviour.promised_by:
        yield from _wrapped(f"promised by {place.at}" + (f': "{place.words} ..."' if place.words else ""))


def _summary(
    chosen: list[Behaviour],
    tests: dict[str, list[str]],
    ledger: Ledger,
    verdicts: Matrix | None,
    rows: dict[str, Row],
) -> Iterable[str]:
    """A line for each area and one for all, by promise and by test; for each environment, one for each promise."""
    columns = [word for word in ledger.vocabulary.promises if any(b.promise == word for b in chosen)]
    areas = {area: [b for b in chosen if b.area == area] for area in ledger.vocabulary.areas}
    width = max(map(len, (*areas, "all areas")))
    yield " ".join([" " * width, *(f"{word:>8}" for word in columns), "     all"])
    for area, entries in [*areas.items(), ("all areas", chosen)]:
        if entries:
            counts = Counter(b.promise for b in entries)
            numbers = [*(counts[word] for word in columns), len(entries)]
            yield " ".join([f"{area:{width}}", *(f"{number:8}" for number in numbers)])
    words = ["tested", "untested", "unseen", *(["skipped", "seconds"] if verdicts else [])]
    yield ""
    yield " ".join([" " * width, *(f"{word:>8}" for word in words)])
    for area, entries in [*areas.items(), ("all areas", chosen)]:
        if entries:
            total, tested, model = _totals(entries, tests)
            numbers = [tested, total - tested - model, model]
            if verdicts:
                numbers += [_skipped(entries, tests, rows), _seconds(entries, rows)]
            yield " ".join([f"{area:{width}}", *(f"{number:8}" for number in numbers)])
    for column, environment in enumerate(verdicts.environments if verdicts else ()):
        yield ""
        yield f"{environment.name}: passed / claimed / all"
        for word in (*columns, None):
            yield f"  {word or 'together':8}  {_score(chosen, rows, column, word)}"


def _skipped(chosen: list[Behaviour], tests: dict[str, list[str]], rows: dict[str, Row]) -> int:
    """Number of behaviours with tests, none of which any environment could run."""
    could_not = {Outcome.NOT_CLAIMED, Outcome.UNTESTED}
    return sum(b.id in tests and b.id in rows and rows[b.id].outcomes <= could_not for b in chosen)


def _seconds(chosen: list[Behaviour], rows: dict[str, Row]) -> int:
    """Time of all results of behaviours, each once, in all environments."""
    results = [result for b in chosen if b.id in rows for cell in rows[b.id].cells for result in cell.results]
    return round(sum({id(result): result.duration for result in results}.values()))


def _score(chosen: list[Behaviour], rows: dict[str, Row], column: int, promise: str | None) -> Score:
    """Score of the behaviours of a promise, or of all."""
    outcomes = (
        rows[b.id].cells[column].outcome for b in chosen if b.id in rows and promise in (None, b.promise)
    )
    return Score(Counter(outcome for outcome in outcomes if outcome))


def _entry(
    behaviour: Behaviour, tests: list[str], ledger: Ledger, verdicts: Matrix | None, row: Row | None
) -> as_json.Row:
    """A behaviour for programs."""
    cells = zip(verdicts.environments, row.cells, strict=True) if verdicts and row else ()
    return {
        "id": behaviour.id,
        "area": behaviour.area,
        "title": behaviour.title,
        "kind": behaviour.kind,
        "promise": behaviour.promise,
        "statement": behaviour.statement,
        "history": behaviour.history,
        "since": behaviour.since,
        "needs": sorted(behaviour.needs),
        "sources": sorted(behaviour.sources),
        "promised_by": as_json.rows({"at": p.at, "words": p.words or None} for p in behaviour.promised_by),
        "tests": sorted(tests),
        "why_untested": None if tests else ledger.why_untested(behaviour.id),
        "verdicts": as_json.rows(
            {
                "environment": environment.name,
                "outcome": cell.outcome,
                "results": len(cell.results),
                "why": cell.why or None,
            }
            for environment, cell in cells
        ),
    }


def _numbers(
    chosen: list[Behaviour],
    tests: dict[str, list[str]],
    ledger: Ledger,
    verdicts: Matrix | None,
    rows: dict[str, Row],
) -> as_json.Row:
    """Counts, for programs."""
    promises = ledger.vocabulary.promises
    environments: list[as_json.Row] = []
    for column, environment in enumerate(verdicts.environments if verdicts else ()):
        outcomes = (rows[b.id].cells[column].outcome for b in chosen if b.id in rows)
        environments.append(
            {
                "environment": environment.name,
                "counts": counted(outcome for outcome in outcomes if outcome),
                "scores": as_json.rows(
                    {"promise": word, **_score(chosen, rows, column, word).numbers} for word in promises
                ),
            }
        )
    areas = {b.area for b in chosen}
    total, tested, model = _totals(chosen, tests)
    return {
        "total": total,
        "tested": tested,
        "untested": total - tested - model,
        "model_only": model,
        "areas": as_json.rows(
            {"area": area, "promise": word, "all": sum((b.area, b.promise) == (area, word) for b in chosen)}
            for area in areas
            for word in promises
        ),
        "environments": as_json.rows(environments),
    }


def _totals(chosen: list[Behaviour], tests: dict[str, list[str]]) -> tuple[int, int, int]:
    """Numbers of all behaviours, of those with tests, and of those that no program can observe."""
    tested = sum(behaviour.id in tests for behaviour in chosen)
    return len(chosen), tested, sum(behaviour.kind == "model-only" for behaviour in chosen)


def _verdicts(row: Row, verdicts: Matrix) -> Iterable[str]:
    for environment, cell in zip(verdicts.environments, row.cells, strict=True):
        shown = look(cell.outcome)
        yield from _wrapped(f"{shown.sign} {shown.word} {environment.name}: {cell.summary}")


def _sum(
    chosen: list[Behaviour], tests: dict[str, list[str]], verdicts: Matrix | None, rows: dict[str, Row]
) -> Iterable[str]:
    number, tested, model = _totals(chosen, tests)
    yield ""
    yield (
        f"{number} behaviour{'s' * (number != 1)}: {tested} with tests, {number - tested - model} untested, "
        f"{model} that no program can see"
    )
    for column, environment in enumerate(verdicts.environments if verdicts else ()):
        counts = Counter(rows[b.id].cells[column].outcome for b in chosen if b.id in rows)
        said = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
        yield f"{environment.name}: {said}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )
