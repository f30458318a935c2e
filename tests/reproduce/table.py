# SPDX-License-Identifier: MIT
"""Failing tests over all areas as programs, in a table (docs/reproduced.md). Each step adds to the rows in a folder.

    python -m tests.reproduce.table WORK mock            tests that broken mocks fail: one a defect and area at least
    python -m tests.reproduce.table WORK least           makes the programs of broken mocks smaller
    python -m tests.reproduce.table WORK driver          tests that the real driver with seeded faults fails, in a guest
    python -m tests.reproduce.table WORK guest           all programs on the real driver without and with faults;
                                                         continues where it was interrupted
    python -m tests.reproduce.table WORK print           the table, as Markdown

A program is right if it was compiled without a warning, ends with 1 where its fault is, and with 0 on a sound mock and
on the real driver. ``--minimise`` of guest makes the programs of seeded faults smaller there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from common.answers import NoAnswerError
from ioctl.compiler import find_compiler
from mock.defects import defects
from reports.event import Outcome, Result
from reports.stream import Run, area_of, read
from reproduce.cli import WRITTEN, course_of, words_of
from reproduce.minimise import smallest
from reproduce.program import program
from reproduce.trial import Mock, Runner, compiled, place_of
from tests.controls import claims as lists
from tests.controls.inventory import ROOT, environment
from tests.reproduce import seeded

EACH = 2
"""Tests of each area that broken mocks fail, if no defect is named."""
MORE = 5
"""Tests that are tried in an area of which those had no program."""
STORE = "rows.jsonl"
PLATFORM = "bmg2"
NOT_RUN = -1
NOT_FAILED = "it did not fail here"
BUDGET_S = 60.0
WIDTH = 90
"""Characters of a reason in the table."""


@dataclass(frozen=True)
class Row:
    """A test that failed, and its program."""

    fault: str
    """A defect of the mock, or a seeded fault of the driver."""
    place: str
    """``mock`` or ``driver``: what has the fault."""
    test: str
    name: str = ""
    """Name of the program in the folder; empty if there is none."""
    failing: int = NOT_RUN
    """Its exit status where the fault is."""
    mock: int = NOT_RUN
    """On a sound mock."""
    guest: int = NOT_RUN
    """On the real driver, without a seeded fault."""
    lines: int = 0
    least: int = 0
    """Lines of the minimised program."""
    why: str = ""

    @property
    def right(self) -> bool:
        """Whether the program shows the fault, and only where it is, in the places where it was run."""
        return self.failing == 1 and self.mock == 0 and self.guest in (0, NOT_RUN)

    def __str__(self) -> str:
        mark = "none" if not self.name else "ok  " if self.right else "BAD "
        ends = f"{self.failing} with it, {self.mock} on the mock, {self.guest} in the guest"
        return (
            f"{mark} {self.fault:20} {self.test}: {ends}; {self.lines} lines, {self.least} least {self.why}"
        )


def load(work: Path) -> list[Row]:
    """The rows of a folder."""
    store = work / STORE
    lines = store.read_text(encoding="utf-8").splitlines() if store.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def save(work: Path, rows: Iterable[Row]) -> None:
    """Write all rows."""
    text = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
    (work / STORE).write_text(text, encoding="utf-8")


def chosen(claims: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Defect to functions: one for each defect, and for each area as many as EACH, if it has them."""
    picked: dict[str, list[str]] = {}
    areas: Counter[str] = Counter()
    by_size = sorted(claims, key=lambda defect: len(claims[defect]))
    for round_ in range(EACH * len({area_of(test) for tests in claims.values() for test in tests})):
        for defect in by_size:
            taken = {test for tests in picked.values() for test in tests}
            left = [test for test in claims[defect] if test.partition("[")[0] not in taken]
            if not left:
                continue
            test = min(left, key=lambda one: (areas[area_of(one)], left.index(one)))
            if not round_ or areas[area_of(test)] < EACH:
                picked.setdefault(defect, []).append(test.partition("[")[0])
                areas[area_of(test)] += 1
    return picked


