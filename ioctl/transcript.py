# SPDX-License-Identifier: MIT
"""Every ioctl of a test, kept cheaply while it runs and printed in full when it fails.

``ioctl.call`` makes one ``Record`` a call: raw bytes, no formatting. A fixture gives each test a transcript of
its own with ``recording``; a failed test prints ``Transcript.text`` and ``Transcript.replay``. Memory is bounded:
the newest records are kept and the number of dropped ones is printed.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Iterator

from ioctl.decode import record_text
from ioctl.record import Note, Record
from ioctl.steps import Steps

KEPT = 512


class Transcript:
    """The newest ``kept`` records and notes, in order."""

    def __init__(self, kept: int = KEPT) -> None:
        self.records: collections.deque[Record | Note] = collections.deque(maxlen=kept)
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.records.clear()
        self.total = 0
        self.steps = Steps()

    def add(self, record: Record | Note) -> None:
        """Appends; the oldest goes when the transcript is full."""
        self.records.append(record)
        self.total += 1

    def note(self, what: object, replay: str = "") -> None:
        """Puts ``str(what)``, taken when the transcript is read, between the calls; see ``Note``."""
        self.add(Note(what, replay))

    def opened(self, fd: int, path: str | os.PathLike[str]) -> None:
        """Sets the node of a descriptor, so that ``replay`` can open it."""
        name = os.fspath(path)
        self.note(f'open("{name}") = {fd}', f"fd{fd} = os.open({name!r}, os.O_RDWR | os.O_CLOEXEC)")
        self.steps.add("open", fd, name)

    @property
    def dropped(self) -> int:
        """Number of records and notes that were dropped to make room."""
        return self.total - len(self.records)

    def text(self) -> str:
        """One line or block per call, oldest first."""
        head = [f"({self.dropped} older calls and notes were dropped)"] if self.dropped else []
        return "\n".join([*head, *(_text(record) for record in list(self.records))])

    def replay(self) -> str:
        """A Python program that makes the same calls."""
        from ioctl.replay import program  # late: only failures need it

        return program(list(self.records), self.dropped)


def _text(entry: Record | Note) -> str:
    return record_text(entry) if isinstance(entry, Record) else str(entry)


_current = Transcript()


def current() -> Transcript:
    """The transcript that calls are recorded into now."""
    return _current


def step(kind: str, *values: object) -> None:
    """Adds a step that is not an ioctl to the current transcript (``ioctl.steps``)."""
    _current.steps.add(kind, *values)


def failed(check: str, **facts: object) -> None:
    """Says what a check expected and saw that is about to fail the test (``ioctl.steps``)."""
    _current.steps.failed(check, **facts)


def cannot(why: str) -> None:
    """Says what the test does that its steps leave out (``ioctl.steps``)."""
    _current.steps.cannot(why)


@contextlib.contextmanager
def recording(kept: int = KEPT) -> Iterator[Transcript]:
    """Records the calls of all threads into a new transcript while the block runs."""
    global _current  # noqa: PLW0603 - call() must reach it without a lookup by thread or context
    former, _current = _current, Transcript(kept)
    try:
        yield _current
    finally:
        _current = former
