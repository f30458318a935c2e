# SPDX-License-Identifier: MIT
"""Verdicts of cells, and what they add up to."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from reports.event import Outcome, worst
from reports.ledger import Ledger
from reports.stream import read
from reports.verdict import (
    CONFORMANCE,
    DRIVER,
    UNLISTED,
    Cell,
    Matrix,
    failures,
    is_regression,
    matrix,
    nobody_promises,
    tally,
)
from tests.reports import streams
from tests.reports.conftest import entry


def judge(tmp_path: Path, ledger: Ledger, *events: dict[str, Any]) -> Matrix:
    return matrix(read(streams.write(tmp_path / "r.jsonl", streams.run(), *events, streams.end())), ledger)


def cell(verdicts: Matrix, identifier: str, column: int = 0) -> Cell:
    (found,) = (
        row.cells[column] for _, _, rows in verdicts.areas for row in rows if row.behaviour.id == identifier
    )
    return found


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["PASS"], "PASS"),
        (["PASS", "NOT-CLAIMED"], "PASS"),
        (["NOT-CLAIMED"], "NOT-CLAIMED"),
        (["PASS", "KNOWN"], "KNOWN"),
        (["PASS", "UNTESTED"], "UNTESTED"),
        (["KNOWN", "UNTESTED"], "UNTESTED"),
        (["UNTESTED", "NOTRUN"], "NOTRUN"),
        (["NOTRUN", "XPASS"], "XPASS"),
        (["XPASS", "ERROR"], "ERROR"),
        (["ERROR", "FAIL", "PASS"], "FAIL"),
    ],
)
def test_a_cell_is_the_worst_of_its_tests_in_any_order(
    tmp_path: Path, ledger: Ledger, outcomes: list[str], verdict: str
) -> None:
    for order in permutations(outcomes):
        results = [
            streams.result(f"suites/bind/test_{n}.py::test", outcome, behaviours=["bind.one"])
            for n, outcome in enumerate(order)
        ]
        assert cell(judge(tmp_path, ledger, *results), "bind.one").outcome is Outcome(verdict)


def test_every_pair_of_outcomes_has_one_order() -> None:
    for one, other in permutations(Outcome, 2):
        assert worst([one, other]) is worst([other, one])


def test_cells_without_a_test_say_why(tmp_path: Path, ledger: Ledger) -> None:
    verdicts = judge(
        tmp_path,
        ledger,
        streams.environment("mock/lnl"),
        streams.environment("mock/bmg"),
        streams.result(behaviours=["bind.one"], env="mock/bmg"),
    )
    assert cell(verdicts, "bind.one", 0).outcome is Outcome.NOTRUN
    assert cell(verdicts, "bind.one", 1).outcome is Outcome.PASS
    assert cell(verdicts, "bind.two").outcome is Outcome.NOTRUN
    assert cell(verdicts, "fault.vram", 0).outcome is Outcome.NOT_CLAIMED
    assert cell(verdicts, "fault.vram", 0).why == "needs vram: config flag 0x1 is clear"
    assert cell(verdicts, "fault.vram", 1).outcome is Outcome.NOTRUN
    assert cell(verdicts, "fault.later").outcome is Outcome.UNTESTED
    assert cell(verdicts, "fault.later").why == "needs swap (planned: the swap suite)"
    assert cell(verdicts, "fault.inside").outcome is None
    assert "it is inside" in cell(verdicts, "fault.inside").why


@pytest.mark.parametrize(
    ("level", "claimed"),
    [("6.14", False), ("6.15", True), ("7.0", True), (None, True), ("next", True), ("6.15.3", True)],
)
def test_a_behaviour_newer_than_the_kernel_is_not_claimed(
    tmp_path: Path, ledger: Ledger, level: str | None, claimed: bool
) -> None:
    verdicts = judge(tmp_path, ledger, streams.environment(level=level))
    assert (cell(verdicts, "bind.one").outcome is not Outcome.NOT_CLAIMED) == claimed


def test_a_reason_does_not_hide_that_a_test_was_there(tmp_path: Path, ledger: Ledger) -> None:
    verdicts = judge(
        tmp_path,
        ledger,
        streams.environment("mock/bmg"),
        streams.result(behaviours=["fault.later"], env="guest/bmg"),
    )
    assert cell(verdicts, "fault.later", 0).outcome is Outcome.NOTRUN
    assert cell(verdicts, "fault.later", 1).outcome is Outcome.PASS


def test_scores_count_passed_of_claimed_of_all_and_no_model_only(tmp_path: Path, ledger: Ledger) -> None:
    verdicts = judge(
        tmp_path,
        ledger,
        streams.environment("mock/lnl"),
        streams.result(behaviours=["bind.one", "bind.three"], env="mock/lnl"),
        streams.result("suites/bind/test_b.py::test_b", "FAIL", behaviours=["bind.two"], env="mock/lnl"),
    )
    score = verdicts.score(0)
    assert (score.passed, score.claimed, score.total) == (2, 4, 5)
    assert (score.of("FAIL"), score.of("UNTESTED"), score.of("NOT-CLAIMED")) == (1, 1, 1)
    assert (verdicts.score(0, "bind").passed, verdicts.score(0, "bind").total) == (2, 3)


def test_score_by_promise(tmp_path: Path, ledger: Ledger) -> None:
    agreed, cut = entry("bind.agreed", promise="agreed"), entry("bind.cut", promise="driver")
    verdicts = judge(
        tmp_path,
        Ledger([*ledger.values(), agreed, cut], ledger.vocabulary, ledger.untested),
        streams.environment("mock/lnl"),
        streams.result(behaviours=["bind.one", "bind.agreed"], env="mock/lnl"),
        streams.result("suites/bind/test_b.py::test_b", "FAIL", behaviours=["bind.cut"], env="mock/lnl"),
    )
    conformance, driver = (verdicts.score(0, promises=words) for words in (CONFORMANCE, (DRIVER,)))
    assert (conformance.passed, conformance.total) == (2, verdicts.score(0).total - 1)
    assert (driver.passed, driver.claimed, driver.total) == (0, 1, 1)
    assert not conformance.of("FAIL")


@pytest.mark.parametrize(
    ("behaviours", "spared"),
    [
        (["bind.cut"], True),
        (["bind.cut", "bind.size"], True),
        (["bind.cut", "bind.one"], False),
        (["bind.cut", "bind.agreed"], False),
        (["bind.cut", "bind.unheard-of"], False),
        (["bind.one"], False),
        ([], False),
    ],
)
def test_what_nobody_promises(tmp_path: Path, ledger: Ledger, behaviours: list[str], spared: bool) -> None:
    more = [
        entry("bind.cut", promise="driver"),
        entry("bind.size", promise="driver"),
        entry("bind.agreed", promise="agreed"),
    ]
    both = Ledger([*ledger.values(), *more], ledger.vocabulary, [])
    (result,) = read(streams.write(tmp_path / "r.jsonl", streams.result(behaviours=behaviours))).results
    assert nobody_promises(result, both) is spared


def test_behaviours_apart_have_their_own_verdict(tmp_path: Path, ledger: Ledger) -> None:
    both = Ledger([*ledger.values(), entry("bind.cut", promise="driver")], ledger.vocabulary, [])
    failed = streams.result(outcome="FAIL", behaviours=["bind.one", "bind.cut"], apart={"bind.one": "PASS"})
    verdicts = judge(tmp_path, both, streams.environment(), failed)
    assert cell(verdicts, "bind.one").outcome is Outcome.PASS
    assert cell(verdicts, "bind.cut").outcome is Outcome.FAIL
    (result,) = cell(verdicts, "bind.cut").results
    assert nobody_promises(result, both)
    assert is_regression(result, both)
    assert verdicts.score(0, promises=CONFORMANCE).of("FAIL") == 0


@pytest.mark.parametrize(("others", "outcome"), [([], "UNTESTED"), (["PASS"], "PASS"), (["FAIL"], "FAIL")])
def test_what_was_not_drawn_spoils_nothing(
    tmp_path: Path, ledger: Ledger, others: list[str], outcome: str
) -> None:
    drawn = streams.result("a/b.py::t", behaviours=["bind.one", "bind.two"], apart={"bind.one": "UNTESTED"})
    results = [streams.result(f"a/{one}.py::t", one, behaviours=["bind.one"]) for one in others]
    verdicts = judge(tmp_path, ledger, streams.environment(), drawn, *results)
    assert cell(verdicts, "bind.one").outcome is Outcome(outcome)
    assert cell(verdicts, "bind.two").outcome is Outcome.PASS
    assert bool(cell(verdicts, "bind.one").why) is (not others)


@pytest.mark.parametrize(
    ("outcome", "vacuous", "regression"),
    [("FAIL", False, True), ("XPASS", False, True), ("ERROR", False, False), ("FAIL", True, False)],
)
def test_regression_of_the_driver_is_a_failure(
    tmp_path: Path, ledger: Ledger, outcome: str, vacuous: bool, regression: bool
) -> None:
    both = Ledger([*ledger.values(), entry("bind.cut", promise="driver")], ledger.vocabulary, [])
    event = streams.result(outcome=outcome, behaviours=["bind.cut"], vacuous=vacuous)
    (result,) = read(streams.write(tmp_path / "r.jsonl", event)).results
    assert is_regression(result, both) is regression


def test_ids_that_the_ledger_does_not_have_get_rows_of_their_own(tmp_path: Path, ledger: Ledger) -> None:
    verdicts = judge(
        tmp_path, ledger, streams.result("suites/x/test_x.py::t", "FAIL", behaviours=["x.unheard-of"])
    )
    assert verdicts.areas[-1][0] == UNLISTED
    assert cell(verdicts, "x.unheard-of").outcome is Outcome.FAIL


def test_results_that_name_no_behaviour_are_kept(tmp_path: Path, ledger: Ledger) -> None:
    verdicts = judge(tmp_path, ledger, streams.result("suites/x/test_x.py", "ERROR", behaviours=[]))
    assert [result.test for result in verdicts.loose] == ["suites/x/test_x.py"]


def test_equal_failures_are_one_entry_and_the_worst_come_first(tmp_path: Path) -> None:
    path = streams.write(
        tmp_path / "r.jsonl",
        streams.result("a", "XPASS", env="mock/lnl"),
        streams.result("b", "FAIL", env="mock/lnl", message="same"),
        streams.result("b", "FAIL", env="mock/bmg", message="same"),
        streams.result("b", "FAIL", env="mock/bmg2", message="another"),
        streams.result("c", "KNOWN", env="mock/lnl"),
    )
    groups = failures(read(path).results)
    assert [[(r.test, r.env) for r in group] for group in groups] == [
        [("b", "mock/lnl"), ("b", "mock/bmg")],
        [("b", "mock/bmg2")],
        [("a", "mock/lnl")],
    ]


def test_tests_are_counted_by_area_and_environment(tmp_path: Path) -> None:
    path = streams.write(
        tmp_path / "r.jsonl", streams.result(), streams.result("suites/vm/test_v.py::t", "FAIL")
    )
    counts = tally(read(path).results)
    assert counts["bind", "mock/bmg"][Outcome.PASS] == 1
    assert counts["vm", "mock/bmg"][Outcome.FAIL] == 1
