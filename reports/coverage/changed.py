# SPDX-License-Identifier: MIT
"""Executed lines among those that a patch adds."""

from __future__ import annotations

from pathlib import Path

from unidiff.patch import PatchSet

from reports.coverage.counted import Counted, source_of
from reports.coverage.store import Stored
from reports.stream import Run

MOST = 20
"""Maximum number of lines to name."""


def changed(patch: str, run: Run) -> list[str]:
    """Lines of text for a mail; none if the kernel had no gcov. Raises NoAnswerError."""
    if not Stored(run.path.parent).exists():
        return []
    found = Counted([run])
    added = {
        file.path: [line.target_line_no or 0 for hunk in file for line in hunk if line.is_added]
        for file in PatchSet.from_string(patch)
    }
    with_code, missed = 0, []
    for file in found.select(objects=[name.removesuffix(".c") for name in added]).measure():
        numbers = [number for number in added[file.name] if number in file.lines]
        with_code += len(numbers)
        source = source_of(file.name, found.notes)
        missed += [
            f"  {Path(file.name).name}:{number}: {source[number - 1].strip()}"
            for number in numbers
            if not file.lines[number]
        ]
    if not with_code:
        return ["The change adds no line with code in the files that the kernel counts."]
    lines = [f"Of {with_code} changed lines with code, {with_code - len(missed)} were executed."]
    if missed:
        lines += ["", "Not executed:", *missed[:MOST]]
        lines += [f"  and {len(missed) - MOST} more"] * (len(missed) > MOST)
    return lines
