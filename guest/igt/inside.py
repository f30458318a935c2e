# SPDX-License-Identifier: MIT
"""Runs inside the guest: ``python -m guest.igt.inside PLAN`` runs subtests and appends their results to a stream.

A program gets the list of all its subtests, as its start takes longer than most of them. If it ends early, or is killed
because a subtest took too long, it is started again for the remaining ones.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from guest.igt import tree
from guest.igt.results import Result, start_line
from guest.igt.transcript import Transcript

MS_BIND, MS_REC = 4096, 16384
SHARED = ("dev", "proc", "sys")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/tmp", "TERM": "dumb"}
WORST_LEVEL = 4
"""Kernel messages up to this level (warnings) are kept, at most KEPT for each subtest."""
KEPT = 25
EXIT_SKIP, EXIT_FAILURE = 77, 98
MOST_AT_ONCE = 150
"""Subtests of one start of a program. It is restarted so that its leftovers are freed."""

_libc = ctypes.CDLL(None, use_errno=True)


def bind(source: str, target: Path) -> None:
    """Bind mount a directory tree."""
    if _libc.mount(source.encode(), str(target).encode(), None, ctypes.c_ulong(MS_BIND | MS_REC), None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def temporary(target: Path) -> None:
    """Mount a tmpfs."""
    if _libc.mount(b"tmp", str(target).encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=1777"):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


class KernelLog:
    """Kernel messages since the last read."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)

    def read(self) -> list[str]:
        """Texts of the messages up to WORST_LEVEL."""
        found: list[str] = []
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return found[:KEPT]
            except BrokenPipeError:  # some were overwritten
                continue
            head, _, text = record.partition(";")
            if int(head.split(",")[0]) & 7 <= WORST_LEVEL:
                found.append(text.splitlines()[0])


class GpuChecks:
    """Reports of the emulated GPU's checkers since the last read."""

    def __init__(self, path: str | None) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if path else -1
        self._rest = b""

    def read(self) -> list[str]:
        """JSON, one text for each report."""
        with contextlib.suppress(BlockingIOError):
            while self._fd >= 0 and (data := os.read(self._fd, 1 << 16)):
                self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]


class Runner:
    """Starts programs with ``start``, runs subtests, and appends the results to ``stream``."""

    def __init__(
        self,
        start: Callable[[str, Sequence[str]], subprocess.Popen[bytes]],
        stream: TextIO,
        timeout_s: float,
        looks: Mapping[str, Callable[[], list[str]]],
    ) -> None:
        self._start = start
        self._stream = stream
        self._timeout_s = timeout_s
        self._looks = looks
        self._last = 0.0  # when a subtest began or ended

    def run(self, program: str, subtests: Sequence[str]) -> None:
        """Run subtests until each has a result."""
        left = list(subtests)
        while left:
            seen = self._once(program, left[:MOST_AT_ONCE])
            left = [name for name in left if name not in seen]

    def _once(self, program: str, subtests: Sequence[str]) -> set[str]:
        """Start the program once. Returns the subtests that got a result, at least one."""
        process = self._start(program, subtests)
        transcript = Transcript()
        seen: set[str] = set()
        wanted = set(subtests)
        began = self._last = time.monotonic()
        running: str | None = None
        for text in self._lines(process):
            transcript.line(text)
            if transcript.current != running:
                running = transcript.current
                if running is not None:
                    began = self._last = time.monotonic()
                    self._write(start_line(program, running))
            for name, outcome in transcript.ended:
                self._last = time.monotonic()
                if name in wanted:
                    self._record(program, name, outcome, self._last - began, transcript)
                    seen.add(name)
            transcript.ended.clear()
        code = process.wait()
        if running is not None:
            late = time.monotonic() - self._last >= self._timeout_s
            self._record(
                program, running, "timeout" if late else "crash", time.monotonic() - began, transcript
            )
            seen.add(running)
        if not seen:  # it ended before its first subtest, and would do so again
            outcome = {EXIT_SKIP: "skip", EXIT_FAILURE: "fail"}.get(code, "crash")
            for name in subtests:
                self._record(program, name, outcome, 0.0, transcript)
            seen = wanted
        elif wanted - seen and running is None and code in (0, EXIT_SKIP, EXIT_FAILURE):
            for name in wanted - seen:
                self._write(Result(program, name, "skip", message="the program did not run it").line())
            seen = wanted
        return seen

    def _lines(self, process: subprocess.Popen[bytes]) -> Iterator[str]:
        """Output of the process until it ends. It is killed, with its children, if a subtest takes too long."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            rest = b""
            while True:
                if not selector.select(max(0.0, self._last + self._timeout_s - time.monotonic())):
                    break
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            if rest:
                yield rest.decode(errors="replace")
        # Children of a crashed test keep the GPU and the pipe open.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()

    def _record(
        self, program: str, subtest: str, outcome: str, duration: float, transcript: Transcript
    ) -> None:
        passed = outcome == "pass"
        result = Result(
            program,
            subtest,
            outcome,
            round(duration, 3),
            "" if passed else transcript.why(),
            self._looks["kernel"](),
            self._looks["checks"](),
            [] if passed or outcome == "skip" else list(transcript.lines),
        )
        self._write(result.line())
        print(f"{program}@{subtest}: {outcome} {duration:.1f} s {result.message}", flush=True)

    def _write(self, line: str) -> None:
        self._stream.write(line)
        self._stream.flush()


def starter(root: Path) -> Callable[[str, Sequence[str]], subprocess.Popen[bytes]]:
    """A function that starts programs of the tree, with the tree as their root directory."""

    def start(program: str, subtests: Sequence[str]) -> subprocess.Popen[bytes]:
        def enter() -> None:
            os.chroot(root)
            os.chdir("/")

        return subprocess.Popen(
            [f"/{tree.TESTS}/{program}", "--run-subtest", ",".join(subtests)],
            env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=enter,  # noqa: PLW1509 - this process has one thread
        )  # fmt: skip

    return start


def main() -> int:
    """Run the plan given on the command line."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    root = Path(plan["tree"])
    for name in SHARED:
        bind(f"/{name}", root / name)
    temporary(root / "tmp")
    looks = {"kernel": KernelLog().read, "checks": GpuChecks(os.environ.get("SVMCTS_CHECKS")).read}
    with Path(plan["stream"]).open("a", encoding="utf-8") as stream:
        runner = Runner(starter(root), stream, plan["timeout_s"], looks)
        for program, subtests in plan["programs"].items():
            runner.run(program, subtests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
