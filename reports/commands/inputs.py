# SPDX-License-Identifier: MIT
"""Arguments of the commands: runs and files of waivers."""

from __future__ import annotations

import datetime
from pathlib import Path

from common.answers import NoAnswerError
from common.near import near_path
from common.place import resume_command
from reports.gate import ending
from reports.stream import STREAM, Flaw, Run, read
from reports.waivers import Waiver, load

RUN = "a results.jsonl, or the report folder that has one"


def run_at(text: str | Path) -> Run:
    """Read a whole run; raises NoAnswerError for one that is cut off or damaged, or that did not start."""
    run = what_there_is_at(text)
    whole(run)
    return run


def what_there_is_at(text: str | Path) -> Run:
    """Read a run as far as it goes; raises NoAnswerError for what is not a stream at all."""
    path = Path(text)
    try:
        run = read(path)
    except FileNotFoundError:
        missing = path / STREAM if path.is_dir() else path
        raise NoAnswerError(f"{missing}: no such file{near_path(missing)}: name {RUN}") from None
    except OSError as error:
        raise NoAnswerError(f"{path}: {error.strerror}") from None
    if not run.lines:
        raise NoAnswerError(f"{run.path}: the stream is empty: no test ran")
    if not (run.start or run.environments):
        raise NoAnswerError(f"{run.path} is not a stream of results: name {RUN}")
    return run


def whole(*runs: Run) -> None:
    """Raises NoAnswerError for the first of these runs that is cut off or damaged, or that did not start."""
    for run in runs:
        folder = run.path.parent if run.path.name == STREAM else run.path
        if damage := run.flaw(Flaw.DAMAGE):
            raise NoAnswerError(
                f"{run.path}:{damage.line}: {damage.what}: the stream is damaged, run it again"
            )
        if not run.results:
            how = f"it {ending(run.exit)}" if run.exit is not None else "it has no end"
            raise NoAnswerError(f"{run.path}: the run did not start: {how}; run it again")
        if cut := run.flaw(Flaw.CUT):
            raise NoAnswerError(
                f"{run.path}:{cut.line or run.lines}: {cut.what}; {resume_command(folder)} continues"
            )


def waivers_at(path: Path | None) -> tuple[Waiver, ...]:
    """Read a file of waivers, if there is one to read; raises NoAnswerError."""
    if path is None:
        return ()
    try:
        return load(path)
    except OSError as error:
        raise NoAnswerError(f"{path}: {error.strerror}{near_path(path)}") from None


def today() -> datetime.date:
    """Today's date in UTC, which is the same everywhere."""
    return datetime.datetime.now(datetime.UTC).date()
