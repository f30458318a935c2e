# SPDX-License-Identifier: MIT
"""Runs of pytest below this process, one of whose processes is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from reports.stream import STREAM
from tests.mock.soak.clients import end_with_parent
from tests.trust.killing import processes

DEADLINE = 600.0
"""Seconds that a run may take, far more than any needs: a run that takes longer hangs."""
POLL = 0.002
SEED = 7


class Late(Exception):  # noqa: N818 - what a run may be
    """A run did not end."""


@dataclass
class Pace:
    """Times of events in a run without a kill, in seconds from its start."""

    results: int = 0
    first: float = 0.0
    last: float = 0.0
    whole: float = 0.0


@dataclass(frozen=True)
class Attack:
    """Process to kill, and the time: ``seconds`` after ``results`` exist, or after the start of the run."""

    target: str
    which: int
    """Index among several, modulo their number."""
    results: int | None
    seconds: float

    @classmethod
    def draw(cls, dice: Random, targets: Sequence[str], pace: Pace) -> Attack:
        """While the run starts, while it runs, or while it ends."""
        target, which, chance = dice.choice(targets), dice.randrange(16), dice.random()
        if chance < 0.25:
            return cls(target, which, None, dice.uniform(0, pace.first))
        if chance < 0.35:
            return cls(target, which, pace.results, dice.uniform(0, pace.whole - pace.last))
        return cls(target, which, dice.randrange(pace.results), dice.uniform(0, 0.1))

    def __str__(self) -> str:
        since = "start" if self.results is None else f"{self.results} results"
        return f"{self.target:10} {since} + {self.seconds:.3f} s"


class Runs:
    """Starts runs, and continues them, each in a folder of its own."""

    def __init__(self, place: Path, arguments: list[str]) -> None:
        self._place = place
        self._arguments = arguments
        self.temporary = place / "tmp"
        """Folder for temporary files of its processes."""
        self.temporary.mkdir()
        self.next(0)

    def next(self, number: int) -> None:
        """The next run will be a new one."""
        self.folder = self._place / f"run-{number}"
        self.log = self._place / f"run-{number}.log"
        self.status = 0
        self._began = False

    @property
    def stream(self) -> Path:
        return self.folder / STREAM

    def forget(self) -> None:
        """Drop the files of this run."""
        shutil.rmtree(self.folder)
        self.log.unlink()

    def begin_again(self) -> None:
        """The next run is a new one, in the folder of the old one."""
        self._began = False

    def run(self, attack: Attack | None = None) -> processes.Process | None:
        """Start or continue a run. Returns the process that was killed. Raises Late."""
        process = self._start()
        killed = None
        try:
            if attack is not None:
                killed = self._kill(process, attack)
            self._wait(process)
        except Late:
            for one in processes.descendants():
                processes.kill(one)
            process.wait()
            raise
        self.status = process.returncode
        return killed

    def pace(self) -> Pace:
        """Run once, and measure the times of events. Raises Late."""
        pace, start = Pace(), time.monotonic()
        process = self._start()
        while process.poll() is None:
            now = time.monotonic() - start
            if now > DEADLINE:
                self._wait(process)
            count = self._results()
            if count > pace.results:
                pace.first = pace.first or now
                pace.results, pace.last = count, now
            time.sleep(POLL)
        self.status, pace.whole = process.returncode, time.monotonic() - start
        return pace

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        if self._began:
            command += [f"--resume={self.folder}"]
        else:
            command += [f"--results={self.folder}", f"--seed={SEED}", *self._arguments]
        self._began = True
        with self.log.open("ab") as log:
            log.write(f"\n$ {' '.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.temporary)},
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread has been started
            )

    def _kill(self, process: subprocess.Popen[bytes], attack: Attack) -> processes.Process | None:
        """None if the run ended first."""
        start = time.monotonic()
        since = start if attack.results is None else None
        while process.poll() is None:
            now = time.monotonic()
            if since is None and attack.results is not None and self._results() >= attack.results:
                since = now
            if since is not None and now >= since + attack.seconds:
                found = list(processes.TARGETS[attack.target](process.pid, processes.descendants()))
                found.sort(key=lambda one: one.pid)
                if found and processes.kill(victim := found[attack.which % len(found)]):
                    return victim
            if now > start + DEADLINE:
                raise Late(
                    f"after {DEADLINE:.0f} s the run continues, and there was no {attack.target} to kill"
                )
            processes.reap(process.pid)
            time.sleep(POLL)
        return None

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        start = time.monotonic()
        while process.poll() is None:
            if time.monotonic() > start + DEADLINE:
                raise Late(f"the run did not end within {DEADLINE:.0f} s")
            processes.reap(process.pid)
            time.sleep(POLL)

    def _results(self) -> int:
        """Number of results in the stream."""
        try:
            return self.stream.read_bytes().count(b'{"event":"result"')
        except OSError:
            return 0
