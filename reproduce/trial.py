# SPDX-License-Identifier: MIT
"""Compile a program and run it where the test failed, as far as that is a mock."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from common.answers import NoAnswerError
from ioctl.compiler import CompileError, Compiler

ROOT = Path(__file__).resolve().parent.parent
WARNINGS = ("-Wall", "-Wextra", "-Werror")
SECONDS = 120
"""A program that runs longer hangs: each of its waits has a deadline."""
HANGS = 124
"""As timeout(1) has it."""


@dataclass(frozen=True)
class Mock:
    """A mock that a test ran on."""

    platform: str
    level: str = ""
    defect: str = ""

    @property
    def sound(self) -> Mock:
        """The same without its defect."""
        return replace(self, defect="")

    @property
    def command(self) -> list[str]:
        """Command that runs a program on it."""
        options = ["--platform", self.platform]
        options += ["--level", self.level] if self.level else []
        options += ["--defect", self.defect] if self.defect else []
        return [sys.executable, str(ROOT / "svmcts"), "mock", *options, "--"]


def mock_of(replay: str) -> Mock | None:
    """The mock that a result's command line names; None if it ran elsewhere."""
    words = shlex.split(replay)
    given = dict(itertools.pairwise(words))
    if "--platform" not in given or "--guest" in given or given.get("--backend") == "driver":
        return None
    return Mock(given["--platform"], given.get("--level", ""), given.get("--mock-defect", ""))


def compiled(compiler: Compiler, text: str, folder: Path, name: str = "repro") -> Path:
    """Compile a program without a warning; raises NoAnswerError."""
    source = folder / f"{name}.c"
    source.write_text(text, encoding="utf-8")
    threads = ["-pthread"] if "pthread.h" in text else []
    try:
        compiler.run(folder, *WARNINGS, *threads, "-o", name, source.name)
    except CompileError as error:
        raise NoAnswerError(f"the program does not compile: {error}") from None
    return folder / name


_LOOP = 'while read -r program; do "$program" </dev/null >/dev/null 2>"$program.said"; echo $?; done'


class Runner:
    """Runs programs on one mock, one after the other; a with-block ends the mock."""

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._shell: subprocess.Popen[str] | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the mock, and the program that still runs on it."""
        if self._shell is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.communicate()
            self._shell = None

    def status(self, program: Path) -> tuple[int, str]:
        """The exit status of a program, and the last line that it said; raises NoAnswerError without a mock."""
        if self._shell is None:
            self._shell = subprocess.Popen(
                [*self._mock.command, "sh", "-c", _LOOP],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.write(f"{program}\n")
            self._shell.stdin.flush()
        if not select.select([self._shell.stdout], [], [], SECONDS)[0]:
            self.close()
            return HANGS, f"not done within {SECONDS} s"
        if not (line := self._shell.stdout.readline()):
            _, said = self._shell.communicate()
            self._shell = None
            raise NoAnswerError(said.strip().splitlines()[-1] if said.strip() else "the mock ended")
        said = program.with_name(f"{program.name}.said").read_text(errors="replace")
        return int(line), said.strip().splitlines()[-1] if said.strip() else ""
