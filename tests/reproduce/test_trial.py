# SPDX-License-Identifier: MIT
"""Programs run where the test failed; those that end without an answer are counted apart."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from common.answers import NoAnswerError
from ioctl.compiler import find_compiler
from reproduce import trial
from reproduce.program import program
from reproduce.rate import rate
from reproduce.recorded import course
from reproduce.trial import HANGS, LOST, Guest, Mock, Runner, place_of
from tests.reproduce.places import Here, script
from tests.reproduce.test_program import FAILED_LOAD, WORDS


@pytest.mark.parametrize(
    ("replay", "place"),
    [
        ("pytest --platform bmg --seed 1 t", Mock("bmg")),
        ("pytest --platform lnl --level 6.18 --mock-defect no-gc --seed 1 t", Mock("lnl", "6.18", "no-gc")),
        ("pytest --guest 7.3.4 --gpus 1 --seed 1 t", Guest("7.3.4", ("--gpus", "1"))),
        (
            "pytest --guest 7.3.4 --gpus 2 --topology far --module '/a b/xe.ko' --module /c.ko "
            "'--emulator=--vram 1G' t",
            Guest(
                "7.3.4",
                ("--gpus", "2", "--topology", "far", "--emulator=--vram 1G"),
                ("/a b/xe.ko", "/c.ko"),
            ),
        ),
        (
            "svmcts run --guest 7.3 --gpus 1 --adversary hard t",
            Guest("7.3", ("--gpus", "1", "--adversary", "hard")),
        ),
        ("pytest --guest 7.3 --gpus 1 --iommu t", Guest("7.3", ("--gpus", "1", "--iommu"))),
        ("pytest --backend driver --device=/dev/dri/renderD128 --seed 1 t", None),
        ("", None),
    ],
)
def test_place_of_a_replay(replay: str, place: Mock | Guest | None) -> None:
    assert place_of(replay) == place


def test_place_without_its_fault_is_the_stock_one() -> None:
    assert Mock("bmg", defect="no-gc").sound == Mock("bmg")
    assert Mock("bmg").sound is None
    assert Guest("7.3", ("--gpus", "2"), ("xe.ko",)).sound == Guest("7.3", ("--gpus", "2"))
    assert Guest("7.3").sound is None


def test_guest_has_the_options_and_modules_of_the_run() -> None:
    command = Guest("7.3.4", ("--gpus", "2"), ("a.ko", "b.ko")).command
    words = ["guest", "--kernel", "7.3.4", "--gpus", "2", "--module", "a.ko", "--module", "b.ko", "--"]
    assert command[2:] == words


def test_status_and_last_line_of_each_program_are_told(tmp_path: Path) -> None:
    with Runner(Here()) as runner:
        assert runner.status(script(tmp_path, "a", "echo x >&2; echo y z >&2; exit 1")) == (1, "y z")
        assert runner.status(script(tmp_path, "b", "exit 0")) == (0, "")
        assert runner.status(script(tmp_path, "c", "exit 77")) == (77, "")


def test_place_that_does_not_begin_is_no_answer(tmp_path: Path) -> None:
    class Broken(Here):
        @property
        def command(self) -> list[str]:
            return ["sh", "-c", "echo no device >&2; exit 2", "--"]

    with pytest.raises(NoAnswerError, match=r"^no device$"), Runner(Broken()) as runner:
        runner.status(script(tmp_path, "a", "exit 0"))


def test_place_that_is_lost_begins_again(tmp_path: Path) -> None:
    with Runner(Here()) as runner:
        assert runner.status(script(tmp_path, "a", "kill -9 $(ps -o ppid= -p $PPID)"))[0] == LOST
        assert runner.status(script(tmp_path, "b", "exit 1"))[0] == 1


def hanging(folder: Path, name: str) -> tuple[Path, str]:
    """A program that does not end, and a word by which it is found among the processes."""
    marker = f"svmcts-hangs-{folder.name}-{name}"
    program = folder / name
    program.write_text(f"#!/bin/bash\n(exec -a {marker} tail -f /dev/null)\n")
    program.chmod(0o755)
    return program, marker


def listed() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    program, marker = hanging(tmp_path, "a")
    with Runner(Here()) as runner:
        assert runner.status(program, 0.2) == (HANGS, "not done within 0.2 s")
        assert marker not in listed()
        assert runner.status(script(tmp_path, "b", "exit 1"))[0] == 1


def test_program_that_cannot_be_ended_is_ended_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a guest, a program in the kernel may wait where no signal reaches it."""
    _, marker = hanging(tmp_path, "a")
    monkeypatch.setattr(trial, "STUCK_S", 0.2)
    monkeypatch.setattr(trial, "_LOOP", f"echo ready; exec {tmp_path}/a")
    with Runner(Here()) as runner:
        assert runner.status(tmp_path / "a", 0.1) == (HANGS, "not done within 0.1 s, and cannot be ended")
        assert marker not in listed()
        monkeypatch.undo()
        assert runner.status(script(tmp_path, "b", "exit 1"))[0] == 1


needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")


@needs_compiler
def test_rate_counts_runs_that_show_the_fault() -> None:
    text = program(course(FAILED_LOAD), WORDS, self_contained=True)
    assert rate(text, Here(), find_compiler(), 3) == "3 of 3 runs of the program here show it."


@needs_compiler
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "int main(void) { FILE *f = fopen(PATH, \"a\"); fputc('x', f); return ftell(f) % 2; }",
            "2 of 4 runs of the program here show it (2 ended without it).",
        ),
        ("int main(void) { return 77; }", "0 of 4 runs of the program here show it (4 could not tell)."),
        (
            "int main(void) { return system(KILL); }",
            "Run 1 of the program ended the guest: lost here",
        ),
    ],
)
def test_rate_of_other_ends_is_told(body: str, says: str, tmp_path: Path) -> None:
    # The shell that runs programs is the parent of timeout(1), which is the program's.
    headers = "#include <stdio.h>\n#include <stdlib.h>\n"
    headers += '#define KILL "kill -9 $(ps -o ppid= -p $(ps -o ppid= -p $PPID))"\n'
    text = headers + body.replace("PATH", f'"{tmp_path}/count"') + "\n"
    assert rate(text, Here(), find_compiler(), 4) == says
