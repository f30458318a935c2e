# SPDX-License-Identifier: MIT
"""Mails about failing tests have the form of the driver's list, and of regressions if a search knows the kernel."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from common.answers import NoAnswerError
from reports.event import FINDING
from reproduce import bisected, cli
from reproduce.bisected import Change, introduced
from tests.reproduce.test_cli import TEST, failed, stream


def mailed(capsys: pytest.CaptureFixture[str], run: str, *options: str) -> tuple[dict[str, str], str]:
    """Header fields and body of the mail about the one failure of a run."""
    assert cli.main([run, TEST, "--mail", *options]) == 0
    head, _, body = capsys.readouterr().out.partition("\n\n")
    return dict(line.split(": ", 1) for line in head.splitlines()), body


def search(
    folder: Path, name: str, question: Mapping[str, str], steps: Mapping[str, str], *, over: bool = True
) -> Path:
    """A search of svmcts bisect."""
    place = folder / name
    place.mkdir(parents=True)
    events: list[dict[str, Any]] = [{"event": "question", "options": [], "test": TEST, **question}]
    events += [
        {"event": "step", "kernel": kernel, "verdict": verdict, "why": "", "runs": 1}
        for kernel, verdict in steps.items()
    ]
    (place / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if over:
        (place / "report.md").write_text("# report\n")
    return place


ENDS = {"good": "6.18.15", "bad": "7.3.4"}
STEPS = {"7.3.4": "fails", "6.18.15": "works", "7.0.13": "fails", "6.19.14": "works"}


def test_mail_says_what_is_expected_where_and_how_it_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields, body = mailed(
        capsys,
        stream(tmp_path, failed(kernel_log="[0.9] svmcts: test a::b\n[1.0] xe: odd\n[1.1] xe: odder")),
        "--runs",
        "0",
    )
    assert fields["To"] == "intel-xe@lists.freedesktop.org"
    assert fields["Subject"].startswith("[BUG] drm/xe: ")
    assert "Cc" not in fields
    assert "How often" not in body
    assert "First bad" not in body
    assert "svmcts: test" not in body
    assert "#regzbot" not in body
    assert "(mock/bmg, a mock of the driver)" in " ".join(body.split())
    for part in (
        "Kernel:",
        "Device:",
        "bind.cam.requires-fault-mode",
        "xe: odder",
        "--seed 20831",
        "int main(",
    ):
        assert part in body


@pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")
def test_mail_has_the_measured_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The program of this failure needs no device: it fails in each run on the mock."""
    _, body = mailed(capsys, stream(tmp_path, failed()))
    assert "How often:  20 of 20 runs of the program on the mock show it." in body
    _, body = mailed(capsys, stream(tmp_path, failed()), "--runs", "3")
    assert "How often:  3 of 3 runs of the program on the mock show it." in body


@pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")
def test_rate_that_cannot_be_measured_has_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stream(tmp_path, failed(replay="pytest --backend driver --seed 1 x"))
    _, body = mailed(capsys, run)
    assert "How often:  not measured: mock/bmg is neither a mock nor a guest" in body
    _, body = mailed(
        capsys, stream(tmp_path, failed(replay="pytest --platform nix --seed 1 x")), "--runs", "1"
    )
    assert "How often:  not measured: " in body
    assert "nix" in body.partition("How often:")[2].partition("\n")[0]


@pytest.mark.parametrize("options", [("--runs", "3"), ("--mail", "--runs", "-1")])
def test_runs_are_of_a_mail(options: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match="--runs is a number of runs for --mail"):
        cli.main([stream(tmp_path, failed()), TEST, *options])


def test_known_failure_has_its_finding_as_subject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = failed(outcome="KNOWN", reason={"code": "KNOWN", "text": f"{FINDING}A thing is lost"})
    fields, _ = mailed(capsys, stream(tmp_path, known), "--runs", "0")
    assert fields["Subject"] == "[BUG] drm/xe: A thing is lost"


def test_expression_of_a_test_is_no_subject(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stream(tmp_path, failed(message="assert seen(vm) == 5: 6 == 5"))
    fields, body = mailed(capsys, run, "--runs", "0")
    assert fields["Subject"] == "[BUG] drm/xe: CPU address mirror bind needs a fault-mode VM"
    assert "\nSeen: assert seen(vm) == 5: 6 == 5\n" in body


def test_behaviour_of_the_shared_layers_goes_to_their_list_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stream(tmp_path, failed(behaviours=["migrate.data-preserved"]))
    fields, _ = mailed(capsys, run, "--runs", "0")
    assert fields["Cc"] == "dri-devel@lists.freedesktop.org"


def test_first_bad_kernel_of_a_search_is_a_regression(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bisected, "written", lambda: tmp_path)
    search(tmp_path / "reports/out/bisect", "x", ENDS, STEPS)
    fields, body = mailed(capsys, stream(tmp_path, failed()), "--runs", "0")
    assert fields["Subject"].startswith("[REGRESSION] drm/xe: ")
    assert fields["Cc"] == "regressions@lists.linux.dev"
    assert "First bad:  7.0.13 (last good: 6.19.14), by svmcts bisect\n" in body
    assert "\n#regzbot introduced: v6.19.14..v7.0.13\n" in body


def test_kernels_that_cannot_tell_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bisected, "written", lambda: tmp_path)
    search(tmp_path / "reports/out/bisect", "x", ENDS, {**STEPS, "6.19.14": "cannot tell"})
    _, body = mailed(capsys, stream(tmp_path, failed()), "--runs", "0")
    assert "First bad:  7.0.13 (last good: 6.18.15; 6.19.14 cannot tell), by svmcts bisect\n" in body
    assert "#regzbot" not in body


def test_newest_search_counts(tmp_path: Path) -> None:
    old = search(tmp_path, "a", ENDS, STEPS)
    search(tmp_path, "b", {"good": "7.0.13", "bad": "7.3.4"}, {"7.0.13": "works", "7.3.4": "fails"})
    os.utime(old / "log.jsonl", (1, 1))
    assert introduced(TEST, tmp_path) == Change("7.0.13", "7.3.4")


@pytest.mark.parametrize(
    ("question", "steps", "over"),
    [
        ({**ENDS, "test": "suites/bind/test_b.py::test_y"}, STEPS, True),
        ({"good": "7.3.4", "bad": "6.18.15"}, {"7.3.4": "works", "6.18.15": "fails"}, True),
        (ENDS, STEPS, False),
        (ENDS, {"7.3.4": "fails"}, True),
        (ENDS, {"7.3.4": "fails", "6.18.15": "odd"}, True),
        ({"good": "x", "bad": "7.3.4"}, STEPS, True),
    ],
    ids=["other-test", "fix", "not-over", "no-good", "odd", "no-version"],
)
def test_other_searches_say_nothing(
    question: Mapping[str, str], steps: Mapping[str, str], over: bool, tmp_path: Path
) -> None:
    search(tmp_path, "x", question, steps, over=over)
    assert introduced(TEST, tmp_path) is None


def test_log_that_is_cut_says_nothing(tmp_path: Path) -> None:
    log = search(tmp_path, "x", ENDS, STEPS) / "log.jsonl"
    log.write_text(log.read_text()[:-9])
    assert introduced(TEST, tmp_path) is None
