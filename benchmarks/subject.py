# SPDX-License-Identifier: MIT
"""Processes to measure: one for each way of doing the same thing, so that they can alternate.

A process that is attached to a mock stays so, and pinning one to a processor must not pin the others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

Series = Mapping[str, list[int]]
"""Name to durations in nanoseconds."""
Operation = Callable[[int], Series]
"""Does something n times, and returns the duration of each."""


def timed(name: str, act: Callable[[], object]) -> Operation:
    """An operation that is one call."""

    def run(count: int) -> Series:
        clock = time.perf_counter_ns
        took = []
        for _ in range(count):
            start = clock()
            act()
            took.append(clock() - start)
        return {name: took}

    return run


class SubjectError(Exception):
    """It could not be measured; one line says why."""


class Subject:
    """A separate process, in which ``make`` is called and returns the operations by name."""

    def __init__(self, make: Callable[[], Mapping[str, Operation]]) -> None:
        """Raises SubjectError when ``make`` fails."""
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()
        self.operations: list[str] = self._receive()

    def run(self, operation: str, count: int) -> dict[str, list[float]]:
        """Name to durations in microseconds. Raises SubjectError when the operation fails."""
        self._connection.send((operation, count))
        series: Series = self._receive()
        return {name: [value / 1e3 for value in values] for name, values in series.items()}

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._connection.send(
                None
            )  # its end of the pipe may be open in later processes as well: no EOF comes
        self._process.join()

    def _receive(self):  # type: ignore[no-untyped-def]
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise SubjectError(f"the measured process ended with {self._process.exitcode}") from None
        if isinstance(answer, SubjectError):
            raise answer
        return answer


def _serve(connection: Connection, make: Callable[[], Mapping[str, Operation]]) -> None:
    try:
        operations = make()
        connection.send(list(operations))
        while (asked := connection.recv()) is not None:
            name, count = asked
            connection.send(operations[name](count))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = "".join(traceback.format_exception_only(error)).strip()
        connection.send(SubjectError(f"{what} ({where.name}, line {where.lineno} of {where.filename})"))
