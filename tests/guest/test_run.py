# SPDX-License-Identifier: MIT
"""A whole run, from preparation to its logs, with a program that pretends to be QEMU."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guest import GuestError, cache, project, run, warm
from guest.run import Prepared
from guest.vm import LOST, Files, Instructions, Interpreter, Outcome
from tests.guest import pretended


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories of runs below this; and software emulation, whatever the machine can do."""
    monkeypatch.setattr(run, "RUNS", tmp_path / "runs")
    monkeypatch.setenv("SVMCTS_ACCEL", "tcg")
    monkeypatch.setattr(run.environment, "project_sources", lambda _: [])
    return tmp_path / "runs"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepared]:
    """Our standard input is a file."""
    (tmp_path / "in").write_text("input")
    with (tmp_path / "in").open() as source:
        monkeypatch.setattr(sys, "stdin", source)
        parts = pretended.parts(tmp_path)
        yield Prepared(parts.qemu, parts.kernel, parts.environment, parts.rate)


def run_once(prepared: Prepared) -> tuple[Outcome, Files]:
    return run.run(prepared, pretended.MACHINE, name="test", command=["a", "command"])


def test_every_run_is_a_copy_of_one_machine(prepared: Prepared, capfd: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        outcome, files = run_once(prepared)
        assert outcome == Outcome(3)
        assert files.directory.name == str(number)
        assert files.console.read_text() == "a kernel boots\na copy continues\n"
        assert not list(files.directory.glob("*.ko"))  # a driver without a file of its own
    assert capfd.readouterr().out == "a command got input" + "a command got "
    assert len(list((cache.cache_root() / "templates").iterdir())) == 1


def test_a_damaged_template_costs_a_boot(prepared: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    template = warm.provide(prepared.parts(pretended.MACHINE))
    (template / "state").write_text("other")
    outcome, files = run_once(prepared)
    assert outcome == Outcome(3)
    assert files.console.read_text().endswith("a kernel boots\n")
    assert not template.exists()
    assert "no fast start this time: QEMU: migrate-incoming: the state is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("current", "forgotten"), [(True, ()), (False, project.PACKAGES)])
def test_a_waiting_worker_forgets_what_has_changed(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, current: bool, forgotten: tuple[str, ...]
) -> None:
    told = []

    def note(start: object, machine: object, files: object, instructions: Instructions, _: object) -> Outcome:
        told.append(instructions.message()["interpreter"])
        return Outcome(0)

    monkeypatch.setattr(run, "run_once", note)
    monkeypatch.setattr(warm, "is_current", lambda _: current)
    run.run(prepared, pretended.MACHINE, name="test", interpreter=Interpreter(["-u"], "code"))
    assert told == [{"flags": ["-u"], "code": "code", "forget": forgotten}]


def test_a_machine_that_cannot_be_saved_boots(
    prepared: Prepared, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETEND_REFUSES", "migrate")
    outcome, files = run_once(prepared)
    assert outcome == Outcome(3)
    assert files.console.read_text() == "a kernel boots\n"
    assert "no fast start: QEMU: migrate: not today" in capsys.readouterr().err


def test_what_a_lost_guest_leaves_behind(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.time() - 1
    warm.provide(prepared.parts(pretended.MACHINE))
    monkeypatch.setenv("PRETEND_EVENTS", '[{"event": "failed", "message": "no render nodes"}]')
    outcome, files = run_once(prepared)
    why = "the guest did not come up: no render nodes"
    assert outcome == Outcome(LOST, why)
    assert run.evidence(os.getpid()).splitlines() == [
        why, f"the end of {files.console}:", "a kernel boots", "a copy continues"
    ]  # fmt: skip
    assert run.latest_loss(started) == f"{why}; its logs are in {files.directory}"
    assert run.latest_loss(time.time() + 60) is None


def test_loss_of_a_gpu_that_does_not_start_is_recorded(prepared: Prepared) -> None:
    """Pytest reads there why a guest did not start."""
    machine = replace(pretended.MACHINE, gpus=1, emulator=("--bogus",))
    with pytest.raises(GuestError, match="the emulated GPU does not start"):
        run.run(prepared, machine, name="test", command=["a", "command"])
    lost = run.latest_loss(0)
    assert lost is not None
    assert lost.startswith("the emulated GPU does not start: ")


def test_the_evidence_is_that_of_the_last_process_of_this_number(own_runs: Path) -> None:
    for number, lost in ((1, "long ago"), (2, "now"), (3, "before")):
        directory = own_runs / "7.3.4" / str(number)
        directory.mkdir(parents=True)
        (directory / "owner").write_text("4711")
        (directory / "outcome.json").write_text(json.dumps({"code": 125, "lost": lost}))
        os.utime(directory / "owner", (number % 3, number % 3))
    assert run.evidence(4711).splitlines()[0] == "now"
    assert run.evidence(4712) == ""


def test_a_guest_without_an_outcome_has_hung(own_runs: Path) -> None:
    (own_runs / "7.3.4/1").mkdir(parents=True)
    (own_runs / "7.3.4/1/owner").write_text("4711")
    assert run.evidence(4711).splitlines()[0] == "the guest hung and was ended"


def test_old_runs_are_dropped(monkeypatch: pytest.MonkeyPatch, own_runs: Path) -> None:
    monkeypatch.setattr(run, "KEPT", 3)
    assert [run.new_directory("test").name for _ in range(6)] == ["1", "2", "3", "4", "5", "6"]
    assert sorted(path.name for path in (own_runs / "test").iterdir()) == ["3", "4", "5", "6"]


def test_a_guest_gets_our_environment_and_its_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SOMETHING", "of ours")
    variables = run.passed_environment(Files(tmp_path))
    assert variables["SOMETHING"] == "of ours"
    assert variables["SVMCTS_SCRATCH"] == str(tmp_path / "scratch")
    assert "DISPLAY" not in variables
