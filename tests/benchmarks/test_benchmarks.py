# SPDX-License-Identifier: MIT
"""The benchmarks run and print their results. Durations are not tested."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import guests, inside, memory, table
from benchmarks.sample import Group, Measure, Spread
from benchmarks.subject import Subject, SubjectError, timed

# Python 3.12 warns of fork in a process with threads, as that of a pytest-xdist worker is.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_everything_quick_can_be_measured_and_is_kept(tmp_path: Path) -> None:
    done = run("--quick", f"--out={tmp_path}")
    if "no mock:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.json")
    kept = json.loads(file.read_text())
    assert kept["quick"]
    measures = [measure for group in kept["groups"] for measure in group["measures"]]
    assert all(0 < measure["min"] <= measure["median"] <= measure["max"] for measure in measures)
    for name in ("SET_MASTER", "2 MiB", "pytest, plugin, results", "report: index.html"):
        assert any(name in measure["name"] for measure in measures), name
    for measure in measures:
        assert measure["name"] in done.stdout


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    done = run("nonsense", f"--out={tmp_path}")
    assert done.returncode == 2
    assert "nonsense is not one of" in done.stderr


def test_ratios_are_taken_round_by_round() -> None:
    """In each round the machine is equally slow for both."""
    plain = Measure("plain", "us", [[1.0, 1.0], [10.0, 10.0]])
    ours = Measure("ours", "us", [[3.0, 3.0], [20.0, 20.0]], plain)
    assert ours.ratio == Spread(median=2.5, min=2.0, max=3.0, count=2)
    assert ours.spread == Spread(median=11.5, min=3.0, max=20.0, count=4)
    assert "x 2.50 (2.00 to 3.00)" in "\n".join(table.lines(Group("both", [plain, ours])))


def test_a_subject_that_fails_says_why() -> None:
    def make() -> dict:
        raise OSError("no such thing")

    with pytest.raises(SubjectError, match="no such thing"):
        Subject(make)


def test_a_subject_measures_in_a_process_of_its_own() -> None:
    subject = Subject(lambda: {"nothing": timed("nothing", lambda: None)})
    try:
        assert subject.operations == ["nothing"]
        assert len(subject.run("nothing", 7)["nothing"]) == 7
        with pytest.raises(SubjectError, match="KeyError"):
            subject.run("something", 1)
    finally:
        subject.close()


def test_guests_are_measured_from_outside_and_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rig runs nothing."""
    events = [
        {"event": "run", "start": "2026-01-01T00:00:00+00:00"},
        {"event": "start", "time": "2026-01-01T00:00:07+00:00"},
        {"event": "result"},
    ]

    took = guests._Run(9.0, 4.0)

    def rig(_: str, *arguments: str, **__: str) -> guests._Run:
        if "benchmarks.inside" in arguments:
            file = Path(arguments[arguments.index("benchmarks.inside") + 1])
            names = [inside.MMIO, *(line.name for line in memory.measures(Everything()))]
            file.write_text(json.dumps({name: [[5.0]] for name in names}))
        return took

    monkeypatch.setattr(guests, "_rig", rig)

    def run(_: str, *arguments: str) -> tuple[list[dict[str, str]], guests._Run]:
        late = "9" if "--module=/cache/xe.ko" in arguments else "7"
        return [
            {**event, **({"time": f"2026-01-01T00:00:0{late}+00:00"} if "time" in event else {})}
            for event in events
        ], took

    monkeypatch.setattr(guests, "_suite", run)
    monkeypatch.setattr(guests, "_driver", lambda _: Path("/cache/xe.ko"))
    groups = list(guests.measure("7.3", 2, 1.0, quick=False))
    text = "\n".join(line for group in groups for line in table.lines(group))
    text = re.sub(" +", " ", text)
    for said in (
        "a machine that boots",
        "to the first test 7.00",
        "to the first test 9.00",
        "1.29",  # baseline: the start with the kernel's own module
        "processor time 4.00",
        inside.MMIO,
        "two guests at once",
        "(1 results)",
    ):
        assert said in text


class Everything(dict):
    """Has a series by any name."""

    def __missing__(self, _: str) -> list[list[float]]:
        return [[1.0]]
