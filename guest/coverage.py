# SPDX-License-Identifier: MIT
"""``svmcts coverage``: what was executed of the driver and the SVM layers, from the counts of a gcov kernel."""

import argparse
import gzip
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.answers import NoAnswerError
from guest import builds

DESCRIPTION = """\
Prints lines, branches and functions of each file that were executed, and the functions that were not. COUNTS is a copy
of a guest's /sys/kernel/debug/gcov (docs/kernels.md, "Coverage").
"""
STATUS = "exit status: 0 printed, 2 no answer"


@dataclass(frozen=True)
class Covered:
    """Executed parts of a source file: each pair is executed and total."""

    name: str
    lines: tuple[int, int]
    branches: tuple[int, int]
    functions: tuple[int, int]
    unexecuted: tuple[str, ...]
    """Functions that were not, in the order of the source."""


def main(arguments: list[str]) -> int:
    """Exit status: 0 printed, 2 no answer."""
    parser = argparse.ArgumentParser("svmcts coverage", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("kernel", metavar="KERNEL", help="a kernel of svmcts kernel build --profile gcov")
    parser.add_argument("counts", metavar="COUNTS", type=Path, help="folder with the .gcda of a guest")
    options = parser.parse_args(arguments)
    built = builds.find(options.kernel)
    if built is None or "gcov" not in built.profiles:
        raise NoAnswerError(f"no kernel {options.kernel} with the profile gcov: svmcts kernel list")
    print("\n".join(table(measure(built.directory, options.counts))))
    return 0


def measure(notes: Path, counts: Path) -> list[Covered]:
    """Decode the counts, with the .gcno below ``notes``. Raises NoAnswerError."""
    if not shutil.which("gcov"):
        raise NoAnswerError("coverage cannot be read without gcov: apt-get install gcc")
    known = {file.stem: file for file in notes.rglob("*.gcno")}
    found = sorted(file for file in counts.rglob("*.gcda") if file.stem in known)
    if not found:
        raise NoAnswerError(f"{counts}: no .gcda of a file that the kernel has the .gcno of")
    return [covered for file in found for covered in _files(known[file.stem], file)]


def _files(note: Path, count: Path) -> Iterator[Covered]:
    with tempfile.TemporaryDirectory() as place:
        for file in (note, count):
            shutil.copyfile(file, Path(place) / file.name)
        done = subprocess.run(
            ["gcov", "--json-format", "--branch-probabilities", count.name],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stderr.strip()
        results = list(Path(place).glob("*.gcov.json.gz"))
        if done.returncode or not results:
            raise NoAnswerError(f"{count}: gcov: {(said or 'no answer').splitlines()[0]}")
        for result in results:
            for file in json.loads(gzip.decompress(result.read_bytes()))["files"]:
                if Path(file["file"]).name == f"{count.stem}.c":
                    yield _covered(file)


def _covered(file: dict[str, Any]) -> Covered:
    lines: dict[int, int] = {}
    for line in file["lines"]:  # an inlined function has its lines once for each copy
        lines[line["line_number"]] = max(lines.get(line["line_number"], 0), line["count"])
    branches = [branch["count"] for line in file["lines"] for branch in line["branches"]]
    functions = sorted(file["functions"], key=lambda function: int(function["start_line"]))
    return Covered(
        Path(file["file"]).name,
        _executed(list(lines.values())),
        _executed(branches),
        _executed([function["execution_count"] for function in functions]),
        tuple(function["name"] for function in functions if not function["execution_count"]),
    )


def _executed(counts: list[int]) -> tuple[int, int]:
    return sum(count > 0 for count in counts), len(counts)


def table(files: list[Covered]) -> list[str]:
    """Lines of text: a row for each file, then the functions that were not executed."""
    width = max(len(file.name) for file in files)
    rows = [f"{'file':{width}}  {'lines':>17}  {'branches':>17}  {'functions':>17}"]
    for file in files:
        cells = "  ".join(f"{_share(pair):>17}" for pair in (file.lines, file.branches, file.functions))
        rows.append(f"{file.name:{width}}  {cells}")
    return rows + [f"{file.name}: not executed: {name}" for file in files for name in file.unexecuted]


def _share(pair: tuple[int, int]) -> str:
    executed, total = pair
    return f"{executed} of {total}, {100 * executed // total} %" if total else "none"
