# SPDX-License-Identifier: MIT
"""The stream of results: JSON lines, one when a subtest starts and one when it ends.

``{"event": "start", "program", "subtest"}`` and ``{"event": "result", "program", "subtest", "outcome", "duration",
"message", "kernel", "checks", "output"}``; durations are seconds of the guest. After ``{"event": "forget", "program",
"subtest"}`` a subtest has no result, so that it is run again. A line that was cut off is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

STREAM = "igt.jsonl"
OUTCOMES = ("pass", "fail", "skip", "timeout", "crash", "lost")
"""``crash``: the program died; ``lost``: the guest did."""


class Subtest(NamedTuple):
    """A subtest of a program."""

    program: str
    name: str

    def __str__(self) -> str:
        return f"{self.program}@{self.name}"


@dataclass(frozen=True)
class Result:
    """Result of a subtest."""

    program: str
    subtest: str
    outcome: str
    duration: float = 0.0
    message: str = ""
    kernel: list[str] = field(default_factory=list)
    """Warnings and errors that the kernel logged during the subtest."""
    checks: list[str] = field(default_factory=list)
    """Reports of the emulated GPU's checkers during the subtest."""
    output: list[str] = field(default_factory=list)
    """The end of the subtest's output if it did not pass."""

    @property
    def key(self) -> Subtest:
        return Subtest(self.program, self.subtest)

    def line(self) -> str:
        """For the stream."""
        return json.dumps({"event": "result", **asdict(self)}) + "\n"


def start_line(program: str, subtest: str) -> str:
    """For the stream."""
    return json.dumps({"event": "start", "program": program, "subtest": subtest}) + "\n"


def forget_line(program: str, subtest: str) -> str:
    """For the stream."""
    return json.dumps({"event": "forget", "program": program, "subtest": subtest}) + "\n"


def events(stream: Path) -> Iterator[dict[str, Any]]:
    """The events of a stream; none if it does not exist."""
    if not stream.exists():
        return
    for line in stream.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # cut off: its writer was lost
            continue
        if isinstance(event, dict):
            yield event


def read(stream: Path) -> dict[Subtest, Result]:
    """The last result of each subtest."""
    found: dict[Subtest, Result] = {}
    for event in events(stream):
        kind = event.pop("event", None)
        if kind == "result":
            result = Result(**event)
            found[result.key] = result
        elif kind == "forget":
            found.pop(Subtest(event["program"], event["subtest"]), None)
    return found


def unfinished(stream: Path) -> Subtest | None:
    """The last subtest that started, if it has no result."""
    last: Subtest | None = None
    for event in events(stream):
        key = Subtest(event["program"], event["subtest"])
        if event["event"] == "start":
            last = key
        elif key == last:
            last = None
    return last
