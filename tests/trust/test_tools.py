# SPDX-License-Identifier: MIT
"""Conditions of a command: a closed pipe, a full disk, a missing right, an interrupt. None of these gives a verdict."""

from __future__ import annotations

import errno
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.answers import NoAnswerError, status_of
from tests.reports import golden_runs

ROOT = Path(__file__).resolve().parents[2]
TOOL = str(ROOT / "svmcts")
COMMANDS: dict[str, Any] = runpy.run_path(TOOL)["COMMANDS"]
NOT_ALL = "not all of the answer is written"


def svmcts(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, TOOL, *map(str, arguments)]
    return subprocess.run(command, text=True, timeout=120, check=False, **options)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that the gate accepts."""
    return golden_runs.write("good", tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_exit_statuses(name: str) -> None:
    done = svmcts(name, "--help", env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0
    assert done.stdout.split("\n\n")[-1].startswith("exit status: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["gate", "RUN"],
        ["compare", "RUN", "RUN"],
        ["report", "RUN", "-o", "OUT"],
        ["behaviours"],
        ["doctor"],
        ["gate", "--help"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("where", ["pipe", "disk", "closed"])
def test_answer_that_is_not_written_is_none(
    run: Path, tmp_path: Path, arguments: list[str], where: str
) -> None:
    words = [{"RUN": run, "OUT": tmp_path / "out"}.get(word, word) for word in arguments]
    if where == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            done = svmcts(*words, stdout=out)
        why = f"standard output: {os.strerror(errno.EPIPE)}: {NOT_ALL}"
    elif where == "disk":
        with Path("/dev/full").open("w") as out:
            done = svmcts(*words, stdout=out)
        why = f"standard output: {os.strerror(errno.ENOSPC)}: {NOT_ALL}"
    else:
        done = svmcts(*words, stdout=None, preexec_fn=lambda: os.close(1))
        why = "standard output is closed: there is nowhere to write the answer to"
    assert (done.returncode, done.stderr) == (2, f"svmcts {arguments[0]}: {why}\n")


def test_line_of_standard_error_may_be_lost(run: Path) -> None:
    """The exit status is still right."""
    with Path("/dev/full").open("w") as full:
        assert svmcts("gate", run, stderr=full).returncode == 0
        assert svmcts("gate", ROOT / "nowhere", stderr=full).returncode == 2


def test_files_that_cannot_be_written_or_read(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    done = svmcts("report", run, "-o", file)
    assert (done.returncode, done.stderr) == (2, f"svmcts report: {file}: {os.strerror(errno.EEXIST)}\n")
    done = svmcts("gate", run, "--waivers", tmp_path)
    assert (done.returncode, done.stderr) == (2, f"svmcts gate: {tmp_path}: {os.strerror(errno.EISDIR)}\n")


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/usr/bin/setpriv").exists(), reason="root has all rights")
def test_missing_right_is_no_answer(run: Path, tmp_path: Path) -> None:
    run.chmod(0)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    drop = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    command = [*drop, str(ROOT / ".venv/bin/python"), TOOL, "gate", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (2, f"svmcts gate: {run}: {os.strerror(errno.EACCES)}\n")


def test_interrupt_is_no_verdict(tmp_path: Path) -> None:
    """The command waits for a reader of its fifo."""
    fifo = tmp_path / "results.jsonl"
    os.mkfifo(fifo)
    with subprocess.Popen([sys.executable, TOOL, "gate", fifo], stderr=subprocess.PIPE, text=True) as process:
        with fifo.open("w"):  # opens when the command reads
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "svmcts gate: interrupted\n"


def test_ignored_interrupt_is_not_inherited_by_what_tests_start() -> None:
    """As with nohup, and ``&`` in a script: no test waits without end for a process that it has interrupted."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    test = f"{__file__}::{test_interrupt_is_no_verdict.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=ignore)
    assert done.returncode == 0, done.stdout


def test_set_up_that_fails_is_no_answer(tmp_path: Path) -> None:
    """Make fails; git bisect run must neither skip the commit nor mark it as bad."""
    (tmp_path / "make").write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    (tmp_path / "make").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for name, status in (("gate", 2), ("bisect-step", 255)):
        done = subprocess.run(
            ["/usr/bin/python3", TOOL, name], env=environment, capture_output=True, text=True, check=False
        )
        line = f"svmcts {name}: {ROOT / '.venv'} cannot be set up: make says why"
        assert (done.returncode, done.stderr) == (status, f"no network\n{line}\n")


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (NoAnswerError("a.jsonl: empty"), 2, "a.jsonl: empty"),
        (KeyError("x"), 2, "KeyError: 'x' (svmcts --debug shows where)"),
        (RecursionError("too\ndeep"), 2, "RecursionError: too deep (svmcts --debug shows where)"),
        (MemoryError(), 2, "MemoryError (svmcts --debug shows where)"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 2, "/x: No space left on device"),
        (ValueError("\x1b[31m\u2028"), 2, "ValueError: \u241b[31m (svmcts --debug shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit("no"), 2, "no"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_nobody_expected_is_one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("svmcts x", raising(error)) == status
    assert capsys.readouterr().err == f"svmcts x: {line}\n"
    assert status_of("svmcts x", raising(error), trouble=255) == (255 if status == 2 else status)


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("svmcts x", raising(KeyError("x")), debug=True) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Traceback")
    assert said[-1] == "svmcts x: KeyError: 'x' (svmcts --debug shows where)"
    done = svmcts("--debug", "gate", ROOT / "svmcts", "--nonsense")
    assert done.returncode == 2


def test_exit_statuses_of_every_command_are_in_the_table() -> None:
    section = (ROOT / "docs/reports.md").read_text().partition("## Exit statuses")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([\w-]+)`", row) if name in COMMANDS]
    assert sorted(named) == sorted(COMMANDS)