def failures(defect: str, tests: Iterable[str], folder: Path) -> Run:
    """Run tests under a defect."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "--seed", "7"),
            *(f"--platform={PLATFORM}", "--timeout=30", f"--mock-defect={defect}", f"--results={folder}"),
            *tests,
        ],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=600,
    )
    return read(folder)


def runs_of(work: Path, defect: str, tests: Sequence[str]) -> Path:
    """The folder of a run under a defect."""
    return work / "runs" / f"{defect}-{zlib.crc32(' '.join(tests).encode()):08x}"


def written(row: Row, run: Run, result: Result, work: Path) -> Row:
    """The row with its program, compiled."""
    try:
        text = program(course_of(run, result), words_of(run, result), self_contained=True)
        name = f"{row.place}-{len(list(work.glob('*.c')))}"
        compiled(find_compiler(), text, work, name)
    except NoAnswerError as error:
        return replace(row, why=str(error))
    return replace(row, name=name, lines=text.count("\n"))


def of_mock(defect: str, tests: Sequence[str], work: Path) -> Iterator[Row]:
    """A row for the first failure of each test function under a defect."""
    run = failures(defect, tests, runs_of(work, defect, tests))
    done: set[str] = set()
    for result in run.results:
        place = place_of(result.replay)
        if result.outcome not in WRITTEN or result.function in done or not isinstance(place, Mock):
            continue
        done.add(result.function)
        row = written(Row(defect, "mock", result.test), run, result, work)
        if row.name:
            with Runner(place) as failing, Runner(Mock(PLATFORM)) as sound:
                ended, said = failing.status(work / row.name)
                passed, also = sound.status(work / row.name)
                row = replace(row, failing=ended, mock=passed)
                if not row.right:
                    row = replace(row, why=f"({result.message[:80]} | {said} | {also})")
        yield row
    for test in tests:
        if test.partition("[")[0] not in done:
            yield Row(defect, "mock", test, why=NOT_FAILED)


def minimised(
    row: Row, run: Run, result: Result, failing: Runner, sound: Runner | None, work: Path, budget: float
) -> Row:
    """The row with the lines of the program that is left after that many seconds."""
    words = words_of(run, result)
    try:
        fewer, _ = smallest(
            course_of(run, result), words, failing, sound, find_compiler(), "here", budget=budget
        )
    except NoAnswerError as error:
        return replace(row, why=str(error))
    text = program(fewer, words, self_contained=True)
    (work / f"{row.name}-least.c").write_text(text, encoding="utf-8")
    return replace(row, least=text.count("\n"))


def least(row: Row, work: Path, budget: float) -> Row:
    """The row of a broken mock, minimised."""
    runs = (read(folder) for folder in (work / "runs").glob(f"{row.fault}-*"))
    run, result = next(
        (run, one) for run in runs for one in run.results if one.test == row.test and one.outcome in WRITTEN
    )
    with Runner(Mock(PLATFORM, defect=row.fault)) as failing, Runner(Mock(PLATFORM)) as sound:
        return minimised(row, run, result, failing, sound, work, budget)


def mock_rows(work: Path, names: Sequence[str], each: int) -> Iterator[Row]:
    """Rows of broken mocks."""
    claims = {name: lists.read(name).tests for name in defects()}
    wanted = {name: claims[name] for name in names or claims}
    picked = {name: tests[:each] for name, tests in wanted.items()} if each else chosen(wanted)
    right: set[str] = set()
    for defect, tests in picked.items():
        for row in of_mock(defect, tests, work):
            right |= {area_of(row.test)} if row.right else set()
            yield row
    if names:
        return
    for area in sorted({area_of(test) for tests in claims.values() for test in tests} - right):
        for defect, test in islice(others(claims, picked, area), MORE):
            row = next(of_mock(defect, [test], work))
            yield row
            if row.right:
                break


def others(
    claims: Mapping[str, Sequence[str]], picked: Mapping[str, Sequence[str]], area: str
) -> Iterator[tuple[str, str]]:
    """Tests of an area that were not chosen, each under the first defect that it notices."""
    seen = {test for tests in picked.values() for test in tests}
    for defect in sorted(claims, key=lambda one: len(claims[one])):
        for function in dict.fromkeys(test.partition("[")[0] for test in claims[defect]):
            if area_of(function) == area and function not in seen:
                seen.add(function)
                yield defect, function


def driver_rows(work: Path, kernel: str | None) -> Iterator[Row]:
    """Rows of seeded faults of the real driver, with their ends on a sound mock."""
    with Runner(Mock(PLATFORM)) as sound:
        for fault, file, run in seeded.failures(work / "seeded", kernel):
            results = run.results if run else []
            result = next((one for one in results if one.outcome in (Outcome.FAIL, Outcome.ERROR)), None)
            if run is None or result is None:
                yield Row(fault, "driver", file, why=NOT_FAILED if run else "it ended the guest")
                continue
            row = written(Row(fault, "driver", result.test), run, result, work)
            yield replace(row, mock=sound.status(work / row.name)[0]) if row.name else row


def guest_rows(work: Path, kernel: str | None, budget: float, say: Callable[[Row], None]) -> list[Row]:
    """The rows with what their programs end with on the real driver: all without a fault, then each with its own.

    What is known already is not run again. With a ``budget`` of seconds, programs of seeded faults are then minimised.
    """
    rows = load(work)
    with seeded.Drivers(work / "seeded", kernel) as drivers:
        for step in (on_stock, on_fault):
            for index, row in enumerate(rows):
                if row.name and (row.guest if step is on_stock else row.failing) == NOT_RUN:
                    rows[index] = step(row, drivers, work)
                    say(rows[index])
                    save(work, rows)
        for index, row in enumerate(rows):
            if budget and row.place == "driver" and row.right and not row.least:
                rows[index] = least_in_guest(row, drivers, work, budget)
                say(rows[index])
                save(work, rows)
    return rows


def on_stock(row: Row, drivers: seeded.Drivers, work: Path) -> Row:
    """The row with what its program ends with on the real driver."""
    ended, said = drivers.on("").status(work / row.name)
    return replace(row, guest=ended, why=row.why or ("" if ended == 0 else f"(guest: {said})"))


def on_fault(row: Row, drivers: seeded.Drivers, work: Path) -> Row:
    """The row with what its program ends with on the driver with its fault."""
    ended, said = drivers.on(row.fault).status(work / row.name)
    return replace(row, failing=ended, why=row.why or ("" if ended == 1 else f"(fault: {said})"))


def least_in_guest(row: Row, drivers: seeded.Drivers, work: Path, budget: float) -> Row:
    """The row of a seeded fault, minimised."""
    run = seeded.kept(work / "seeded", row.fault, row.test)
    result = next(one for one in run.results if one.test == row.test and one.outcome in WRITTEN)
    return minimised(row, run, result, drivers.on(row.fault), drivers.on(""), work, budget)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| area | test | fault | with it | mock | guest | lines | minimised |",
        "|---|---|---|---|---|---|---|---|",
    ]
    failed = [row for row in rows if row.why != NOT_FAILED]
    for row in sorted(failed, key=lambda one: (area_of(one.test), one.place, one.test)):
        test = row.test.partition("::")[2].replace("|", "\\|")
        ends = [str(end) if end != NOT_RUN else "" for end in (row.failing, row.mock, row.guest)]
        why = textwrap.shorten(row.why.removeprefix(f"{row.test}: "), WIDTH)
        sizes = [str(row.lines), str(row.least or "")] if row.name else [why, ""]
        lines.append(f"| {' | '.join([area_of(row.test), f'`{test}`', f'`{row.fault}`', *ends, *sizes])} |")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """A line about all rows."""
    programs = [row for row in rows if row.name]
    areas = {area_of(row.test) for row in programs if row.right}
    return (
        f"{len(rows)} tests: {len(programs)} programs, {sum(row.right for row in programs)} right, "
        f"{len(areas)} areas, {len(rows) - len(programs)} without one"
    )


def main() -> int:
    """Returns 1 if a program does not show its fault, or shows it where it is not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.reproduce.table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("work", type=Path, metavar="WORK", help="folder of rows and programs")
    parser.add_argument("step", choices=("mock", "least", "driver", "guest", "print"))
    parser.add_argument("--minimise", action="store_true", help="minimise the programs, too")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_S, metavar="SECONDS", help="time to minimise one program"
    )
    parser.add_argument("--each", type=int, default=0, metavar="N", help="the first N tests of each defect")
    parser.add_argument("--kernel", metavar="NAME", help="one of svmcts kernel build (default: the newest)")
    parser.add_argument("defects", nargs="*", metavar="DEFECT", help="of mock (default: all)")
    options = parser.parse_args()
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    rows = load(work)
    if options.step in ("mock", "driver"):
        rows = [
            row
            for row in rows
            if row.place != options.step or (options.defects and row.fault not in options.defects)
        ]
        new = (
            mock_rows(work, options.defects, options.each)
            if options.step == "mock"
            else driver_rows(work, options.kernel)
        )
        for row in new:
            rows.append(row)
            save(work, rows)
            print(row, flush=True)
    elif options.step == "least":
        for index, row in enumerate(rows):
            if row.place == "mock" and row.right and not row.least:
                rows[index] = least(row, work, options.budget)
                save(work, rows)
                print(rows[index], flush=True)
    elif options.step == "guest":
        budget = options.budget if options.minimise else 0
        rows = guest_rows(work, options.kernel, budget, lambda row: print(row, flush=True))
    else:
        print(table(rows))
    print(summary(rows), file=sys.stderr if options.step == "print" else sys.stdout)
    return int(any(row.name and not row.right for row in rows))


if __name__ == "__main__":
    sys.exit(main())
