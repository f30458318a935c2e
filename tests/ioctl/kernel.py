# SPDX-License-Identifier: MIT
"""A stand-in for ioctl(2) in this process: answers by request, for tests of the code around the call."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from ioctl.encoding import Request

Answer = Callable[[Any], int | None]


@contextlib.contextmanager
def answering(answers: dict[Request, Answer]) -> Iterator[list[int]]:
    """Patches fcntl.ioctl: an answer changes the argument in place, returns the result or None for 0, or raises.

    Requests without an answer return 0. Yields the list of request numbers that arrived.
    """
    numbers = {request.number: answer for request, answer in answers.items()}
    arrived: list[int] = []

    def ioctl(_fd: int, number: int, arg: ctypes.Structure, _mutate: bool) -> int:
        arrived.append(number)
        answer = numbers.get(number)
        return (answer(arg) if answer else 0) or 0

    with mock.patch.object(fcntl, "ioctl", ioctl):
        yield arrived


def raising(*codes: int) -> Answer:
    """Fails with these errnos, one a call, then answers 0."""
    left = list(codes)

    def answer(_arg: Any) -> int:
        if left:
            raise OSError(left.pop(0), "from the stand-in")
        return 0

    return answer


def setting(**fields: int) -> Answer:
    """Writes fields of the argument."""

    def answer(arg: Any) -> None:
        for name, value in fields.items():
            setattr(arg, name, value)

    return answer
