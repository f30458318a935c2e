# SPDX-License-Identifier: MIT
"""One run and its judgement: invented streams, and pytest on the mock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.answers import NoAnswerError
from reports.bisect.judge import AmbiguousError, Judgement, Verdict, against, judge
from reports.bisect.trial import Failure, call_pytest, learn, rounds, the_one
from reports.stream import read
from tests.reports import streams

TEST = "suites/vm/test_destroy.py::test_vm_can_be_destroyed_only_once"
WORKS, FAILS = Judgement(Verdict.WORKS), Judgement(Verdict.FAILS, "the CPU sees 0x12, not 0x34")


def judged(tmp_path: Path, *results: dict[str, Any]) -> Judgement:
    path = tmp_path / "results.jsonl"
    events = [streams.run(), streams.environment(), *results, streams.end()]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return judge(read(path))


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        ("PASS", Verdict.WORKS),
        ("XPASS", Verdict.WORKS),
        ("FAIL", Verdict.FAILS),
        ("KNOWN", Verdict.FAILS),
        ("ERROR", Verdict.FAILS),
        ("NOT-CLAIMED", Verdict.CANNOT_TELL),
        ("UNTESTED", Verdict.CANNOT_TELL),
        ("NOTRUN", Verdict.CANNOT_TELL),
    ],
)
def test_outcomes(tmp_path: Path, outcome: str, verdict: Verdict) -> None:
    assert judged(tmp_path, streams.result(outcome=outcome, message="no")).verdict is verdict


def test_a_run_without_a_result_cannot_tell(tmp_path: Path) -> None:
    assert judged(tmp_path).verdict is Verdict.CANNOT_TELL


def test_two_tests_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(AmbiguousError, match="names 2 tests"):
        judged(tmp_path, streams.result("suites/a.py::a"), streams.result("suites/a.py::b"))


def test_the_same_failure_with_other_numbers_is_the_same() -> None:
    assert against(FAILS, "the CPU sees 0x99, not 0x1") == FAILS


def test_another_failure_cannot_tell() -> None:
    assert against(FAILS, "EINVAL: DRM_IOCTL_XE_VM_BIND") == Judgement(
        Verdict.CANNOT_TELL, "fails differently: the CPU sees 0x12, not 0x34"
    )


class Script:
    """Runs with the given results; the last one repeats."""

    def __init__(self, *judgements: Judgement) -> None:
        self.judgements = list(judgements)
        self.runs = 0

    def __call__(self, folder: Path) -> Judgement:
        self.runs += 1
        return self.judgements.pop(0) if len(self.judgements) > 1 else self.judgements[0]


def test_three_failures_are_enough_to_learn(tmp_path: Path) -> None:
    failure = learn(Script(FAILS), tmp_path, lambda _: None)
    assert failure == Failure(FAILS.why, 3, 3)
    assert failure.needed == 1


def test_a_flaky_failure_is_measured(tmp_path: Path) -> None:
    script = Script(*[WORKS, WORKS, FAILS] * 6, WORKS)
    failure = learn(script, tmp_path, lambda _: None)
    assert (failure.failures, failure.runs) == (6, 20)
    assert failure.needed > 10


def test_the_failure_that_comes_most_often_is_the_one(tmp_path: Path) -> None:
    other = Judgement(Verdict.FAILS, "the guest was lost")
    failure = learn(Script(other, *[FAILS] * 30), tmp_path, lambda _: None)
    assert (failure.why, failure.failures, failure.runs) == (FAILS.why, 19, 20)


@pytest.mark.parametrize(
    ("judgement", "message"),
    [(WORKS, "did not fail in 20 runs"), (Judgement(Verdict.CANNOT_TELL, "no kernel"), "no kernel")],
)
def test_nothing_to_learn(tmp_path: Path, judgement: Judgement, message: str) -> None:
    with pytest.raises(NoAnswerError, match=message):
        learn(Script(judgement), tmp_path, lambda _: None)


def test_a_kernel_is_good_after_all_the_passes_and_bad_at_once(tmp_path: Path) -> None:
    flaky = Failure(FAILS.why, 10, 20)
    good = Script(WORKS)
    assert rounds(good, tmp_path, flaky) == (WORKS, flaky.needed)
    assert good.runs == flaky.needed > 1
    assert rounds(Script(WORKS, FAILS), tmp_path, flaky) == (FAILS, 2)


def test_pytest_is_asked_which_test_is_meant() -> None:
    assert the_one(TEST) == TEST
    with pytest.raises(NoAnswerError, match=r"names [0-9]+ tests: give one of them, such as 'suites/vm"):
        the_one("suites/vm/test_destroy.py")
    with pytest.raises(NoAnswerError, match="no such test"):
        the_one("suites/vm/test_destroy.py::test_nothing")


def test_pytest_is_run_for_real(tmp_path: Path) -> None:
    assert call_pytest(["--platform", "bmg", TEST], tmp_path / "1", 60) == WORKS
    broken = call_pytest(["--platform", "bmg", "--mock-defect", "ioctls-succeed", TEST], tmp_path / "2", 60)
    assert broken.verdict is Verdict.FAILS
    assert broken.why


def test_a_run_that_takes_too_long_cannot_tell(tmp_path: Path) -> None:
    judgement = call_pytest(["--platform", "bmg", TEST], tmp_path, 0.05)
    assert judgement == Judgement(Verdict.CANNOT_TELL, "took longer than 0 s")


def test_a_run_that_does_not_begin_says_why(tmp_path: Path) -> None:
    judgement = call_pytest(["--platform", "amd", TEST], tmp_path, 60)
    assert judgement.verdict is Verdict.CANNOT_TELL
    assert "no platform 'amd': there are" in judgement.why
