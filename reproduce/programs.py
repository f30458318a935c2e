# SPDX-License-Identifier: MIT
"""A program for each failure of a run, in one folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from common.answers import NoAnswerError
from reports.stream import read
from reproduce.cli import WRITTEN, file_name, program_of


def write_programs(stream: Path, folder: Path) -> str:
    """Write a self-contained program for each test of a run that failed; and print which exist and which do not."""
    run = read(stream)
    failed = [result for result in run.results if result.outcome in WRITTEN]
    lines, written = [], 0
    names: Counter[str] = Counter()
    for result in failed:
        try:
            text = program_of(run, result, self_contained=True)
            folder.mkdir(parents=True, exist_ok=True)
            names[name := file_name(result)] += 1
            again = f"-{names[name]}" if names[name] > 1 else ""
            (folder / f"{name}{again}.c").write_text(text, encoding="utf-8")
            written += 1
        except NoAnswerError as error:
            lines.append(f"  none: {error}")
        except OSError as error:
            return f"\nprograms\n  {error.filename or folder}: {error.strerror}\n"
    if not failed:
        return ""
    return "\n".join(["", "programs", *lines, f"  {written} of {len(failed)} failures in {folder}", ""])
