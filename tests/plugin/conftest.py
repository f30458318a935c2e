# SPDX-License-Identifier: MIT
"""pytest inside pytest: a small project with the real plugin, and a backend that has no device."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

VOCABULARY = """
areas: {demo: "Demonstration"}
kinds: {must: has to}
promises: {promised: says it, driver: does it}
needs: {vram: a device with memory of its own}
observable: {errno: return value}
"""

LEDGER = """
- id: demo.works
  title: it works
  kind: must
  promise: driver
  statement: A thing that is asked to work works.
  sources: ["drivers/demo.c:demo"]
  since: '6.8'
  observable: [errno]
- id: demo.promised
  title: it is said to work
  kind: must
  promise: promised
  promised_by:
    - at: include/uapi/drm/demo.h:1
      words: A thing that is asked to work works.
  statement: A thing works, whatever does it.
  sources: ["drivers/demo.c:demo"]
  since: '6.8'
  observable: [errno]
- id: demo.newer
  title: it works since later
  kind: must
  promise: driver
  statement: A younger thing works, too.
  sources: ["drivers/demo.c:demo"]
  since: '7.2'
  observable: [errno]
"""

PLUGINS: tuple[str, ...] = runpy.run_path(str(ROOT / "conftest.py"))["pytest_plugins"]

# Processes started in the project have neither node nor driver.
STUB = """
import pytest
from fixtures.plugin import backend, runner
from fixtures.plugin.backend import Backend, UnusableError
from fixtures.plugin.capabilities import Capabilities
from fixtures.plugin.expectations import Expectation, of_mock

patch = pytest.MonkeyPatch()

def start(environment):
    if environment.platform == "broken":
        raise UnusableError("the stub is broken on purpose")
    expected = Expectation()
    if environment.platform == "described":
        has = {"vram": "1 MiB of VRAM", "root": "as root", "fork-events": "as every stub"}
        expected = Expectation(has, {"thp": "no huge pages", "swap": "no disk"})
    return Backend(["/dev/null"], environment.level, {"fork-events": "the stub cannot"}, expected)

def probe(nodes, reductions):
    device = {"path": nodes[0], "pci_id": "8086:0000", "revision": 0, "vram": 0, "tiles": 1, "va_bits": 48}
    absent = {"vram": "the stub has none", "swap": "the stub has none", **reductions}
    return Capabilities(absent, frozenset(reductions)), [device]

patch.setitem(backend.STARTERS, "mock", start)
patch.setattr(runner, "probe", probe)
patch.setattr(of_mock, "refusal", lambda platform, *_: "no such mock" if platform == "unknown" else "")

def pytest_unconfigure():
    patch.undo()
"""

INI = (ROOT / "pytest.ini").read_text()


class Project:
    """The project under test."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        (self.path / "behaviours").mkdir()
        (self.path / "behaviours" / "vocabulary.yaml").write_text(VOCABULARY)
        (self.path / "behaviours" / "demo.yaml").write_text(LEDGER)
        (self.path / "behaviours" / "untested.yaml").write_text("[]\n")
        (self.path / "conftest.py").write_text(f"pytest_plugins = {(*PLUGINS, 'stub')!r}\n")
        (self.path / "stub.py").write_text(STUB)
        (self.path / "pytest.ini").write_text(INI)

    def suite(self, code: str, name: str = "suites/demo/test_demo.py") -> None:
        """Write a suite; the names that every suite imports are there."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "import errno, os, time\nimport pytest\n"
            "from fixtures import acts, behaviour, needs, refused, untested\n"
            f"from fixtures.counting import count\n{code}"
        )

    def run(self, *arguments: str) -> pytest.RunResult:
        """Pytest in this process."""
        return self.pytester.runpytest_inprocess("--seed", "7", *arguments)

    def run_apart(self, *arguments: str, timeout: float = 60) -> pytest.RunResult:
        """Pytest in a separate process: for workers, and for tests that end processes."""
        return self.pytester.run(sys.executable, "-m", "pytest", "--seed", "7", *arguments, timeout=timeout)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The events of the stream that was written."""
        lines = (self.path / "reports" / "out" / "results.jsonl").read_text().split("\n")[:-1]
        events = [json.loads(line) for line in lines]
        return [event for event in events if kind in (None, event["event"])]

    def results(self) -> dict[str, dict[str, Any]]:
        """The results, by environment and name of the test: ``mock/bmg test_x``."""
        return {f"{e['env']} {e['test'].partition('::')[2]}": e for e in self.events("result")}

    def outcomes(self) -> dict[str, str]:
        """The outcomes, by environment and name of the test."""
        return {name: event["outcome"] for name, event in self.results().items()}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the plugin and no suite yet."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return Project(pytester)


@pytest.fixture
def outcomes_of(project: Project) -> Callable[..., dict[str, str]]:
    """``outcomes_of(code, *arguments)``: write a suite, run it, and give the outcomes."""

    def run(code: str, *arguments: str) -> dict[str, str]:
        project.suite(code)
        project.run(*arguments)
        return project.outcomes()

    return run
