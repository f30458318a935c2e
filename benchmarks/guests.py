# SPDX-License-Identifier: MIT
"""Cost of guests: start, faults and migration inside, and the suite, with one guest and with two."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import inside, memory, suite
from benchmarks.sample import Group, Measure
from guest import kernels

_ONE_TEST = "suites/vm/test_create.py"
_RIG = [sys.executable, str(suite.ROOT / "svmcts"), "guest"]


def measure(kernel: str, rounds: int, scale: float, *, quick: bool) -> Iterator[Group]:
    """Groups for a guest with ``kernel``. ``scale`` is a part of the usual number of times."""
    _rig(kernel, "--", "true")  # fetched and prepared once
    yield _starts(kernel, rounds)
    yield _inside(kernel, rounds, scale)
    if not quick:
        yield _suites(kernel)


@dataclass(frozen=True)
class _Run:
    """Duration of a run in seconds: wall time, and processor time including QEMU and the emulated GPU."""

    wall: float
    processor: float

    @classmethod
    def of(
        cls, command: Sequence[str], environment: Mapping[str, str], *, good: Container[int] = (0,)
    ) -> _Run:
        before, start = suite.processor_seconds(), time.monotonic()
        suite.run([*command], environment, good=good)
        return cls(time.monotonic() - start, suite.processor_seconds() - before)


def _rig(kernel: str, *arguments: str, **environment: str) -> _Run:
    return _Run.of([*_RIG, "--kernel", kernel, *arguments], environment)


def _suite(kernel: str, *arguments: str) -> tuple[list[dict[str, Any]], _Run]:
    """The events of the suite in guests, and what it took."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "pytest", "--guest", kernel, f"--results={directory}"]
        took = _Run.of([*command, "-p", "no:cacheprovider", *arguments], {}, good=(0, 1))  # 1: a test failed
        return suite.events(Path(directory)), took


def _lines(name: str, runs: Sequence[_Run]) -> list[Measure]:
    return [
        Measure(name, "s", [[run.wall] for run in runs]),
        Measure("  processor time", "s", [[run.processor] for run in runs]),
    ]


def _starts(kernel: str, rounds: int) -> Group:
    warm, cold, one, first, patched, verdict = [], [], [], [], [], []
    module = _driver(kernel)
    for _ in range(rounds):
        warm.append(_rig(kernel, "--", "true"))
        cold.append(_rig(kernel, "--", "true", SVMCTS_WARM="0"))
        events, took = _suite(kernel, _ONE_TEST, "-k", "fault")
        one.append(took)
        first.append([suite.seconds_to_first(events)])
        events, took = _suite(kernel, _ONE_TEST, "-k", "fault", f"--module={module}")
        patched.append(took)
        verdict.append([suite.seconds_to_first(events)])
    return Group(
        f"starts of a guest with Linux {kernel}",
        [
            *_lines("true, in a copy of a machine that has booted", warm),
            *_lines("true, in a machine that boots", cold),
            *_lines("pytest --guest with some tests", one),
            Measure("  from its start to the first test", "s", first),
            *_lines("pytest --guest --module=xe.ko with the same tests", patched),
            Measure(
                "  from its start to the first test",
                "s",
                verdict,
                Measure("the kernel's own module", "s", first),
            ),
        ],
    )


def _driver(kernel: str) -> Path:
    """The kernel's own driver as a file, in place of a patched one."""
    (module,) = (module.path for module in kernels.provide(kernel).driver if module.name == "xe")
    if module is None:
        raise suite.RunError(f"{kernel}: its xe.ko is compressed")
    return module


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
    one, alone = _suite(kernel, "-n", "1")
    two, both = _suite(kernel, "-n", "2")
    counts = [sum(event["event"] == "result" for event in events) for events in (one, two)]
    return Group(
        f"the suite in guests with Linux {kernel} ({counts[0]} results)",
        [*_lines("in one guest", [alone]), *_lines("in two guests at once", [both])],
        () if counts[0] == counts[1] else (f"two guests at once gave {counts[1]} results",),
    )
