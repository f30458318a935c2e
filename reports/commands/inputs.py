# SPDX-License-Identifier: MIT
"""What the commands take: runs and files of waivers."""

from __future__ import annotations

import datetime
from pathlib import Path

from common.answers import NoAnswerError
from reports.stream import STREAM, Run, read
from reports.waivers import Waiver, load

RUN = "a results.jsonl, or the folder of reports that has one"


def run_at(text: str) -> Run:
    """Read a run; raises NoAnswerError."""
    path = Path(text)
    try:
        return read(path)
    except FileNotFoundError:
        missing = path / STREAM if path.is_dir() else path
        raise NoAnswerError(f"{missing}: no such file: name {RUN}") from None
    except OSError as error:
        raise NoAnswerError(f"{path}: {error.strerror}") from None


def waivers_at(path: Path | None) -> tuple[Waiver, ...]:
    """Read a file of waivers, if there is one to read; raises NoAnswerError."""
    if path is None:
        return ()
    try:
        return load(path)
    except OSError as error:
        raise NoAnswerError(f"{path}: {error.strerror}") from None


def today() -> datetime.date:
    """The day, of UTC: the same for everybody who asks at the same time."""
    return datetime.datetime.now(datetime.UTC).date()
