# SPDX-License-Identifier: MIT
"""Complete runs that lack something: an environment, a capability, an act, a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.commands import gate
from tests.reports import golden_runs, streams
from tests.reports.conftest import called
from tests.reports.golden_runs import BMG, COLLECT, LNL, MIRROR, STORE

Events = list[dict[str, Any] | str]


def good(*but: tuple[str, str], more: Events | None = None, exit_status: int = 0) -> Events:
    environments = golden_runs.environments()
    rest = [*golden_runs.passing(*but), *(more or []), streams.end(exit=exit_status)]
    return [golden_runs.head(), *environments, *rest]


def without(env: str) -> Events:
    return [e for e in golden_runs.good() if isinstance(e, dict) and e.get("env") != env]


def environment(**fields: Any) -> Events:
    """The second environment describes itself differently."""
    events = good()
    event = events[2]
    assert isinstance(event, dict)
    return [*events[:2], {**event, **fields}, *events[3:]]


def bmg(test: str, outcome: str, **fields: Any) -> dict[str, Any]:
    return golden_runs.result(test, BMG, outcome, **fields)


def lacking(code: str) -> dict[str, Any]:
    reason = {"code": code, "text": "the probe says no"}
    return bmg(COLLECT, "NOT-CLAIMED", reason=reason)


ONE = (STORE, BMG)
NO_VRAM = {"vram": False, "atomic": True}
ROWS: list[tuple[str, Callable[[], Events], list[str], int, str]] = [
    ("whole", good, ["--complete"], 0, "accepted (9 PASS, 1 NOT-CLAIMED)"),
    (
        "an environment that did not start",
        lambda: without(BMG),
        [],
        1,
        f"environment {BMG} was asked for and did not start",
    ),
    (
        "an environment that was not asked for any more",
        lambda: [{**golden_runs.head(), "environments": [LNL]}, *without(BMG)[1:]],
        ["--baseline"],
        1,
        f"environment {BMG} of the baseline is missing",
    ),
    (
        "tests that were left out",
        lambda: good(ONE),
        [],
        0,
        f"not seen: {BMG}: 1 of 4 behaviours did not run (fault 1)",
    ),
    (
        "tests that were left out, all wanted",
        lambda: good(ONE),
        ["--complete"],
        1,
        f"{BMG}: 1 of 4 behaviours did not run (fault 1)",
    ),
    (
        "tests that were left out, against a baseline",
        lambda: good(ONE),
        ["--baseline"],
        1,
        f"{BMG}: 1 test judged in the baseline, but not here: the test is gone",
    ),
    (
        "tests that a lost capability skips",
        lambda: good((COLLECT, BMG), more=[lacking("NEEDS:vram")]),
        ["--baseline"],
        1,
        f"{BMG}: 1 test judged in the baseline, but not here: NOT-CLAIMED the probe says no",
    ),
    (
        "a capability that is required",
        lambda: good((COLLECT, BMG), more=[lacking("NEEDS:vram")]),
        ["--require", f"vram@{BMG}"],
        1,
        f"{BMG}: 1 test skipped for lack of vram",
    ),
    (
        "an environment without a required capability",
        lambda: environment(capabilities=NO_VRAM),
        ["--require", f"vram@{BMG}"],
        1,
        f"{BMG} has no vram",
    ),
    ("a requirement with a typing error", good, ["--require", "vran"], 1, "does not say whether it has vran"),
    (
        "a reduced environment",
        lambda: environment(reductions=["no fork-events: old kernel"]),
        [],
        0,
        f"not seen: {BMG}: reduced: no fork-events: old kernel",
    ),
    (
        "a reduced environment, all wanted",
        lambda: environment(reductions=["no fork-events: old kernel"]),
        ["--complete"],
        1,
        f"{BMG}: reduced: no fork-events: old kernel",
    ),
    (
        "a pass without its act",
        lambda: good(ONE, more=[bmg(STORE, "PASS", acts={})]),
        [],
        1,
        f"vacuous: {BMG} {STORE} did not do what it declares (store)",
    ),
    (
        "a pass whose act has the count 0",
        lambda: good(ONE, more=[bmg(STORE, "PASS", acts={"store": 0})]),
        [],
        1,
        f"vacuous: {BMG} {STORE}",
    ),
    (
        "a failure and a pass of one test",
        lambda: good(more=[bmg(MIRROR, "FAIL", message="expected EINVAL")], exit_status=1),
        [],
        1,
        f"FAIL {BMG} {MIRROR}: expected EINVAL",
    ),
    (
        "an unexpected pass",
        lambda: good(ONE, more=[bmg(STORE, "XPASS")], exit_status=1),
        [],
        1,
        f"unexpected pass: {BMG} {STORE}",
    ),
    (
        "a test that did not run",
        lambda: good(ONE, more=[bmg(STORE, "NOTRUN")]),
        [],
        1,
        f"{BMG}: 1 test did not run",
    ),
    (
        "a test that a dead worker ran",
        lambda: good(ONE, more=[golden_runs.start(STORE, BMG)]),
        [],
        1,
        f"ERROR {BMG} {STORE}: began and has no result",
    ),
    (
        "a status that no result explains",
        lambda: good(exit_status=1),
        [],
        1,
        "the run ended with exit status 1, and no result says why",
    ),
    (
        "a status that is none of pytest",
        lambda: good(exit_status=-9),
        [],
        1,
        "the run ended with exit status -9: not a status of pytest",
    ),
    (
        "an internal error behind the last result",
        lambda: good(exit_status=3),
        [],
        1,
        "the run ended with exit status 3: an internal error",
    ),
]


@pytest.mark.parametrize(("name", "events", "options", "status", "line"), ROWS, ids=[row[0] for row in ROWS])
def test_run_in_which_something_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    events: Callable[[], Events],
    options: list[str],
    status: int,
    line: str,
) -> None:
    monkeypatch.setattr(gate.Ledger, "load", golden_runs.ledger)
    run = streams.write(tmp_path / "results.jsonl", *events())
    baseline = [golden_runs.write("good", tmp_path)] if options == ["--baseline"] else []
    assert called(gate.main, run, *options, *baseline) == status, name
    assert line in capsys.readouterr().out
