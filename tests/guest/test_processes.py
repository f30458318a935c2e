# SPDX-License-Identifier: MIT
"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from guest import PROJECT
from guest.processes import cpu_seconds, kill_after, last_line, spawn


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """The middle process starts a child as guests do, and is killed."""
    program = (
        "import os, pathlib, signal; from guest.processes import spawn; here = pathlib.Path(); "
        f"child = spawn(['sleep', '60'], here, pathlib.Path({str(tmp_path / 'log')!r})); "
        "print(child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    child = Path(f"/proc/{int(done.stdout)}")

    def gone() -> bool:
        try:
            return "State:\tZ" in (child / "status").read_text()
        except FileNotFoundError:
            return True

    end = time.monotonic() + 10
    while not gone() and time.monotonic() < end:
        time.sleep(0.01)
    assert gone()


def test_output_is_kept_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with spawn(["sh", "-c", "pwd; echo wrong >&2; cat"], tmp_path, log) as process:
        assert process.wait() == 0
    assert log.read_text() == f"{tmp_path}\nwrong\n"
    assert last_line(log) == "wrong"


def test_an_empty_log_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    assert last_line(tmp_path / "log") == f"{tmp_path / 'log'} is empty"


def test_one_process_takes_another_along(tmp_path: Path) -> None:
    first, then = (spawn(["sleep", "60"], tmp_path, tmp_path / "log") for _ in range(2))
    watch = threading.Thread(target=kill_after, args=(first, then))
    watch.start()
    assert then.poll() is None
    first.kill()
    assert then.wait(20) == -9
    watch.join()


def test_the_time_of_a_process_that_has_gone_is_none(tmp_path: Path) -> None:
    process = spawn(["true"], tmp_path, tmp_path / "log")
    process.wait()
    assert cpu_seconds(process) == 0
