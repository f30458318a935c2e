# SPDX-License-Identifier: MIT
"""Exit statuses of all commands of svmcts: 0 yes, 1 no, 2 no answer.

An unexpected error is not an answer either: an exception, a closed pipe, a full disk, missing permissions. It gives
one line on standard error and status 2, so that no accident looks like a verdict.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

from common.text import one_line

YES, NO, NO_ANSWER = 0, 1, 2
INTERRUPTED = 130
"""The shell's status for SIGINT."""


class NoAnswerError(Exception):
    """A command cannot answer; the message is one line that says why, and what to do."""


def status_of(command: str, work: Callable[[], int], *, trouble: int = NO_ANSWER, debug: bool = False) -> int:
    """The exit status of a command that does ``work``; ``trouble`` if it has no answer.

    ``command`` begins the line with the reason. ``debug`` adds the traceback. All output has been written when this
    returns.
    """
    why = ""
    out = _Output(sys.stdout, 1)
    try:
        with out:
            status = work()
    except SystemExit as end:  # of argparse
        status = end.code if isinstance(end.code, int) else YES if end.code is None else NO_ANSWER
        why = end.code if isinstance(end.code, str) else ""
    except KeyboardInterrupt:
        status, why = INTERRUPTED, "interrupted"
    except NoAnswerError as error:
        status, why = NO_ANSWER, str(error)
    except Exception as error:
        status, why = NO_ANSWER, _unexpected(error)
        if debug:
            why += "\n" + traceback.format_exc()
    if lost := out.finish():
        status, why = NO_ANSWER, f"standard output: {lost}: not all of the answer is written"
    if why:
        line, _, rest = why.partition("\n")
        with contextlib.suppress(OSError, ValueError):
            print(rest, end="", file=sys.stderr)
            print(f"{command}: {one_line(line)}", file=sys.stderr)
    _Output(sys.stderr, 2).finish()
    return trouble if status == NO_ANSWER else status


def _unexpected(error: Exception) -> str:
    """One line about an unexpected error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return one_line(f"{type(error).__name__}: {error}").removesuffix(":") + " (svmcts --debug shows where)"


class _Output:
    """A standard stream, and its first write error, which argparse ignores."""

    def __init__(self, stream: TextIO | None, descriptor: int) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._lost = ""

    def __enter__(self) -> None:
        if self._stream is not None:
            self._stream.write = self._write  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            del self._stream.write

    def _write(self, text: str) -> int:
        assert self._stream is not None
        try:
            return type(self._stream).write(self._stream, text)
        except OSError as error:
            self._lost = error.strerror or str(error)
            raise

    def finish(self) -> str:
        """Write the rest. Returns the error if not all of it could be written.

        The rest is dropped then; otherwise Python would try again when it exits, and set the exit status.
        """
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._lost = getattr(error, "strerror", None) or str(error)
        if self._lost:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._descriptor)
        return self._lost
