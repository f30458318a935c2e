# SPDX-License-Identifier: MIT
"""Cost of a test and of a whole run."""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.sample import Group, Measure

ROOT = Path(__file__).resolve().parent.parent
_PLATFORM = "bmg"
_PR_SET_CHILD_SUBREAPER = 36


class RunError(Exception):
    """The suite did not run; the message is its last line of output."""


def tests(rounds: int, paths: list[str]) -> Iterator[Group]:
    """Tests in one process, without pytest-xdist, and where their time goes."""
    series: dict[str, list[list[float]]] = {}
    number = 0
    for _ in range(rounds):
        phases = _phases(paths)
        ran = [test for test in phases["tests"] if "call" in test]
        number = len(ran)
        milliseconds = {
            "a test, all in all": [1e3 * phases["seconds"] / len(phases["tests"])],
            "  its body": [1e3 * test["call"] for test in ran],
            "  its fixtures, set-up": [1e3 * test["setup"] for test in ran],
            "  its fixtures, tear-down": [1e3 * test["teardown"] for test in ran],
            "  pytest, plugin, results": [
                1e3 * (test["total"] - test["call"] - test["setup"] - test["teardown"]) for test in ran
            ],
        }
        for name, values in milliseconds.items():
            series.setdefault(name, []).append([sum(values) / len(values)])
        series.setdefault("tests in a second", []).append([len(phases["tests"]) / phases["seconds"]])
    yield Group(
        f"tests in one process (mock/{_PLATFORM}, {number} tests, means of each run)",
        [Measure(name, "1/s" if "second" in name else "ms", values) for name, values in series.items()],
    )


def _phases(paths: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        phases = Path(directory, "phases.json")
        command = [sys.executable, "-m", "pytest", "-p", "benchmarks.phases", f"--phases={phases}"]
        command += [f"--platform={_PLATFORM}", f"--results={directory}/reports", "-p", "no:cacheprovider"]
        run([*command, *paths])
        measured: dict[str, Any] = json.loads(phases.read_text())
        return measured


def conformance(rounds: int) -> Iterator[Group]:
    """``make conformance``, with the environment there already."""
    walls, first, processors = [], [], []
    tests_ = environments = 0
    _collect_orphans()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            before, start = processor_seconds(), time.monotonic()
            run([*_make(), f"ARGS=--results={directory}"])
            walls.append([time.monotonic() - start])
            processors.append([processor_seconds() - before])
            ran = events(Path(directory))
        tests_ = sum(event["event"] == "result" for event in ran)
        environments = sum(event["event"] == "environment" for event in ran)
        first.append([seconds_to_first(ran)])
    cpus = len(os.sched_getaffinity(0))
    yield Group(
        f"make conformance ({tests_} results in {environments} environments, {cpus} processors)",
        [
            Measure("from start to end", "s", walls),
            Measure("from pytest's start to the first test", "s", first),
            Measure("processor time, mocks included", "s", processors),
        ],
    )


def _make() -> list[str]:
    make = shutil.which("make")
    if make is None:
        raise RunError("there is no make to run")
    return [make, "-C", str(ROOT), "conformance"]


def events(directory: Path) -> list[dict[str, Any]]:
    """The stream of a run whose reports are in ``directory``."""
    return [json.loads(line) for line in Path(directory, "results.jsonl").read_text().splitlines()]


def seconds_to_first(events: list[dict[str, Any]]) -> float:
    """From the start of the run to that of its first test."""
    start = next(event["start"] for event in events if event["event"] == "run")
    first = next(event["time"] for event in events if event["event"] == "start")
    parse = datetime.datetime.fromisoformat
    return (parse(first) - parse(start)).total_seconds()


def run(command: list[str], changes: Mapping[str, str] | None = None, *, good: Container[int] = (0,)) -> None:
    """Raises RunError unless it ends with a good status. ``changes`` are to our environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment |= changes or {}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in good:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise RunError(f"{' '.join(command)}: status {done.returncode}: {said[-1] if said else 'no output'}")


def _collect_orphans() -> None:
    """Mocks are reparented on purpose; here this process adopts them, so that their time is counted."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def processor_seconds() -> float:
    """Processor time of all ended children, and of theirs."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if not pid:
            time.sleep(0.01)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
