# SPDX-License-Identifier: MIT
"""The options of every command, as argparse has them: for shell completion and for the manual."""

from __future__ import annotations

import argparse
import importlib
import runpy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

from common.place import ROOT
from common.run import configuration


class _Found(BaseException):
    """Raised when a command reads its arguments; no command catches it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def commands() -> dict[str, tuple[str, str]]:
    """Name to module and purpose: the table of ``svmcts``."""
    table: dict[str, tuple[str, str]] = runpy.run_path(str(ROOT / "svmcts"))["COMMANDS"]
    return table


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, in the order of ``svmcts --help``; ``guest kernels`` has its own."""
    found = {}
    for name, (module, _) in commands().items():
        if name == "run":
            found[name] = _of_pytest()
            continue
        main = importlib.import_module(module).main
        found[name] = _of(main, [])
        if name == "guest":
            found[f"{name} kernels"] = _of(main, ["kernels"])
    return found


def _of(main: Callable[[list[str]], int], arguments: list[str]) -> argparse.ArgumentParser:
    """The parser of a command, which the command creates and uses before anything else."""
    with _not_parsing():
        try:
            main(arguments)
        except _Found as found:
            return found.parser
    raise AssertionError(f"{main.__module__} does not read its arguments")


@contextmanager
def _not_parsing() -> Iterator[None]:
    def found(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        raise _Found(parser)

    kept = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = found  # type: ignore[assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = kept  # type: ignore[method-assign]


class _Options:
    """A plugin that ends pytest when all options are known."""

    def __init__(self) -> None:
        self.parsers: list[argparse.ArgumentParser] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        self.parsers.append(config._parser.optparser)
        return 0


def _of_pytest() -> argparse.ArgumentParser:
    options = _Options()
    # Collecting is not a run: it leaves no trace.
    pytest.main([*configuration(), "--collect-only", "-q"], plugins=[options])
    (parser,) = options.parsers
    parser.prog = "svmcts run"
    return parser
