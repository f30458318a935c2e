# SPDX-License-Identifier: MIT
"""A pytest plugin (``-p benchmarks.phases --phases FILE``) that writes where the time of each test goes."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.addoption("--phases", type=Path, metavar="FILE", help="write the time of each test's phases there")


def pytest_configure(config: pytest.Config) -> None:
    """Register, if there is a file to write to."""
    if path := config.getoption("--phases"):
        config.pluginmanager.register(_Phases(path))


class _Phases:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._tests: list[dict[str, float]] = []
        self._began = 0.0
        self._ended = 0.0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        start = time.perf_counter()
        self._began = self._began or start
        self._tests.append({})
        try:
            return (yield)
        finally:
            self._ended = time.perf_counter()
            self._tests[-1]["total"] = self._ended - start

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._tests[-1][report.when] = report.duration
        if report.skipped:
            self._tests[-1]["skipped"] = 1

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps({"tests": self._tests, "seconds": self._ended - self._began}))
