# SPDX-License-Identifier: MIT
"""The stream of results."""

from __future__ import annotations

from pathlib import Path

from guest.igt import results
from guest.igt.results import Result, Subtest, forget_line, start_line


def test_the_last_result_of_a_subtest_counts(tmp_path: Path) -> None:
    stream = tmp_path / "s"
    stream.write_text(Result("p", "a", "fail").line() + Result("p", "a", "pass", 0.5).line())
    assert results.read(stream) == {Subtest("p", "a"): Result("p", "a", "pass", 0.5)}


def test_what_was_cut_off_is_skipped(tmp_path: Path) -> None:
    stream = tmp_path / "s"
    stream.write_text(
        Result("p", "a", "pass").line() + start_line("p", "b")[:10] + "\n" + start_line("p", "c")
    )
    assert list(results.read(stream)) == [Subtest("p", "a")]
    assert results.unfinished(stream) == Subtest("p", "c")


def test_a_forgotten_result_is_none(tmp_path: Path) -> None:
    stream = tmp_path / "s"
    stream.write_text(Result("p", "a", "pass").line() + forget_line("p", "a"))
    assert results.read(stream) == {}


def test_what_has_a_result_is_finished(tmp_path: Path) -> None:
    stream = tmp_path / "s"
    stream.write_text(start_line("p", "a") + Result("p", "a", "pass").line())
    assert results.unfinished(stream) is None
    stream.write_text(start_line("p", "a") + Result("p", "a", "pass").line() + start_line("p", "a"))
    assert results.unfinished(stream) == Subtest("p", "a")


def test_a_stream_need_not_exist(tmp_path: Path) -> None:
    assert results.read(tmp_path / "none") == {}
