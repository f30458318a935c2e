# SPDX-License-Identifier: MIT
"""Failing tests over all areas as programs: ``python -m tests.reproduce.table [DEFECT ...]`` prints a table.

Each row is a test that a broken mock fails: whether its program compiled without a warning, what it ended with on the
broken mock (1 is right), on a sound one (0 is right), and its lines, before and after minimising.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.answers import NoAnswerError
from ioctl.compiler import find_compiler
from mock.defects import defects
from reports.stream import Run, area_of, read
from reproduce.cli import WRITTEN, course_of, words_of
from reproduce.minimise import minimised
from reproduce.program import program
from reproduce.trial import Mock, Runner, compiled, place_of
from tests.controls import claims as lists
from tests.controls.inventory import ROOT, environment

ROWS = 36
"""Rows at least, where no defect is named: one for each area first, then one for each defect."""


@dataclass(frozen=True)
class Row:
    """Result of one test."""

    defect: str
    test: str
    compiled: bool = False
    failing: int = -1
    sound: int = -1
    lines: int = 0
    least: int = 0
    why: str = ""

    @property
    def right(self) -> bool:
        """Whether the program shows the fault, and only where it is."""
        return (self.failing, self.sound) == (1, 0)

    def __str__(self) -> str:
        if not self.compiled:
            return f"{self.defect:20} {self.test}: none: {self.why}"
        sizes = f"{self.lines} lines" + (f", {self.least} minimised" if self.least else "")
        mark = "ok " if self.right else "BAD"
        return f"{mark} {self.defect:20} {self.test}: {self.failing} with it, {self.sound} without, {sizes} {self.why}"


def chosen(claims: Mapping[str, Sequence[str]], rows: int = ROWS) -> dict[str, list[str]]:
    """Defect to functions: each defect has one, and so has each area; areas that few defects touch come first."""
    picked: dict[str, list[str]] = {}
    areas: Counter[str] = Counter()
    all_areas = {area_of(test) for tests in claims.values() for test in tests}
    by_size = sorted(claims, key=lambda defect: len(claims[defect]))
    for round_ in range(len(all_areas)):
        for defect in by_size:
            if round_ and sum(map(len, picked.values())) >= rows and all_areas <= areas.keys():
                return picked
            left = [test for test in claims[defect] if test not in picked.get(defect, ())]
            if left:
                test = min(left, key=lambda one: (areas[area_of(one)], left.index(one)))
                if not round_ or not areas[area_of(test)]:
                    picked.setdefault(defect, []).append(test)
                    areas[area_of(test)] += 1
    return picked


def failures(defect: str, tests: Iterable[str], folder: Path, platform: str = "bmg2") -> Run:
    """Run tests under a defect."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "--seed", "7"),
            *(
                f"--platform={platform}",
                "--timeout=30",
                f"--mock-defect={defect}",
                f"--results={folder}",
                *tests,
            ),
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


def rows(defect: str, tests: Sequence[str], folder: Path, *, small: bool = False) -> Iterator[Row]:
    """A row for the first failure of each test function."""
    run = failures(defect, tests, folder / "run")
    compiler = find_compiler()
    done: set[str] = set()
    for number, result in enumerate(run.results):
        mock = place_of(result.replay)
        if result.outcome not in WRITTEN or result.function in done or not isinstance(mock, Mock):
            continue
        done.add(result.function)
        try:
            course, words = course_of(run, result), words_of(run, result)
            text = program(course, words, self_contained=True)
            binary = compiled(compiler, text, folder, f"repro{number}")
            with Runner(mock) as failing, Runner(mock.sound or mock) as sound:
                ended, said = failing.status(binary)
                passed, also = sound.status(binary)
            lines, least = text.count("\n"), 0
            why = "" if (ended, passed) == (1, 0) else f"({result.message[:80]} | {said} | {also})"
            if small and not why:
                fewer, _ = minimised(course, words, mock, compiler)
                least = program(fewer, words, self_contained=True).count("\n")
            yield Row(defect, result.test, True, ended, passed, lines, least, why)
        except NoAnswerError as error:
            yield Row(defect, result.test, why=str(error))
    for test in tests:
        if test.partition("[")[0] not in done:
            yield Row(defect, test, why="it did not fail here")


def main() -> int:
    """Returns 1 if a program does not show its fault, or shows it where it is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.reproduce.table", description=__doc__)
    parser.add_argument("--minimise", action="store_true", help="minimise each program, too")
    parser.add_argument(
        "--each", type=int, default=0, metavar="N", help="take the first N tests of each defect"
    )
    parser.add_argument("defects", nargs="*", metavar="DEFECT")
    options = parser.parse_args()
    claims = {name: lists.read(name).tests for name in defects()}
    names = options.defects or list(claims)
    wanted = {name: claims[name] for name in names}
    picked = {n: t[: options.each] for n, t in wanted.items()} if options.each else chosen(wanted)
    found: list[Row] = []
    for defect, tests in picked.items():
        with tempfile.TemporaryDirectory(prefix="svmcts-table-") as folder:
            for row in rows(defect, tests, Path(folder), small=options.minimise):
                found.append(row)
                print(row, flush=True)
    written = [row for row in found if row.compiled]
    areas = {area_of(row.test) for row in written if row.right}
    print(
        f"{len(found)} tests: {len(written)} programs, {sum(row.right for row in written)} right, "
        f"{len(areas)} areas, {len(found) - len(written)} without one"
    )
    return int(any(not row.right for row in written))


if __name__ == "__main__":
    sys.exit(main())
