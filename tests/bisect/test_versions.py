# SPDX-License-Identifier: MIT
"""The search through kernels, with invented kernels and runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reports.bisect import versions
from reports.bisect.judge import Judgement, Verdict

TEST = "suites/vm/test_destroy.py::test_vm_can_be_destroyed_only_once"
KERNELS = ["6.17.13", "6.18.5", "6.18.15", "6.19.14", "7.0.13", "7.2.12", "7.3.4"]
WORKS, FAILS = Judgement(Verdict.WORKS), Judgement(Verdict.FAILS, "EINVAL: DRM_IOCTL_XE_MADVISE")

Bisect = Callable[..., int]


class World:
    """Behaviour of each kernel; ``FAILS`` and ``WORKS``, or a list of runs in order."""

    def __init__(self) -> None:
        self.kernels: dict[str, Judgement | list[Judgement]] = {}
        self.calls: list[tuple[str, list[str]]] = []
        self.stop_at = ""

    def call(self, arguments: list[str], folder: Path, timeout_s: float) -> Judgement:
        kernel = arguments[arguments.index("--guest") + 1]
        if kernel == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append((kernel, arguments))
        answer = self.kernels[kernel]
        return answer.pop(0) if isinstance(answer, list) else answer

    @property
    def tried(self) -> list[str]:
        return list(dict.fromkeys(kernel for kernel, _ in self.calls))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(versions, "kernels", lambda: KERNELS)
    monkeypatch.setattr(versions, "the_one", lambda test: test)
    monkeypatch.setattr(versions, "call_pytest", made.call)
    return made


@pytest.fixture
def bisect(tmp_path: Path) -> Bisect:
    return lambda *options: versions.main(["--test", TEST, "--output", str(tmp_path / "out"), *options])


def broken_from(first: str) -> dict[str, Judgement | list[Judgement]]:
    at = KERNELS.index(first)
    return {kernel: FAILS if index >= at else WORKS for index, kernel in enumerate(KERNELS)}


def test_the_first_bad_kernel_is_found(
    world: World, bisect: Bisect, capsys: pytest.CaptureFixture[str]
) -> None:
    world.kernels = broken_from("7.0.13")
    assert bisect("--good", "6.17", "--bad", "7.3") == 0
    assert "**7.0.13 is the first bad kernel**, 6.19.14 the last good one." in capsys.readouterr().out
    assert len(world.tried) < len(KERNELS)
    assert not any("--any-kernel" in arguments for _, arguments in world.calls)


def test_one_kernel_is_not_called_kernels(
    world: World, bisect: Bisect, capsys: pytest.CaptureFixture[str]
) -> None:
    world.kernels = broken_from("7.2.12")
    assert bisect("--good", "6.17", "--bad", "7.3") == 0
    said = capsys.readouterr().err
    assert "bisect: 5 kernels left, about 3 steps\n" in said
    assert "bisect: 1 kernel left, about 1 step\n" in said


def test_the_first_good_kernel_is_found(
    world: World, bisect: Bisect, capsys: pytest.CaptureFixture[str]
) -> None:
    at = KERNELS.index("6.18.15")
    world.kernels = {kernel: WORKS if index >= at else FAILS for index, kernel in enumerate(KERNELS)}
    terms = ("--term-old", "broken", "--term-new", "working")
    assert bisect("--good", "7.3.4", "--bad", "6.17.13", *terms, "--gpus", "2") == 0
    assert "**6.18.15 is the first working kernel**, 6.18.5 the last broken one." in capsys.readouterr().out
    for _, arguments in world.calls:
        assert "--any-kernel" in arguments
        assert arguments[arguments.index("--gpus") + 1] == "2"


def test_a_kernel_that_fails_otherwise_is_stepped_around(
    world: World, bisect: Bisect, capsys: pytest.CaptureFixture[str]
) -> None:
    world.kernels = broken_from("6.19.14") | {"6.19.14": Judgement(Verdict.FAILS, "the guest was lost")}
    assert bisect("--good", "6.17", "--bad", "7.3") == 1
    out = capsys.readouterr().out
    assert "one of **6.19.14, 7.0.13**: 6.18.15 is the last good one, and 6.19.14 cannot tell" in out
    assert "fails differently: the guest was lost" in out


def test_a_flaky_failure_is_repeated(world: World, bisect: Bisect) -> None:
    world.kernels = broken_from("7.2.12")
    world.kernels["7.3.4"] = [WORKS, FAILS] * 10
    world.kernels["7.2.12"] = [WORKS, WORKS, FAILS]
    assert bisect("--good", "6.17", "--bad", "7.3") == 0
    runs = [kernel for kernel, _ in world.calls]
    assert runs.count("7.3.4") == 20
    assert runs.count("7.2.12") == 3
    assert runs.count("6.17.13") > 5


def test_a_search_goes_on_where_it_was(
    world: World, bisect: Bisect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.kernels = broken_from("7.0.13")
    world.stop_at = "6.19.14"
    assert bisect("--good", "6.17", "--bad", "7.3") == 130
    assert "the same command continues from here" in capsys.readouterr().err
    before = world.tried
    world.stop_at, world.calls = "", []
    with (tmp_path / "out/log.jsonl").open("a") as log:
        log.write('{"event": "step", "ker')  # a power failure
    assert bisect("--good", "6.17", "--bad", "7.3") == 0
    assert not set(before) & set(world.tried)
    assert "first bad kernel" in (tmp_path / "out/report.md").read_text()
    assert all(json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines())


def test_another_question_does_not_go_on_there(
    world: World, bisect: Bisect, capsys: pytest.CaptureFixture[str]
) -> None:
    world.kernels = broken_from("7.0.13")
    bisect("--good", "6.17", "--bad", "7.3")
    assert bisect("--good", "6.18", "--bad", "7.3") == 2
    assert (
        "has a search with good 6.17.13, this one has 6.18.15: remove the folder" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "line", ["[]", "{}", "no json", '{"event": "step", "kernel": "7.3.4"}', '{"event": "failure", "x": 1}']
)
def test_a_log_of_something_else_is_refused_in_one_line(
    line: str, bisect: Bisect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/log.jsonl").write_text(line + "\n")
    assert bisect("--good", "6.17", "--bad", "7.3") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "log.jsonl is not the log of a search, or of another version" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--good", "5.4", "--bad", "7.3"), "no kernel 5.4: there are 6.17.13, "),
        (("--good", "7.3", "--bad", "7.3.4"), "--good and --bad are both 7.3.4"),
        (("--good", "6.17", "--bad", "7.0"), "7.0.13 was given as bad: the test did not fail in 20 runs"),
        (("--good", "7.2", "--bad", "7.3"), "7.2.12 was given as good: EINVAL"),
    ],
)
def test_questions_without_an_answer(
    world: World, bisect: Bisect, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    world.kernels = broken_from("7.2.12")
    assert bisect(*options) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("svmcts bisect: "))
    assert message in line
