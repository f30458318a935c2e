# SPDX-License-Identifier: MIT
"""``svmcts reproduce`` and what it says of input that it cannot use: one line and status 2."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from common.answers import NoAnswerError
from ioctl import xe
from ioctl.facts import digest
from reproduce import cli
from reproduce.programs import write_programs
from tests.reports import streams
from tests.reproduce.test_program import FAILED_LOAD

TEST = "suites/bind/test_a.py::test_x"


def stream(path: Path, *results: dict[str, Any], **head: Any) -> str:
    suite = {"version": "v", "git": "0" * 40, "header": digest(xe), **head}
    return str(
        streams.write(
            path / "results.jsonl",
            streams.run(suite=suite),
            streams.environment("mock/bmg"),
            *results,
            streams.end(),
        )
    )


def failed(test: str = TEST, **fields: Any) -> dict[str, Any]:
    outcome = fields.pop("outcome", "FAIL")
    return streams.result(
        test, outcome, "mock/bmg", **{"message": "seen 5, not 6", "steps": FAILED_LOAD, **fields}
    )


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that comes to no answer."""
    with pytest.raises(NoAnswerError) as error:
        cli.main(list(arguments))
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""
    return str(error.value)


def test_program_is_written_to_standard_output_or_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stream(tmp_path, failed())
    assert cli.main([run, TEST]) == 0
    text = capsys.readouterr().out
    assert text.startswith("// SPDX-License-Identifier: MIT\n/*\n * suites/bind/test_a.py::test_x\n")
    assert "Seen: seen 5, not 6 (mock/bmg" in text
    assert "bind.cam.requires-fault-mode" in text
    assert cli.main([run, TEST, "-o", str(tmp_path / "repro.c")]) == 0
    assert (tmp_path / "repro.c").read_text() == text


@pytest.mark.parametrize(
    ("results", "test", "says"),
    [
        ([failed(steps=None)], TEST, "the result has no steps"),
        ([streams.result(TEST, "PASS", "mock/bmg")], TEST, "did not fail: PASS in mock/bmg"),
        ([failed(f"{TEST}[a b-1]")], TEST, f"has parameters: '{TEST}[a b-1]'"),
        ([failed(f"{TEST}[a b-1]")], f"{TEST}[a", f"has parameters: '{TEST}[a b-1]'"),
        ([failed(f"{TEST}[a]")], f"{TEST}[b]", f"the run has no test {TEST}[b], but '{TEST}[a]'"),
        ([failed()], "suites/bind/test_a.py::test_y", "the run has no test suites/bind/test_a.py::test_y"),
        ([failed(steps={**FAILED_LOAD, "dropped": 3})], TEST, "the last 3 of 6 steps are missing"),
        ([failed(steps={**FAILED_LOAD, "format": 9})], TEST, "have format 9"),
    ],
)
def test_bad_input_is_one_line(
    results: list[dict[str, Any]], test: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in said(capsys, stream(tmp_path, *results), test)


def test_run_with_another_header_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stream(tmp_path, failed(), header="sha256 0")
    assert "another uAPI header (sha256 0, here sha256 " in said(capsys, run, TEST)


def test_test_that_failed_in_two_environments_has_to_be_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = copy.deepcopy(failed()) | {"env": "mock/lnl"}
    run = stream(tmp_path, streams.environment("mock/lnl"), failed(), other)
    assert "choose one with --env" in said(capsys, run, TEST)
    assert "--env mock/pvc: the run has mock/bmg, mock/lnl" in said(capsys, run, TEST, "--env", "mock/pvc")
    assert cli.main([run, TEST, "--env", "mock/lnl"]) == 0


def test_run_cut_in_the_test_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path(stream(tmp_path, failed())).read_text().splitlines(keepends=True)
    (tmp_path / "results.jsonl").write_text("".join([*whole[:2], whole[2][:200]]))
    line = said(capsys, str(tmp_path / "results.jsonl"), TEST)
    assert "stops in the middle" in line


def test_run_that_ended_in_the_test_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stream has a line when a test begins: the test of a cut line is known, its steps are not."""
    result = failed()
    start = {"event": "start", "env": result["env"], "test": TEST, "time": "2026-11-21T05:40:00+00:00"}
    whole = Path(stream(tmp_path, start, result)).read_text().splitlines(keepends=True)
    for rest, says in ((whole[3][:200], "line 4: stops in the middle"), ("", "did not finish")):
        (tmp_path / "results.jsonl").write_text("".join([*whole[:3], rest]))
        line = said(capsys, str(tmp_path / "results.jsonl"), TEST)
        assert line.startswith(f"{TEST}: its steps are not whole: ")
        assert says in line


def test_each_failure_of_a_run_gets_a_program_or_a_reason(tmp_path: Path) -> None:
    results = [failed(f"{TEST}[{parameters}]") for parameters in ("a b/1", "a b-1")]
    run = stream(
        tmp_path, *results, failed(f"{TEST}[2]", steps=None), streams.result(TEST, "PASS", "mock/bmg")
    )
    text = write_programs(Path(run), tmp_path / "programs")
    names = {path.name for path in (tmp_path / "programs").iterdir()}
    assert names == {"test_a-test_x-a-b-1-mock-bmg.c", "test_a-test_x-a-b-1-mock-bmg-2.c"}
    assert f"none: {TEST}[2]: the result has no steps" in text
    assert "2 of 3 failures in " in text
    (tmp_path / "file").touch()
    assert "Not a directory" in write_programs(Path(run), tmp_path / "file" / "x")


def test_minimising_what_failed_on_hardware_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stream(tmp_path, failed(replay="pytest --backend driver --seed 1 x"))
    assert "is neither a mock nor a guest" in said(capsys, run, TEST, "--minimise")


def test_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stream(tmp_path, failed())
    assert "No such file or directory" in said(capsys, run, TEST, "-o", str(tmp_path / "no" / "x.c"))
