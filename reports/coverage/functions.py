# SPDX-License-Identifier: MIT
"""The functions of the kernel that each test executes: recorded from a run on a kernel with gcov, for ``--affected``.

``functions.tsv`` has the tests with numbers, then each function with the numbers of its tests. What more than a quarter
of the tests execute tells nothing about a change, and is only named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

FILE = Path(__file__).with_name("functions.tsv")
COMMON = 4
"""A function is common if more than one test of this number executes it."""
_HEAD = "# Which functions of the kernel each test executes; written by svmcts coverage --write-map from "


def write(executed: Mapping[str, Iterable[str]], about: str, path: Path = FILE) -> str:
    """Record functions, each with the tests that executed it. Returns one line about it."""
    by_function = {name: {test.partition("[")[0] for test in tests} for name, tests in executed.items()}
    tests = sorted(set().union(*by_function.values()))
    number = {test: index for index, test in enumerate(tests)}
    lines = [f"{_HEAD}{about}", *tests, ""]
    for name, of in sorted(by_function.items()):
        common = len(of) * COMMON > len(tests)
        lines.append(f"{name}\t{'common' if common else _ranges(sorted(number[test] for test in of))}")
    path.write_text("\n".join([*lines, ""]))
    return f"{path}: {len(by_function)} functions, {len(tests)} tests"


def _ranges(numbers: list[int]) -> str:
    """``3-5,9``."""
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True))


@cache
def load(path: Path = FILE) -> Mapping[str, frozenset[str]]:
    """Function, ``file:name``, to the tests that execute it, without parameters; none for one that is common."""
    listed, _, rows = path.read_text().partition("\n\n")
    tests = listed.splitlines()[1:]
    found = {}
    for row in filter(None, rows.splitlines()):
        name, _, numbers = row.partition("\t")
        found[name] = (
            frozenset(tests[index] for index in _numbers(numbers)) if numbers != "common" else frozenset()
        )
    return found


def _numbers(text: str) -> Iterable[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
