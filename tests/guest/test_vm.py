# SPDX-License-Identifier: MIT
"""A run of a guest and its supervision, with this process or a small program as QEMU."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest import GuestError, vm
from guest.channels import Channels
from guest.machine import Machine
from guest.start import Cold
from guest.vm import LOST, Files, Guest, Instructions, Outcome
from tests.guest import pretended


def watched(
    tmp_path: Path, *events: dict[str, object], exit_code: int = 0, **options
) -> tuple[Outcome, list[bool]]:
    """The outcome of a guest whose init reports these events, and whether it became ready."""
    guest = Guest(None, Machine(gpus=0), Files(tmp_path), **options)  # type: ignore[arg-type]
    with Channels(("status",)) as channels:
        return follow(guest, channels, events, exit_code)


def follow(
    guest: Guest, channels: Channels, events: tuple[dict[str, object], ...], exit_code: int
) -> tuple[Outcome, list[bool]]:
    channels.theirs["status"].sendall("".join(json.dumps(event) + "\n" for event in events).encode())
    ready: list[bool] = []
    with subprocess.Popen(["sh", "-c", f"exit {exit_code}"]) as machine:
        if exit_code >= 0:
            channels.theirs["status"].close()
        outcome = guest._watch(channels.ours["status"], lambda: ready.append(True), machine, None)
    return outcome, ready


READY = {"event": "ready"}


def test_the_commands_exit_status_is_the_outcome(tmp_path: Path) -> None:
    outcome, ready = watched(tmp_path, {"event": "init"}, READY, {"event": "exit", "code": 3})
    assert (outcome.code, outcome.lost, ready) == (3, None, [True])


def test_a_guest_that_ends_without_a_report_is_lost(tmp_path: Path) -> None:
    outcome, _ = watched(tmp_path, READY)
    assert (outcome.code, outcome.lost) == (LOST, "the guest's kernel panicked or powered off")


def test_a_qemu_that_fails_is_named(tmp_path: Path) -> None:
    assert watched(tmp_path, exit_code=1)[0].lost == "QEMU ended with status 1, see qemu.log"


def test_a_guest_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    outcome, ready = watched(tmp_path, {"event": "failed", "message": "1 render nodes: not within 60 s"})
    assert outcome.lost == "the guest did not come up: 1 render nodes: not within 60 s"
    assert not ready


def test_a_silent_kernel_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm, "SILENCE_S", 0.05)
    outcome, _ = watched(tmp_path, READY, exit_code=-1)
    assert outcome.lost == "the guest was ended: its kernel shows no sign of life in time"


def test_a_kernel_that_boots_may_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reports while modules are loaded, however busy the machine: only the boot as a whole has a deadline."""
    monkeypatch.setattr(vm, "SILENCE_S", 0.05)
    monkeypatch.setattr(vm, "BOOT_DEADLINE_S", 0.3)
    outcome, _ = watched(tmp_path, {"event": "init"}, exit_code=-1)
    assert outcome.lost == "the guest was ended: it did not boot in time"


def test_a_guest_that_does_not_boot_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm, "BOOT_DEADLINE_S", 0.05)
    assert watched(tmp_path, exit_code=-1)[0].lost == "the guest was ended: it did not boot in time"


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    outcome, _ = watched(tmp_path, READY, exit_code=-1, timeout_s=0.05)
    assert outcome.lost == "the guest was ended: the command did not end in time"


def test_every_report_is_kept_with_its_time(tmp_path: Path) -> None:
    watched(tmp_path, READY, {"event": "exit", "code": 0})
    kept = [json.loads(line) for line in Files(tmp_path).events.read_text().splitlines()]
    assert [event["event"] for event in kept] == ["ready", "exit"]
    assert all(event["elapsed"] >= 0 for event in kept)


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    """One that boots; our standard input is a file."""
    (tmp_path / "in").write_text("input")
    (tmp_path / "run").mkdir()
    parts = pretended.parts(tmp_path)
    with (tmp_path / "in").open() as source:
        monkeypatch.setattr(sys, "stdin", source)
        with Guest(Cold(parts), parts.machine, Files(tmp_path / "run")) as made:
            yield made


def instructions(**changes) -> Instructions:
    told = Instructions({"HOME": "/root"}, "/", "/scratch", 0, command=["a", "command"])
    return dataclasses.replace(told, **changes)


def test_a_command_gets_our_standard_files(guest: Guest, capfd: pytest.CaptureFixture[str]) -> None:
    assert guest.run(instructions()) == Outcome(3)
    assert capfd.readouterr() == ("a command got input", "a complaint")


def test_no_process_is_left_behind(guest: Guest) -> None:
    guest.run(instructions())
    with guest:
        pass
    assert [process.returncode for process in guest._processes] == [-9]


def test_an_emulated_gpu_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    machine = Machine(gpus=1, emulator=("--bogus",))
    with (
        Guest(lambda *_: pytest.fail("QEMU was started"), machine, Files(tmp_path)) as guest,
        pytest.raises(
            GuestError, match=r"the emulated GPU does not start: .*unrecognized arguments: --bogus"
        ),
    ):
        guest.run(instructions(gpus=1))


def test_instructions_are_of_their_moment() -> None:
    """Copies of one saved machine have its time and its random numbers."""
    one, other = (instructions().message() for _ in range(2))
    assert one["seed"] != other["seed"]
    assert abs(one["time"] - time.time()) < 10
    assert json.loads(json.dumps(one))["command"] == ["a", "command"]
