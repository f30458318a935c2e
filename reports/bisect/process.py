# SPDX-License-Identifier: MIT
"""Programs that a step runs: none of their processes remain when they are done, or when the step ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that tell a program to end."""


def interruptible() -> None:
    """Have all of them raise KeyboardInterrupt, so that nothing that was started outlives this program."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, output: IO[bytes], *, to_end_s: float = 0, keep: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, with ``keep`` open in it too.

    At the end what still runs of it is killed; with ``to_end_s`` it gets SIGTERM first, and that many seconds to end.
    """
    # Between the start and the first line that would end the program, nothing may interrupt.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=keep,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),  # noqa: PLW1509 - no threads here
        )
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield process
        finally:
            _end(process, to_end_s)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end(process: subprocess.Popen[bytes], to_end_s: float) -> None:
    if to_end_s and process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(to_end_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
