# SPDX-License-Identifier: MIT
"""The report."""

from __future__ import annotations

from guest.igt import table
from guest.igt.reasons import REASONS, reason_of
from guest.igt.results import Result

KNOWN = Result("xe_query", "query-cs-cycles", "skip", message="query_engine_cycles_supported(fd)")
RESULTS = [
    Result("xe_vm", "a", "pass"),
    Result("xe_vm", "b", "fail", message="x | y"),
    KNOWN,
]


def test_totals_have_a_line_for_each_program_and_the_sum() -> None:
    lines = table.totals(RESULTS)
    assert lines[0] == "| program | pass | fail | skip | timeout | crash | lost | all |"
    assert "| xe_vm | 1 | 1 |  |  |  |  | 2 |" in lines
    assert lines[-1] == "| **all** | 1 | 1 | 1 |  |  |  | 3 |"


def test_what_no_reason_explains_is_listed() -> None:
    assert table.unexplained(RESULTS) == [RESULTS[1]]
    report = table.markdown(RESULTS, "T")
    assert "- `xe_vm@b`: fail: x | y" in report
    assert "PF only" in report


def test_a_pass_with_a_checker_s_report_is_not_explained() -> None:
    assert table.unexplained([Result("xe_vm", "a", "pass", checks=["{}"])])


def test_a_reason_holds_for_its_outcome_and_message_only() -> None:
    assert reason_of(KNOWN) is not None
    assert reason_of(Result(KNOWN.program, KNOWN.subtest, "fail", message=KNOWN.message)) is None
    assert reason_of(Result(KNOWN.program, KNOWN.subtest, "skip", message="something else")) is None


def test_each_reason_says_something() -> None:
    assert all(reason.kind and reason.why and reason.message for reason in REASONS)
