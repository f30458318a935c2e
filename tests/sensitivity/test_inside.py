# SPDX-License-Identifier: MIT
"""The program that carries out orders in a guest, here on the mock: selection, answers, a process for each order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.kernels import DEFAULT_KERNEL
from common.place import ROOT
from fixtures.plugin.environment import Environment
from sensitivity.inside import spread

ARGUMENTS = "suites/negative/test_madvise.py"
BEHAVIOUR, LATER = "madvise.pref.policy", "madvise.atomic.val"


class Inside:
    """The program, until the test is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "SVMCTS"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sensitivity.inside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=kept,
            text=True,
        )
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline()) == {"ready": True}

    def order(self, files: list[str], defect: str | None = None, **more: Any) -> list[dict[str, Any]]:
        """All answers to an order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order: Mapping[str, Any] = {
            **{"modules": {}, "ranks": {}, "files": files, "first": 100, "stop": True, "seed": 1},
            **{
                "environment": Environment(
                    "mock/bmg", "mock", "bmg", level=DEFAULT_KERNEL, defect=defect
                ).to_dict()
            },
            **{"results": str(self.folder / "results"), **more},
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answers = []
        for line in self._process.stdout:
            answers.append(json.loads(line))
            if "end" in answers[-1]:
                break
        return answers

    def end(self) -> None:
        """No more orders."""
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """One program for all orders, as in a campaign."""
    program = Inside(tmp_path_factory.mktemp("inside"))
    yield program
    program.end()


def outcomes(answers: list[dict[str, Any]]) -> dict[str, str]:
    return {answer["test"]: answer["outcome"] for answer in answers if "test" in answer}


def test_each_order_has_a_process_and_an_environment_of_its_own(inside: Inside) -> None:
    """A defect makes the first test fail, and the order ends with it; the next order does not know of it."""
    broken = inside.order([ARGUMENTS], defect="refusals-succeed")
    assert [*outcomes(broken).values()].count("failed") == 1
    failed = broken[-2]
    assert failed["outcome"] == "failed"
    assert failed["why"]
    assert (broken[-1]["end"], broken[-1]["code"]) == ("tests", 1)
    sound = inside.order([ARGUMENTS], only=[failed["test"]], first=1)
    assert outcomes(sound) == {failed["test"]: "passed"}
    assert sound[-1]["code"] == 0


def test_cases_of_one_test_do_not_displace_other_tests() -> None:
    items = [SimpleNamespace(nodeid=name) for name in ("c[1]", "a[1]", "a[2]", "a[3]", "b", "d[1]", "d[2]")]
    ranks = {"a": -1, "b": -1, "c": 2, "d": -1}
    chosen = spread(items, lambda item: ranks[item.nodeid.partition("[")[0]])
    assert [item.nodeid for item in chosen] == ["a[1]", "b", "d[1]", "a[2]", "d[2]", "a[3]", "c[1]"]


def test_only_tests_of_ranked_behaviours_run_best_rank_first(inside: Inside) -> None:
    selected, *_ = answers = inside.order([ARGUMENTS], ranks={LATER: 2, BEHAVIOUR: 0})
    ran = list(outcomes(answers))
    assert selected == {"selected": len(ran), "of": len(ran)}
    assert all("policy" in test for test in ran[:1])
    assert any("atomic.val" in test for test in ran[1:])
    every, *_ = inside.order([ARGUMENTS], first=0)
    assert every["selected"] == 0
    assert every["of"] > len(ran) >= 2


def test_test_that_is_ranked_itself_is_selected(inside: Inside) -> None:
    (first, *_) = outcomes(inside.order([ARGUMENTS], first=1))
    named = first.partition("[")[0]
    answers = inside.order([ARGUMENTS], ranks={named: 1})
    assert {test.partition("[")[0] for test in outcomes(answers)} == {named}


def test_begin_is_said_before_the_result(inside: Inside) -> None:
    answers = inside.order([ARGUMENTS], first=2)
    for at, answer in enumerate(answers):
        if "test" in answer:
            assert answers[at - 1] == {"begins": answer["test"]}


def test_modules_that_cannot_be_removed_end_the_order(inside: Inside) -> None:
    answers = inside.order([ARGUMENTS], modules={"no_such_module": "/nowhere.ko"})
    assert [answer.get("step") for answer in answers] == ["remove", None]
    assert answers[-1]["end"] == "remove"
    assert "remove no_such_module" in answers[-1]["why"]
    assert not outcomes(answers)
