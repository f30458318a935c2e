# SPDX-License-Identifier: MIT
"""``svmcts runs [FOLDER]``: the runs that are kept."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from common import as_json
from common.answers import NoAnswerError
from common.near import near_path
from common.place import resume_command, written
from reports.event import Outcome, counted
from reports.runs import KEPT, OUT, Listed, State, listed

DESCRIPTION = f"""\
Lists the runs that are kept, newest last: start (UTC), state, seed and environments, number of results by outcome,
folder, and command. An interrupted run is continued by {resume_command("FOLDER")}. The newest {KEPT} are kept
($SVMCTS_KEEP_RUNS), and those to which a symbolic link in reports/ points.
"""
STATUS = "exit status: 0 listed; 2 no answer"


def main(arguments: list[str]) -> int:
    """Exit status: 0 listed, 2 no answer."""
    parser = argparse.ArgumentParser("svmcts runs", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        help="report folder, as given to --results (default: reports/out)",
    )
    as_json.add_option(parser)
    options = parser.parse_args(arguments)
    folder: Path = options.folder or written() / OUT
    if options.folder and not folder.is_dir():
        raise NoAnswerError(f"{folder}: no such folder{near_path(folder)}: name one that --results named")
    if options.json:
        return as_json.print_answer("runs", 0, answer(listed(folder)))
    print("\n".join(text(listed(folder))) or "no run is kept")
    return 0


def text(runs: Iterable[Listed]) -> Iterable[str]:
    """Runs for a terminal, three lines each."""
    for entry in runs:
        run = entry.run
        began = run.start[:19].replace("T", " ") or "unknown"
        environments = ", ".join(run.expected or run.environments) or "no environment"
        yield f"{began}  {_state(entry)}  seed {run.seed or 'unknown'}  {environments}: {_counts(entry)}"
        yield f"    {_short(entry.folder)}"
        yield f"    {run.command_line or 'unknown command'}"


def answer(runs: Iterable[Listed]) -> as_json.Row:
    """Runs for programs, the oldest first."""
    return {
        "runs": [
            {
                "start": entry.run.start or None,
                "folder": _short(entry.folder),
                "state": entry.state,
                "failed": _failed(entry),
                "seed": entry.run.seed or None,
                "environments": sorted(entry.run.expected or entry.run.environments),
                "counts": counted(entry.counts.elements()),
                "command": entry.run.command_line or None,
            }
            for entry in runs
        ]
    }


def _failed(entry: Listed) -> bool:
    return entry.state is State.FINISHED and bool(entry.run.exit)


def _state(entry: Listed) -> str:
    return f"{entry.state.value}, failed" if _failed(entry) else entry.state.value


def _counts(entry: Listed) -> str:
    counts = entry.counts
    return ", ".join(f"{counts[o]} {o.value}" for o in Outcome if counts[o]) or "no result"


def _short(folder: Path) -> Path:
    """A path that can be passed to other commands from here."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
