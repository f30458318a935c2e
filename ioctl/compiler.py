# SPDX-License-Identifier: MIT
"""Running a C compiler on untrusted text: with limits, and with messages that are safe to print."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.answers import NoAnswerError

COMPILERS = ("cc", "gcc", "clang")
SECONDS = 20  # wall-clock time: on a busy machine the compiler waits, too
CPU_SECONDS = 10
MEMORY = 4 << 30  # bytes of address space for each process
OUTPUT = 64 << 20  # bytes for each file
_ERROR = re.compile(r"(?P<place>\S.*?): (?:fatal |internal compiler )?error: (?P<what>.*)")


class NoCompilerError(NoAnswerError):
    """No C compiler was found; the message says where it was looked for."""


class CompileError(Exception):
    """Errors of the compiler: ``errors`` are its messages, each with "file:line:column" first."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        self.errors = errors
        super().__init__(": ".join(part for part in errors[0] if part))


@dataclass(frozen=True)
class Compiler:
    """The command of a C compiler."""

    command: tuple[str, ...]

    def __str__(self) -> str:
        return self.command[0]

    def run(self, place: Path, *arguments: str) -> str:
        """Runs it in a folder and returns its output. CompileError if it fails, or needs more than the limits allow."""
        with subprocess.Popen(
            [*self.command, *arguments],
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,  # so that the compiler proper, its child, ends with it
            preexec_fn=_limit,  # noqa: PLW1509 - this program has no threads
        ) as process:
            try:
                said = process.communicate(timeout=SECONDS)[1].decode(errors="replace")
            except BaseException as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise CompileError([("", f"not done within {SECONDS} s")]) from None
                raise
        if process.returncode:
            raise CompileError(_errors(said, process.returncode))
        return said

    def folders(self, place: Path) -> list[str]:
        """Search path of system headers."""
        said = self.run(place, "-E", "-v", "-x", "c", os.devnull, "-o", os.devnull)
        listed = re.search(
            r"^#include <\.\.\.> search starts here:\n(.*?)^End of search list", said, re.M | re.S
        )
        return [line.strip() for line in listed[1].splitlines()] if listed else []


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT, OUTPUT))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _errors(said: str, status: int) -> list[tuple[str, str]]:
    matches = [match for line in said.splitlines() if (match := _ERROR.match(line))]
    if matches:
        return [(match["place"], match["what"]) for match in matches]
    lines = [line for line in said.splitlines() if line.strip()]
    return [("", lines[0] if lines else f"ended with status {status} and no message")]


def find_compiler() -> Compiler:
    """A C compiler: $CC, or cc, gcc or clang on PATH; NoCompilerError if there is none."""
    try:
        chosen = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise NoCompilerError(f"$CC is {os.environ['CC']!r}: {error}") from None
    for command in [chosen] if chosen else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return Compiler(tuple(command))
    looked = f"$CC is {chosen[0]!r}" if chosen else f"{', '.join(COMPILERS)} not on PATH"
    raise NoCompilerError(f"no C compiler ({looked}): install one, on Debian apt-get install gcc")
