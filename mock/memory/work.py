# SPDX-License-Identifier: MIT
"""Work on a client's memory that has to wait for the client.

It is a generator that yields whenever it waits. Its runner waits briefly for a running client, and leaves the rest to
the event loop if the client is stopped or slow, so that no other client waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum
from typing import TypeVar

from mock.linux.userfaultfd import Busy
from mock.memory.inbox import Inbox

T = TypeVar("T")


class Pause(Enum):
    """The event to wait for."""

    EVENT = "the adviser or the userfaultfd to have something"
    MOMENT = "the adviser to have something, or a moment"
    TURN = "another thread to have its turn"


Work = Generator[Pause, None, T]


def persist(inbox: Inbox, operation: Callable[[], T]) -> Work[T]:
    """Repeat an operation on the userfaultfd while it is Busy. Events are read in between: not while a zap runs."""
    while True:
        try:
            return operation()
        except Busy:
            pass
        # The event is either still to be read, or read and its thread about to run.
        if not inbox.read():
            yield Pause.TURN
