# SPDX-License-Identifier: MIT
"""All conformance tests, with their declarations.

    python -m tests.controls.inventory FILE

collects suites/ as pytest does, and writes the tests to a file: marks and names of cases are known only then. ``load``
runs that in a separate process.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Test:
    """One case of a conformance test."""

    __test__ = False

    id: str
    """Node id: file::function, or file::function[case]."""
    acts: frozenset[str]
    """Its @acts."""
    behaviours: tuple[str, ...]
    """Its @behaviour ids."""
    source: str
    """Text of the function."""

    @property
    def function(self) -> str:
        """The id without the case."""
        return self.id.partition("[")[0]

    @property
    def file(self) -> str:
        """Location of the test."""
        return self.id.partition("::")[0]

    @property
    def subjects(self) -> frozenset[str]:
        """Areas of its behaviours: their ids up to the first dot."""
        return frozenset(behaviour.partition(".")[0] for behaviour in self.behaviours)


def environment() -> dict[str, str]:
    """Environment of a pytest that is independent of the one that may have started it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


@functools.cache
def load() -> tuple[Test, ...]:
    """All conformance tests, in the order of collection. Raises RuntimeError with the output of pytest."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "inventory.json")
        done = subprocess.run(
            [sys.executable, "-m", __name__, path],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"the suite cannot be collected:\n{done.stdout}{done.stderr}")
        found = json.loads(path.read_text())
    return tuple(
        Test(test["id"], frozenset(test["acts"]), tuple(test["behaviours"]), test["source"]) for test in found
    )


class _Collector:
    def __init__(self) -> None:
        self.tests: list[dict[str, Any]] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.tests = [
            {
                "id": item.nodeid,
                "acts": _words(item, "acts"),
                "behaviours": _words(item, "behaviour"),
                "source": inspect.getsource(item.function),
            }
            for item in session.items
            if isinstance(item, pytest.Function)
        ]


def _words(item: pytest.Item, mark: str) -> list[str]:
    return [word for found in item.iter_markers(mark) for word in found.args]


def main() -> int:
    """Collect, and write the tests to the file of the command line. Returns pytest's exit status."""
    collector = _Collector()
    status = pytest.main(
        ["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:allure_pytest", str(ROOT / "suites")],
        plugins=[collector],
    )
    Path(sys.argv[1]).write_text(json.dumps(collector.tests))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
