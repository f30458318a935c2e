# SPDX-License-Identifier: MIT
"""Calls of the kernel's make: output is kept, progress is shown, and no process is left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from common.compiler import first_error
from guest import GuestError, cache
from guest.processes import die_with_parent

OUTPUT = "build.log"
TO_END_S = 30.0
"""Time for make to remove partial files after SIGTERM (GNU make manual, Interrupts)."""
NICE = 10
STEP = re.compile(r"  ([A-Z][A-Z0-9_]*(?: \[M\])?) +(\S+)$")
QUIET_S = 60.0
"""Interval of progress lines where they cannot replace each other."""


class Progress:
    """Progress of a build, on standard error: one line that changes on a terminal, else one a minute."""

    def __init__(self, done: int, total: int) -> None:
        self.done = done
        self.total = total
        self._begun = self._said = time.monotonic()
        self._live = sys.stderr.isatty()

    def line(self, printed: str) -> None:
        """Count the lines that make prints."""
        if not (step := STEP.match(printed)):
            return
        self.done += 1
        now = time.monotonic()
        if now - self._said < (0.2 if self._live else QUIET_S):
            return
        self._said = now
        total = f" of about {self.total:,}" if self.done <= self.total else ""
        text = f"step {self.done:,}{total}, {(now - self._begun) / 60:.0f} min: {step[1]} {step[2]}"
        if self._live:
            print(f"\r\033[Ksvmcts: {text[:110]}", end="", file=sys.stderr, flush=True)
        else:
            cache.say(text)

    def finish(self) -> None:
        """Clear the progress line on the terminal."""
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Make:
    """make of a kernel's source, with what it makes in ``out``; ``keep`` are descriptors that it holds open, too."""

    def __init__(self, source: Path, out: Path, variables: Mapping[str, str], keep: Sequence[int]) -> None:
        self.source = source
        self.out = out
        self.keep = keep
        self.command = ["make", f"O={out}", *(f"{name}={value}" for name, value in variables.items())]

    def __call__(self, *targets: str, progress: Progress | None = None) -> None:
        """Make the targets. Raises GuestError with the first error.

        However this ends, nothing keeps running in ``out``, and no partial file remains that make would consider
        complete.
        """
        command = [*self.command, *targets]
        lines: list[str] = []
        with (self.out / OUTPUT).open("a") as output, _running(command, self.source, self.keep) as process:
            output.write(f"$ {' '.join(command)}\n")
            assert process.stdout is not None
            for line in process.stdout:
                output.write(line)
                lines.append(line)
                if progress:
                    progress.line(line.rstrip("\n"))
            status = process.wait()
        if progress:
            progress.finish()
        if status:
            said = first_error(lines).replace(f"{self.source}/", "").replace(f"../{self.source.name}/", "")
            raise GuestError(f"does not build: {said} (full output in {self.out / OUTPUT})")


@contextlib.contextmanager
def _running(command: Sequence[str], directory: Path, keep: Sequence[int]) -> Iterator[subprocess.Popen[str]]:
    def before() -> None:
        die_with_parent()
        os.nice(NICE)

    process = subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=keep,
        preexec_fn=before,  # noqa: PLW1509 (no thread has been started)
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TO_END_S)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
