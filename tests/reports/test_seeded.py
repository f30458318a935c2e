# SPDX-License-Identifier: MIT
"""Recorded results of seeded faults, and the line that reports have of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.answers import NoAnswerError
from reports import seeded
from reports.ledger import Ledger
from reports.merge import merge
from reports.page import page
from reports.seeded import Row
from reports.stream import read
from reports.summary import summary
from reports.verdict import matrix
from tests.reports import streams

FOUND = Row("a", "1 GPU", "found", "suites/a/test_a.py::test_one[a]", 3, "7.3.4", "abc")
MISSED = Row("b", "1 GPU", "missed", "", 60, "7.3.4", "abc")


def test_rows_are_read_as_they_were_written(recorded: Path) -> None:
    seeded.write([MISSED, FOUND])
    assert seeded.read() == [FOUND, MISSED]
    assert recorded.read_text().count("\n") == 3


def test_row_replaces_that_of_its_fault_and_machine() -> None:
    later = Row("b", "1 GPU", "found", "t", 1, "7.3.4", "def")
    other = Row("a", "2 GPUs", "missed", "", 9, "7.3.4", "def")
    seeded.write([FOUND, MISSED])
    seeded.write([later, other])
    assert seeded.read() == [FOUND, other, later]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its first line is not"),
        ("a\tb\n", "its first line is not"),
        (f"{seeded.HEAD}\na\t1 GPU\n", ":2: not a result"),
        (f"{seeded.HEAD}\na\t1 GPU\tmaybe\t\t1\t7\tabc\n", ":2: not a result"),
        (f"{seeded.HEAD}\na\t1 GPU\tfound\t\tmany\t7\tabc\n", ":2: not a result"),
    ],
    ids=["empty", "head", "short", "verdict", "number"],
)
def test_file_that_is_damaged_is_no_answer(recorded: Path, text: str, why: str) -> None:
    recorded.write_text(text)
    with pytest.raises(NoAnswerError, match=why):
        seeded.read()


def test_fault_that_one_machine_shows_is_found() -> None:
    rows = [MISSED, Row("b", "2 GPUs", "found", "t", 1, "7.0.13", "abc"), FOUND]
    assert seeded.line(rows) == "sensitivity: 2 of 2 seeded faults found, recorded on 7.0.13, 7.3.4"
    assert seeded.line([FOUND, MISSED]) == "sensitivity: 1 of 2 seeded faults found, recorded on 7.3.4"


@pytest.mark.parametrize("rows", [[], [FOUND, MISSED]], ids=["none", "some"])
def test_summary_and_page_have_the_line_if_results_are_recorded(
    tmp_path: Path, ledger: Ledger, rows: list[Row]
) -> None:
    seeded.write(rows)
    path = streams.write(
        tmp_path / "r.jsonl", streams.run(), streams.environment(), streams.result(), streams.end()
    )
    run = read(path)
    report = merge([run])
    text = summary(run, matrix(run, ledger), [])
    html = page(report, matrix(report, ledger), ledger)
    said = "sensitivity: 1 of 2 seeded faults found, recorded on 7.3.4"
    assert (said in text, said in html) == (bool(rows), bool(rows))
