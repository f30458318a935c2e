# SPDX-License-Identifier: MIT
"""Cost of commands on results, and how it grows with columns and tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import suite
from benchmarks.sample import Group, Measure
from reports.stream import STREAM

_SVMCTS = [sys.executable, str(suite.ROOT / "svmcts")]
_MIB = 1 << 20
_PAGE = "index.html"


@dataclass(frozen=True)
class Size:
    """The size of an invented run: its columns, and the tests of each."""

    columns: int
    tests: int


@dataclass(frozen=True)
class Cost:
    """The cost of one command, in seconds and bytes; ``written`` is the size of the page, if there is one.

    ``memory`` is never less than that of the process that started it, about 35 MiB.
    """

    wall: float
    processor: float
    memory: int
    written: int = 0


def measure(rounds: int, *, quick: bool) -> Iterator[Group]:
    """The large run against one of fewer columns and one of fewer tests, all in each round."""
    large = Size(4, 100) if quick else Size(20, 3000)
    fewer_columns = Size(large.columns // 4, large.tests)
    fewer_tests = Size(large.columns, large.tests // 4)
    sizes = (large, fewer_columns, fewer_tests)
    with tempfile.TemporaryDirectory() as directory:
        runs = {size: Path(directory, f"{size.columns}-{size.tests}") for size in sizes}
        for size, run in runs.items():
            _make(size, run)
        results = {size: _results(run) for size, run in runs.items()}
        costs: dict[tuple[Size, str], list[Cost]] = {}
        for _ in range(rounds):
            for size, run in runs.items():
                for name, cost in _commands(run):
                    costs.setdefault((size, name), []).append(cost)
    names = [name for size, name in costs if size == large]
    for small, why in ((fewer_columns, "columns"), (fewer_tests, "tests")):
        tests = results[large] // large.columns, results[small] // small.columns
        yield Group(
            f"reports: {large.columns} x {tests[0]} results, against {small.columns} x {tests[1]} (fewer {why})",
            [line for name in names for line in _lines(name, costs[large, name], costs[small, name])],
            (f"the large run has {results[large] / results[small]:.3g} times the results",),
        )


def _make(size: Size, folder: Path) -> None:
    """In a separate process: the maximum memory of a command is never less than that of its parent."""
    command = [sys.executable, "-m", "tests.reports.many", "-o", str(folder), "--together"]
    suite.run([*command, f"--columns={size.columns}", f"--tests={size.tests}"])


def _results(run: Path) -> int:
    with (run / STREAM).open() as lines:
        return sum('"event":"result"' in line for line in lines)


def _commands(run: Path) -> Iterator[tuple[str, Cost]]:
    with tempfile.TemporaryDirectory() as out:
        yield "gate", _cost(["gate", str(run)], good=(0, 1))
        yield "compare with itself", _cost(["compare", str(run), str(run)])
        yield "behaviours", _cost(["behaviours", "--results", str(run)])
        yield "report", _cost(["report", "-o", out, str(run)], page=Path(out, _PAGE))


def _cost(arguments: Sequence[str], *, good: Sequence[int] = (0,), page: Path | None = None) -> Cost:
    """Raises RunError when the command gives no answer."""
    with tempfile.TemporaryFile("w+") as said:
        start = time.monotonic()
        process = subprocess.Popen(
            [*_SVMCTS, *arguments], cwd=suite.ROOT, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in good:
            said.seek(0)
            last = said.read().strip().splitlines()[-1:] or ["no output"]
            raise suite.RunError(f"svmcts {arguments[0]}: status {process.returncode}: {last[0]}")
    written = page.stat().st_size if page else 0
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, written)


def _lines(name: str, large: Sequence[Cost], small: Sequence[Cost]) -> Iterator[Measure]:
    def line(title: str, unit: str, of: Callable[[Cost], float]) -> Measure:
        against = Measure(f"{title}, small", unit, [[of(cost)] for cost in small])
        return Measure(title, unit, [[of(cost)] for cost in large], against)

    yield line(name, "s", lambda cost: cost.wall)
    yield line(f"  {name}: processor time", "s", lambda cost: cost.processor)
    yield line(f"  {name}: memory", "MiB", lambda cost: cost.memory / _MIB)
    if all(cost.written for cost in large):
        yield line(f"  {name}: {_PAGE}", "MiB", lambda cost: cost.written / _MIB)
