# SPDX-License-Identifier: MIT
"""Channels and the watch over a guest, with this process in the part of QEMU."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from guest import vm
from guest.machine import Machine
from guest.vm import LOST, Channels, Files, Guest


@pytest.fixture
def channels() -> Iterator[Channels]:
    made = Channels(("status", "stdin", "stdout", "checks"))
    yield made
    made.close()


def watched(
    tmp_path: Path, *events: dict[str, object], exit_code: int = 0, **options
) -> tuple[vm.Outcome, list[bool]]:
    """The outcome of a guest whose init reports these events, and whether it became ready."""
    guest = Guest(None, None, Machine(gpus=0), Files(tmp_path), **options)  # type: ignore[arg-type]
    channels = Channels(("status",))
    channels.theirs["status"].sendall("".join(json.dumps(event) + "\n" for event in events).encode())
    ready: list[bool] = []
    with subprocess.Popen(["sh", "-c", f"exit {exit_code}"]) as machine:
        if exit_code >= 0:
            channels.theirs["status"].close()
        outcome = guest._watch(channels.ours["status"], lambda: ready.append(True), machine, None)
    channels.close()
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


def test_output_is_passed_on_until_its_end(channels: Channels, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("wb") as file:
        channels.copy_out("stdout", file)
        data = os.urandom(1 << 18)
        channels.theirs["stdout"].sendall(data)
        channels.handed_over()
        channels.drain()
    assert path.read_bytes() == data


def test_the_end_of_our_input_is_the_end_of_theirs(channels: Channels, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"hello")
    with (tmp_path / "in").open("rb") as file:
        channels.copy_in("stdin", file)
        received = b""
        while data := channels.theirs["stdin"].recv(100):
            received += data
    assert received == b"hello"


def test_reports_are_kept_even_if_the_guest_never_reads_them(channels: Channels, tmp_path: Path) -> None:
    """A full port must not stop the emulated GPU that reports."""
    source, sink = os.pipe()
    with (tmp_path / "checks").open("wb") as copy:
        channels.pass_on("checks", source, copy)
        data = b"x" * (1 << 21)
        writer = threading.Thread(target=lambda: (os.write(sink, data), os.close(sink)))
        writer.start()
        writer.join(20)
        assert not writer.is_alive()
        channels.drain()
    assert (tmp_path / "checks").stat().st_size == len(data)


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """The middle process starts a child as guests do, and is killed."""
    program = (
        "import subprocess, sys, os, signal; from guest.vm import die_with_parent; "
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent); print(child.pid, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [vm.sys.executable, "-c", program], cwd=vm.PROJECT, capture_output=True, text=True, check=False
    )
    child = Path(f"/proc/{done.stdout.strip()}")

    def gone() -> bool:
        try:
            return "State:\tZ" in (child / "status").read_text()
        except FileNotFoundError:
            return True

    end = vm.time.monotonic() + 10
    while not gone() and vm.time.monotonic() < end:
        vm.time.sleep(0.01)
    assert gone()
