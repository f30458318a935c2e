# SPDX-License-Identifier: MIT
"""svmcts run: pytest with the suite's configuration, from any directory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from common.near import no_path
from common.place import ROOT, written

STATUS = (
    "exit status: 0 no FAIL, ERROR, XPASS or NOTRUN; 1 there is one; 2 interrupted; "
    "3 not written; 4 refused; 5 no test"
)
SUITES = "suites"
WHOLE = str(ROOT / SUITES)
EXPRESSIONS = ("-k", "-m")
"""Options whose value may be the word suites, but never a path."""


class Typed:
    """A plugin that keeps the arguments of ``svmcts run`` as typed, and gives pytest's usage and errors its name."""

    COMMAND = ("svmcts", "run")

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        """Called before pytest reads its command line."""
        parser.prog = " ".join(self.COMMAND)


def main(arguments: list[str]) -> int:
    """Exit status: pytest's."""
    paths = (Path(word.partition("::")[0]) for word, of_suite in _told_apart(arguments) if of_suite)
    if why := next((no_path(path, ROOT) for path in paths if not (ROOT / path).exists()), ""):
        # pytest would find no conftest.py, and complain about the suite's options.
        print(f"ERROR: {why}", file=sys.stderr)
        return int(pytest.ExitCode.USAGE_ERROR)
    status = int(pytest.main([*configuration(), *placed(arguments)], plugins=[Typed(arguments)]))
    if {"-h", "--help"} & set(arguments):
        print(f"\n{STATUS}")
    return status


def configuration() -> list[str]:
    """Options that make pytest use the suite's configuration in any directory."""
    cache = written() / ".pytest_cache"
    return [f"--rootdir={ROOT}", f"-c{ROOT / 'pytest.ini'}", "-o", f"cache_dir={cache}"]


def placed(words: Iterable[str]) -> Iterator[str]:
    """The command line with paths of tests (``suites/...``) made absolute, or with the whole suite if it names none.

    A test that does not exist counts, too: it is reported.
    """
    named = False
    for word, of_suite in _told_apart(words):
        path, colons, test = word.partition("::")
        if of_suite:
            path = str(ROOT / path)
        named |= Path(path).is_relative_to(ROOT)
        yield f"{path}{colons}{test}"
    if not named:
        yield WHOLE  # also with --resume, or pytest would not find the suite's conftest.py


def _told_apart(words: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each word, and whether it is a path of tests or a node id."""
    before = ""
    for word in words:
        yield word, Path(word.partition("::")[0]).parts[:1] == (SUITES,) and before not in EXPRESSIONS
        before = word
