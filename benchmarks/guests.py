# SPDX-License-Identifier: MIT
"""What guests cost: to start, to fault and migrate in, to run the suite in, alone and two at a time."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import inside, memory, suite
from benchmarks.sample import Group, Measure

_ONE_TEST = "suites/vm/test_create.py"
_RIG = [sys.executable, str(suite.ROOT / "svmcts"), "guest"]


def measure(kernel: str, rounds: int, scale: float, *, quick: bool) -> Iterator[Group]:
    """Groups for a guest with ``kernel``. ``scale`` is a part of the usual number of times."""
    _rig(kernel, "--", "true")  # what is fetched and prepared once
    yield _starts(kernel, rounds)
    yield _inside(kernel, rounds, scale)
    if not quick:
        yield _suites(kernel)


def _rig(kernel: str, *arguments: str, **environment: str) -> None:
    suite.run([*_RIG, "--kernel", kernel, *arguments], environment)


def _starts(kernel: str, rounds: int) -> Group:
    ready, cold, first, last = [], [], [], []
    for _ in range(rounds):
        ready.append([_seconds(kernel)])
        cold.append([_seconds(kernel, SVMCTS_WARM="0")])
        events, wall = _suite(kernel, _ONE_TEST, "-k", "fault")
        first.append([suite.seconds_to_first(events)])
        last.append([wall])
    return Group(
        f"starts of a guest with Linux {kernel}",
        [
            Measure("a command in a copy of a machine that has booted", "s", ready),
            Measure("a command in a machine that boots", "s", cold),
            Measure("from pytest's start to the first test", "s", first),
            Measure(f"pytest {_ONE_TEST} -k fault, all in all", "s", last),
        ],
    )


def _seconds(kernel: str, **environment: str) -> float:
    start = time.monotonic()
    _rig(kernel, "--", "true", **environment)
    return time.monotonic() - start


def _inside(kernel: str, rounds: int, scale: float) -> Group:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "series.json")
        command = [sys.executable, "-m", "benchmarks.inside", str(file)]
        limits = ["--rounds", str(rounds), "--scale", str(scale)]
        _rig(kernel, "--scratch", scratch, "--", *command, *limits)
        series = json.loads(file.read_text())
    register = Measure(inside.MMIO, "us", series[inside.MMIO])
    return Group(
        f"in a guest with Linux {kernel}: its driver, an emulated GPU", [register, *memory.measures(series)]
    )


def _suites(kernel: str) -> Group:
    one, wall = _suite(kernel, "-n", "1")
    two, both = _suite(kernel, "-n", "2")
    results = [sum(event["event"] == "result" for event in events) for events in (one, two)]
    return Group(
        f"the suite in guests with Linux {kernel} ({results[0]} results)",
        [
            Measure("in one guest, from start to end", "s", [[wall]]),
            Measure("in two guests at once", "s", [[both]]),
        ],
        () if results[0] == results[1] else (f"two guests at once gave {results[1]} results",),
    )


def _suite(kernel: str, *arguments: str) -> tuple[list[dict[str, Any]], float]:
    """The events of a run in guests, and how many seconds it took."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "pytest", "--guest", kernel, f"--results={directory}"]
        start = time.monotonic()
        suite.run([*command, "-p", "no:cacheprovider", *arguments], good=(0, 1))  # 1: a test failed
        wall = time.monotonic() - start
        return suite.events(Path(directory)), wall
