# SPDX-License-Identifier: MIT
"""Compile a program and run it where the test failed: on a mock or in a guest."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from common.answers import NoAnswerError
from ioctl.compiler import CompileError, Compiler

ROOT = Path(__file__).resolve().parent.parent
WARNINGS = ("-Wall", "-Wextra", "-Werror")
SECONDS = 120
"""A program that runs longer is taken for hung: each of its waits has a deadline."""
START_S = 900
"""Seconds for the start of a guest or a mock; a kernel may have to be fetched first."""
END_S = 20
"""Seconds for the end of a guest."""
STUCK_S = 20
"""Seconds for the end of a program that may wait where no signal reaches it."""
KILLED = 128 + signal.SIGKILL
HANGS = 124
"""As timeout(1) has it."""
LOST = 125
"""The guest was lost, as ``svmcts guest`` has it."""


class Place(Protocol):
    """A place where programs run."""

    @property
    def name(self) -> str:
        """Where it is, in messages: on the mock."""
        ...

    @property
    def command(self) -> list[str]:
        """Command that runs a program there."""
        ...

    @property
    def sound(self) -> Place | None:
        """The same without the known fault; None if it is not known to have one."""
        ...


@dataclass(frozen=True)
class Mock:
    """A mock that a test ran on."""

    platform: str
    level: str = ""
    defect: str = ""

    @property
    def name(self) -> str:
        return "on the mock"

    @property
    def sound(self) -> Mock | None:
        return replace(self, defect="") if self.defect else None

    @property
    def command(self) -> list[str]:
        options = ["--platform", self.platform]
        options += ["--level", self.level] if self.level else []
        options += ["--defect", self.defect] if self.defect else []
        return [sys.executable, str(ROOT / "svmcts"), "mock", *options, "--"]


@dataclass(frozen=True)
class Guest:
    """A guest that a test ran in."""

    kernel: str
    options: tuple[str, ...] = ()
    """Options of ``svmcts guest``, without those of modules."""
    modules: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "in the guest"

    @property
    def sound(self) -> Guest | None:
        return replace(self, modules=()) if self.modules else None

    @property
    def command(self) -> list[str]:
        modules = [word for module in self.modules for word in ("--module", module)]
        guest = ["guest", "--kernel", self.kernel, *self.options, *modules, "--"]
        return [sys.executable, str(ROOT / "svmcts"), *guest]


def place_of(replay: str) -> Mock | Guest | None:
    """The place that a result's command line names; None if it ran on the real driver of a machine."""
    words = shlex.split(replay)
    given = dict(itertools.pairwise(words))
    if "--guest" in given:
        options: list[str] = []
        for name in ("--gpus", "--topology", "--adversary"):
            options += [name, given[name]] if name in given else []
        options += [word for word in words if word == "--iommu" or word.startswith("--emulator=")]
        modules = tuple(value for name, value in itertools.pairwise(words) if name == "--module")
        return Guest(given["--guest"], tuple(options), modules)
    if "--platform" not in given or given.get("--backend") == "driver":
        return None
    return Mock(given["--platform"], given.get("--level", ""), given.get("--mock-defect", ""))


def compiled(compiler: Compiler, text: str, folder: Path, name: str = "repro") -> Path:
    """The compiled program in ``folder``; raises NoAnswerError, one line, also for a warning."""
    source = folder / f"{name}.c"
    source.write_text(text, encoding="utf-8")
    threads = ["-pthread"] if "pthread.h" in text else []
    try:
        compiler.run(folder, *WARNINGS, *threads, "-o", name, source.name)
    except CompileError as error:
        raise NoAnswerError(f"the program does not compile: {error}") from None
    return folder / name


_LOOP = """\
said=$(mktemp)
echo ready
while read -r seconds program; do
	timeout -s KILL "$seconds" "$program" </dev/null >/dev/null 2>"$said"
	echo "$? $(tail -n 1 "$said")"
done
"""


class Runner:
    """Runs programs at one place, one after the other; a with-block ends the place.

    A guest keeps what it has read of a file, so each program needs a name of its own.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._shell: subprocess.Popen[str] | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the mock or the guest, and the program that still runs there."""
        if self._shell is None:
            return
        for number, seconds in ((signal.SIGTERM, END_S), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._shell.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._shell.communicate(timeout=seconds)
                break
        self._shell = None

    def status(self, program: Path, seconds: float = SECONDS) -> tuple[int, str]:
        """The exit status of a program, and the last line that it said; raises NoAnswerError without a place.

        A program that runs longer than ``seconds`` is ended, with its children; its place, too, if that does not help.
        """
        if self._shell is None:
            self._shell = _started([*self._place.command, "sh", "-c", _LOOP])
            line = self._line(START_S)
            while line and line.strip() != "ready":
                line = self._line(START_S)
            if not line:
                raise NoAnswerError(self._end() or f"it ended before the program ran {self._place.name}")
        assert self._shell.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.write(f"{seconds} {program}\n")
            self._shell.stdin.flush()
        line = self._line(seconds + STUCK_S)
        if line is None:
            self.close()
            return HANGS, f"not done within {seconds:g} s, and cannot be ended"
        if not line:
            return LOST, self._end() or f"lost {self._place.name}"
        status, _, said = line.rstrip("\n").partition(" ")
        if int(status) == KILLED:
            return HANGS, f"not done within {seconds:g} s"
        return int(status), said.strip()

    def _line(self, seconds: float) -> str | None:
        """The next line of the shell; empty at its end, None if there is none in time."""
        assert self._shell is not None
        assert self._shell.stdout is not None
        if not select.select([self._shell.stdout], [], [], seconds)[0]:
            return None
        return self._shell.stdout.readline()

    def _end(self) -> str:
        """The last line that the shell's place said as it ended."""
        assert self._shell is not None
        _, said = self._shell.communicate()
        self._shell = None
        return said.strip().splitlines()[-1] if said.strip() else ""


def _started(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
