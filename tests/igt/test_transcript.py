# SPDX-License-Identifier: MIT
"""Parsing of an IGT program's output."""

from __future__ import annotations

import pytest

from guest.igt.transcript import Transcript


def read(text: str) -> Transcript:
    """A transcript of some lines."""
    transcript = Transcript()
    for line in text.splitlines():
        transcript.line(line)
    return transcript


@pytest.mark.parametrize(
    ("word", "outcome"),
    [("SUCCESS", "pass"), ("SKIP", "skip"), ("FAIL", "fail"), ("TIMEOUT", "timeout"), ("CRASH", "crash")],
)
def test_the_end_of_a_subtest_is_seen(word: str, outcome: str) -> None:
    transcript = read(f"Starting subtest: once-mmap\nSubtest once-mmap: {word} (0.123s)")
    assert transcript.ended == [("once-mmap", outcome)]
    assert transcript.current is None


def test_a_subtest_that_has_not_ended_is_current() -> None:
    transcript = read(
        "Starting subtest: first\nSubtest first: SUCCESS (0.1s)\nStarting subtest: second\nwords"
    )
    assert transcript.current == "second"


def test_dynamic_subtests_are_no_subtests() -> None:
    transcript = read(
        "Starting subtest: a\nStarting dynamic subtest: gt0\nDynamic subtest gt0: SUCCESS (0.0s)"
    )
    assert transcript.current == "a"
    assert not transcript.ended


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("Test requirement not met in function f, file x.c:1:\nTest requirement: gpu_count >= 2", "gpu_count >= 2"),
        ("noise\n(p:1) CRITICAL: Failed assertion: a == b\n(p:1) CRITICAL: error: 22 != 28", "a == b"),
        ("Received signal SIGSEGV.\nStack trace:", "Received signal SIGSEGV."),
        ("only\nthis", "this"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_best_line_says_why(lines: str, why: str) -> None:
    assert read(f"Starting subtest: a\n{lines}").why() == why


def test_a_failed_dynamic_subtest_is_named() -> None:
    said = read("Starting subtest: a\nFailed assertion: x\nDynamic subtest gt0-rcs0: FAIL (0.1s)").why()
    assert said == "gt0-rcs0: x"


def test_lines_of_the_subtest_before_are_forgotten() -> None:
    assert read("Failed assertion: old\nStarting subtest: a").why() == ""
