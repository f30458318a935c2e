# SPDX-License-Identifier: MIT
"""``svmcts behaviours``, on the real ledger and the real suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.commands.behaviours import main
from reports.ledger import Ledger
from reports.marks import marks
from tests.reports import golden_runs
from tests.reports.conftest import called

LEDGER = Ledger.load()
TESTED = {mark.identifier for mark in marks()}


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert called(main, *arguments) == 0
    return capsys.readouterr().out


def test_every_behaviour_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys)
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert [line.split()[0] for line in heads[:-1]] == list(LEDGER)
    assert heads[-1].startswith(f"{len(LEDGER)} behaviours: ")


def test_untested_ones_are_those_without_a_test(capsys: pytest.CaptureFixture[str]) -> None:
    heads = [
        line for line in said(capsys, "--untested").splitlines()[:-1] if line and not line.startswith(" ")
    ]
    untested = [b.id for b in LEDGER.values() if b.kind != "model-only" and b.id not in TESTED]
    assert [line.split()[0] for line in heads] == untested


def test_a_single_one_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(said(capsys, "gc.flush-on-bind").split())
    behaviour = LEDGER["gc.flush-on-bind"]
    for part in (behaviour.statement, *behaviour.sources, f"since Linux {behaviour.since}", "suites/gc/"):
        assert part in text


def test_results_are_told_for_each_environment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(golden_runs.write("failing", tmp_path))
    text = said(capsys, "bind.cam.requires-fault-mode", "--results", path)
    assert "✗ fail mock/lnl: 1 result" in text
    text = said(capsys, "gc.async", "--results", path)
    assert "✓ pass mock/bmg: 1 result" in text
    assert "⊘ no claim mock/lnl: 1 result" in text
    assert "mock/bmg: 1 PASS" in text
    text = said(capsys, "bind.*", "--untested", "--results", path)
    assert "bind.cam.requires-fault-mode" not in text
    assert "… not run" in text


def test_a_name_that_nothing_has_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert called(main, "gc.asinc") == 2
    assert (
        capsys.readouterr().err
        == "svmcts behaviours: no behaviour is called gc.asinc (did you mean gc.async?)\n"
    )


def test_a_mark_knows_its_test(tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "test_a.py").write_text(
        "@behaviour('a.1')\ndef test_x(): ...\n"
        "class TestY:\n    @pytest.mark.behaviour('a.2')\n    def test_y(self): ...\n"
        "ROW = row(behaviour('a.3'))\n"
    )
    assert {mark.identifier: mark.test for mark in marks(suites)} == {
        "a.1": "suites/test_a.py::test_x",
        "a.2": "suites/test_a.py::TestY::test_y",
        "a.3": "suites/test_a.py:6",
    }


def test_a_summary_counts_each_area_by_promise(capsys: pytest.CaptureFixture[str]) -> None:
    head, *lines = said(capsys, "--summary").partition("\n\n")[0].splitlines()
    columns = [word for word in head.split() if word != "all"]
    numbers = {line.split()[0]: [int(word) for word in line.split()[-len(columns) - 1 :]] for line in lines}
    assert list(numbers) == [*LEDGER.vocabulary.areas, "all"]
    for area, counted in numbers.items():
        entries = [b for b in LEDGER.values() if area in ("all", b.area)]
        each = [sum(b.promise == word for b in entries) for word in columns]
        assert counted == [*each, len(entries)]


def test_a_summary_counts_tests_of_each_area(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(golden_runs.write("failing", tmp_path))
    table = said(capsys, "gc.*", "--summary", "--results", path).split("\n\n")[1]
    head, *lines = (line.split() for line in table.splitlines())
    assert head == ["tested", "untested", "unseen", "skipped", "seconds"]
    entries = [b for b in LEDGER.values() if b.id.startswith("gc.")]
    for line in lines:
        tested, untested, unseen, skipped, _ = map(int, line[-5:])
        assert tested + untested + unseen == len(entries)
        assert unseen == sum(b.kind == "model-only" for b in entries)
        assert skipped <= tested
    assert [line[0] for line in lines] == ["gc", "all"]


def test_a_summary_has_the_score_of_each_promise(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(golden_runs.write("failing", tmp_path))
    lines = said(capsys, "gc.async", "--summary", "--results", path).splitlines()
    promise = LEDGER["gc.async"].promise
    scores = {
        lines[at].partition(":")[0]: [line.split(maxsplit=1) for line in lines[at + 1 : at + 3]]
        for at, line in enumerate(lines)
        if line.endswith(": passed / claimed / all")
    }
    assert scores["mock/bmg"] == [[promise, "1 / 1 / 1"], ["together", "1 / 1 / 1"]]
    assert scores["mock/lnl"] == [[promise, "0 / 0 / 1"], ["together", "0 / 0 / 1"]]
