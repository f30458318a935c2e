# SPDX-License-Identifier: MIT
"""What the commands take: runs, files of waivers; and how they end when one cannot be read."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path

from reports.ledger import LedgerError
from reports.stream import STREAM, Run, read
from reports.waivers import Waiver, WaiverError, load

NO_ANSWER = 2

RUN = "a results.jsonl, or the folder of reports that has one"


class UnreadableError(Exception):
    """One line: what cannot be read, and what to do."""


def run_at(text: str) -> Run:
    """Read a run; raises UnreadableError."""
    path = Path(text)
    try:
        return read(path)
    except FileNotFoundError:
        missing = path / STREAM if path.is_dir() else path
        raise UnreadableError(f"{missing}: no such file: name {RUN}") from None
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None


def waivers_at(path: Path | None) -> tuple[Waiver, ...]:
    """Read a file of waivers, if there is one to read; raises UnreadableError."""
    if path is None:
        return ()
    try:
        return load(path)
    except WaiverError as error:
        raise UnreadableError(str(error)) from None
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None


def today() -> datetime.date:
    """The day, of UTC: the same for everybody who asks at the same time."""
    return datetime.datetime.now(datetime.UTC).date()


def answered(command: str, work: Callable[[], int]) -> int:
    """The exit status of ``work``; 2 and one line on standard error when it cannot read something."""
    try:
        status = work()
        sys.stdout.flush()
    except (UnreadableError, LedgerError) as error:
        print(f"svmcts {command}: {error}", file=sys.stderr)
        return NO_ANSWER
    except BrokenPipeError:  # whoever reads has read enough (svmcts behaviours | head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_ANSWER
    else:
        return status
