# SPDX-License-Identifier: MIT
"""A patch that changes the uAPI header: does it keep what programs were built for, and who describes what is new?"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common.answers import NO, YES, NoAnswerError
from common.place import ROOT
from reports.ledger import Ledger
from reports.patch.changes import Change

HEADER = "include/uapi/drm/xe_drm.h"
_NAME = re.compile(r"\b(?:DRM_XE|DRM_IOCTL_XE|drm_xe)_\w+")


@dataclass(frozen=True)
class Answer:
    """Findings about a header."""

    breaks: bool
    """Whether it breaks programs that were built for the base."""
    lines: tuple[str, ...]


def check(base: str, change: Change, folder: Path, ledger: Ledger) -> Answer:
    """Compare the header of a change with that of the base, which is ``base``. Raises NoAnswerError."""
    files = []
    for name, text in (("base", base), ("changed", change.source.show(HEADER))):
        file = folder / name / Path(HEADER).name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
        files.append(file)
    command = [sys.executable, str(ROOT / "svmcts"), "abi", *map(str, (files[1], "--base", files[0]))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (YES, NO):
        raise NoAnswerError(done.stderr.strip().rpartition("\n")[2] or f"svmcts abi gives {done.returncode}")
    said = [line.replace(f"{folder}/", "") for line in done.stdout.splitlines()]
    new = sorted(set(_NAME.findall(files[1].read_text())) - set(_NAME.findall(files[0].read_text())))
    described = _described(ledger)
    said += [f"no behaviour describes {name}" for name in new if name not in described]
    return Answer(done.returncode == NO, tuple(said))


def _described(ledger: Ledger) -> set[str]:
    """The names of the header that the ledger has."""
    texts = (
        text
        for behaviour in ledger.values()
        for text in (behaviour.title, *behaviour.sources, *(place.at for place in behaviour.promised_by))
    )
    return {name for text in texts for name in _NAME.findall(text)}
