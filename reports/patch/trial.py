# SPDX-License-Identifier: MIT
"""Runs of the suite on a kernel that is tried; one that is there already, whole, is not run again."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from common import version
from common.answers import NoAnswerError
from common.place import ROOT, is_installed
from reports.bisect.process import running
from reports.bisect.trial import PYTEST, last_line
from reports.commands.inputs import whole
from reports.runs import Listed, State
from reports.stream import STREAM, Run, read

OUTPUT = "output.txt"
"""Output of pytest, in the folder of a run."""
_TO_END_S = 60
"""For pytest, which ends its guests and closes its stream."""


@functools.cache
def suite() -> str:
    """Identity of this suite, so that its runs are not taken for those of another."""
    name, commit = version.commit(ROOT)
    if not name.endswith("-dirty"):
        return commit
    if is_installed(ROOT):
        raise NoAnswerError(
            f"this suite was installed from a checkout with changes ({name}), and its runs could be taken for "
            "those of other changes: install a wheel of a commit"
        )
    done = subprocess.run(["git", "-C", ROOT, "diff", "HEAD"], capture_output=True, check=True)
    return f"{commit}-{hashlib.sha256(done.stdout).hexdigest()[:8]}"


def folder_for(parent: Path, *asked: object) -> Path:
    """The folder of a run, named for all that its results depend on."""
    text = json.dumps([suite(), *asked], default=str)
    return parent / hashlib.sha256(text.encode()).hexdigest()[:16]


def run_suite(arguments: Sequence[str], folder: Path) -> Run:
    """The run of pytest with these arguments, from ``folder`` if it is there; an interrupted one is continued.

    Raises NoAnswerError if it does not come to its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / STREAM).exists():
        before = Listed(folder, read(folder))
        if before.state is State.FINISHED:
            return before.run
        if before.run.results:
            return _call([f"--resume={folder}"], folder)
    return _call([*arguments, f"--results={folder}"], folder)


def _call(arguments: Sequence[str], folder: Path) -> Run:
    command = [*PYTEST, "-q", *arguments]
    with (
        (folder / OUTPUT).open("wb") as output,
        running(command, ROOT, output, to_end_s=_TO_END_S) as process,
    ):
        process.wait()
    if not (folder / STREAM).exists():
        said = last_line((folder / OUTPUT).read_text(errors="replace"))
        raise NoAnswerError(f"the suite did not run: {said} (all of it is in {folder / OUTPUT})")
    run = read(folder)
    whole(run)
    return run
