# SPDX-License-Identifier: MIT
"""One line per minute from long operations, for logs: a silent one looks like a hang."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Self

EVERY_S = 60.0


class Heartbeat:
    """Prints the result of ``line`` each minute, in its own thread, until it is stopped."""

    def __init__(
        self, line: Callable[[], str], say: Callable[[str], object], every: float | None = None
    ) -> None:
        self._line, self._say = line, say
        self._every = EVERY_S if every is None else every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; nothing is printed after this returns."""
        self._over.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._over.wait(self._every):
            self._say(self._line())


class Progress(Heartbeat):
    """Prints the current step on standard error: in one line of a terminal, or each minute in a log."""

    def __init__(self, doing: str) -> None:
        """``doing`` is before each step, as ``svmcts report: writing``."""
        self._doing, self._step = doing, ""
        super().__init__(lambda: f"{self._doing} {self._step}", partial(print, file=sys.stderr, flush=True))

    def tell(self, step: str) -> None:
        """Another step begins."""
        self._step = step
        self._rewrite(f"{self._doing} {step}")

    def stop(self) -> None:
        """As of every heartbeat; a terminal's line is empty then."""
        super().stop()
        self._rewrite("")

    @staticmethod
    def _rewrite(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def since(start: float) -> str:
    """Time since a value of time.monotonic: ``40 s``, ``12 min``."""
    seconds = time.monotonic() - start
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"
