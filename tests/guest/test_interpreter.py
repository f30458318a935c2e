# SPDX-License-Identifier: MIT
"""The "interpreter" in a guest: command lines that a waiting one can run, and the message of a lost one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from guest import PROJECT, interpreter, run
from guest.vm import LOST, Files, Interpreter, Outcome


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["-u", "-c", "code"], Interpreter(["-u"], "code")),
        (["-u", "-B", "-c", "code"], Interpreter(["-u", "-B"], "code")),
        (["-c", "code"], Interpreter([], "code")),
        (["-c"], None),
        ([], None),
        (["-m", "pytest"], None),
        (["-O", "-c", "code"], None),
        (["script.py", "-c", "code"], None),
    ],
)
def test_what_execnet_starts_is_told_from_other_command_lines(
    arguments: list[str], program: Interpreter | None
) -> None:
    assert interpreter.program(arguments) == program


@pytest.mark.parametrize(("lost", "said"), [("a panic", "svmcts: a panic; its console is {}\n"), (None, "")])
def test_a_lost_guest_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost: str | None,
    said: str,
) -> None:
    """The end of the console is in the report of the test that was running."""
    files = Files(tmp_path)
    asked = []

    def pretended(*_: object, **what: object) -> tuple[Outcome, Files]:
        asked.append(what)
        return Outcome(LOST if lost else 0, lost), files

    monkeypatch.setattr(interpreter, "die_with_parent", lambda _: None)
    monkeypatch.setattr(run, "prepare", lambda *_: SimpleNamespace(kernel=SimpleNamespace(release="7.3.4")))
    monkeypatch.setattr(run, "run", pretended)
    assert interpreter.main(["--kernel", "7.3", "-u", "-c", "code"]) == (LOST if lost else 0)
    assert asked[0]["name"] == "7.3.4"
    assert asked[0]["interpreter"] == Interpreter(["-u"], "code")
    assert capsys.readouterr().err == said.format(files.console)


BOOTING = """
import os, signal
from guest import cli, run
run.prepare = lambda *_: (print(os.getpid(), flush=True), signal.pause())
cli.main(["python", "--kernel", "7.3", "-u", "-c", "pass"])
"""
STARTER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


def test_it_ends_with_the_process_that_started_it() -> None:
    """It ends even before its guest reads its standard input."""
    command = [sys.executable, "-c", STARTER, BOOTING]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        process = os.pidfd_open(int(starter.stdout.readline()))
        starter.kill()
        ended, _, _ = select.select([process], [], [], 30)
        if not ended:
            signal.pidfd_send_signal(process, signal.SIGKILL)
    os.close(process)
    assert ended
