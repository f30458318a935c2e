# SPDX-License-Identifier: MIT
"""In a guest: loads one driver after another, and runs tests on each until one of them fails.

Orders come as JSON lines on the standard input, answers go to the standard output. All test modules are imported once;
the tests of each driver run in a copy of this process.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fixtures.plugin import affected, environment
from fixtures.plugin.case import CASE
from fixtures.plugin.environment import Environment
from sensitivity.modules import load, remove

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:xdist")
COLLECTED: set[str] = set()
TAINTED = Path("/proc/sys/kernel/tainted")


def say(**answer: object) -> None:
    """An answer to the host, by the descriptor that was the standard output before pytest took it."""
    os.write(ANSWERS, json.dumps(answer).encode() + b"\n")


def spread(items: Sequence[pytest.Item], rank: Callable[[pytest.Item], int]) -> list[pytest.Item]:
    """By rank, and among those of one rank the first case of each test before the second of any.

    One test with hundreds of cases would otherwise take the place of all others.
    """
    cases: Counter[str] = Counter()
    keys = {}
    for item in items:
        test = item.nodeid.partition("[")[0]
        keys[item.nodeid] = (rank(item), cases[test])
        cases[test] += 1
    return sorted(items, key=lambda item: keys[item.nodeid])


class Watch:
    """Selects the tests of an order, and answers as each begins and ends."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.outcome = "passed"
        self.why = ""

    def pytest_configure(self, config: pytest.Config) -> None:
        affected.set_ranks(config, self.order["ranks"])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        near = [item for item in items if affected.is_near(config, item.nodeid, item.stash[CASE].ids)]
        chosen = spread(near, lambda item: affected.place(config, item.nodeid, item.stash[CASE].ids))
        if not affected.ranks_of(config):
            chosen = list(items)
        if only := self.order.get("only"):
            chosen = [item for item in items if item.nodeid in only]
        items[:] = chosen[: self.order["first"]]
        say(selected=len(items), of=len(chosen))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        say(begins=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.outcome = "failed"
            lines = report.longreprtext.strip().splitlines() or [""]
            said = [line for line in lines if line.startswith("E  ")] or lines[-1:]
            self.why = said[0].removeprefix("E").strip()[:300]
        elif report.skipped and self.outcome == "passed":
            self.outcome = "known" if hasattr(report, "wasxfail") else "skipped"
        if report.when == "teardown":
            say(test=report.nodeid, outcome=self.outcome, why=self.why)
            self.outcome, self.why = "passed", ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """End after the tests: later output is for people."""
        try:
            return (yield)
        finally:
            os._exit(1 if session.testsfailed else 0)


def run(order: dict[str, Any]) -> int:
    """Run the tests of an order in this process; pytest's exit status."""
    environment.SOURCES[:] = [lambda _: [Environment.from_dict(order["environment"])]]
    options = [
        "-q",
        f"--results={order.get('results', '/tmp/results')}",
        "--seed",
        str(order["seed"]),
        *(["-x"] if order["stop"] else []),
    ]
    return int(pytest.main([*OPTIONS, *options, *order["files"]], plugins=[Watch(order)]))


def collect(files: list[str]) -> None:
    """Import test modules, once for all orders."""
    if new := [file for file in files if file not in COLLECTED]:
        pytest.main(["--collect-only", "-qq", *OPTIONS, *new])
        COLLECTED.update(new)
        gc.freeze()


def carry_out(order: dict[str, Any]) -> None:
    """One order: modules, then tests, in a process of their own."""
    began = time.monotonic()
    if order["modules"]:
        for step in (remove, load):
            say(step=step.__name__)
            try:
                step(order["modules"])
            except OSError as error:
                say(end=step.__name__, why=str(error), tainted=TAINTED.read_text().strip())
                return
    loaded = time.monotonic()
    collect(order["files"])
    child = os.fork()
    if not child:
        code = 3
        try:
            code = run(order)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    say(
        end="tests",
        code=code,
        tainted=TAINTED.read_text().strip(),
        reload=round(loaded - began, 2),
        tests=round(time.monotonic() - loaded, 2),
    )


def main() -> None:
    """Execute orders until there are no more."""
    say(ready=True)
    for line in sys.stdin:
        carry_out(json.loads(line))


if __name__ == "__main__":
    ANSWERS = os.dup(1)
    os.dup2(2, 1)
    main()
