# SPDX-License-Identifier: MIT
"""Keys of results, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensitivity import cli
from sensitivity.campaign import Result, Store
from sensitivity.catalogue import Fault
from sensitivity.source import Edit

FAULT = Fault("a", "t", (Edit("x.c", "f", "a", "b"),), ("a.b",), "tests")
EXCEPTED = Fault("b", "t", (Edit("x.c", "f", "a", "b"),), ("a.b",), "tests", excepted="equivalent")


@pytest.mark.parametrize(
    ("file", "same"),
    [
        ("suites/a/test_a.py", False),
        ("guest/run.py", False),
        ("sensitivity/campaign.py", False),
        ("sensitivity/README.md", True),
        ("reports/marks.py", True),
    ],
)
def test_results_are_of_the_code_that_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, same: bool
) -> None:
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text("a")
    before = cli._suite()
    path.write_text("b")
    assert (cli._suite() == before) is same


@pytest.mark.parametrize(
    ("faults", "results", "status"),
    [
        ([FAULT], [Result("a", "found")], 0),
        ([FAULT], [Result("a", "missed")], 1),
        ([FAULT], [Result("a", "no-answer")], 2),
        ([FAULT], [Result("a", "found", by="without a control")], 2),
        ([FAULT], [], 2),
        ([FAULT, EXCEPTED], [Result("a", "found"), Result("b", "missed")], 0),
    ],
    ids=["found", "missed", "no-answer", "no-control", "not-run", "excepted"],
)
def test_status(tmp_path: Path, faults: list[Fault], results: list[Result], status: int) -> None:
    store = Store(tmp_path / "r")
    for result in results:
        store.add(result)
    assert cli._status(faults, store) == status
