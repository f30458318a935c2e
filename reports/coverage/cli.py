# SPDX-License-Identifier: MIT
"""``svmcts coverage``: what a run executed of the driver and the SVM layers."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from common.answers import NoAnswerError
from common.place import written
from reports.commands.inputs import what_there_is_at
from reports.coverage import functions, reasons
from reports.coverage.counted import Counted, source_of
from reports.coverage.measure import Covered, Notes, Totals, executed
from reports.coverage.reasons import Line, Reason
from reports.runs import OUT

DESCRIPTION = """\
Prints how many lines, branches and functions of the driver's SVM parts the tests of a run have executed, and what they
have not, by function, with the reason where one is kept. It takes a run on a kernel that counts:

    svmcts kernel build --debian 7.3 --profile gcov
    pytest --guest 7.3.4-deb1-gcov -n 2
    svmcts coverage

Several runs on one kernel, and several environments of a run, are added up (docs/coverage.md).
"""
STATUS = "exit status: 0 printed, 2 no answer: no counts, or they are of another build"


def main(arguments: list[str]) -> int:
    """Exit status: 0 printed, 2 no answer."""
    options = _parser().parse_args(arguments)
    runs = [what_there_is_at(text) for text in options.run or [str(written() / OUT)]]
    found = Counted(runs, every_file=options.all)
    if options.write_map:
        print(functions.write(found.names(), found.about))
        return 0
    chosen = found.select(options.tests)
    files = chosen.measure()
    if options.html:
        _html(chosen, found, options.html)
    judged = [(file, _judge(file, found.notes)) for file in files]
    if options.json:
        print(json.dumps(_answer(judged), indent=1))
        return 0
    print("\n".join([*found.head(options.tests), *table(judged), ""]))
    print("\n".join(_unexecuted(judged, whole=not options.tests, lines=options.lines)))
    if options.html:
        print(f"\nthe source with counts is {options.html / 'index.html'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "svmcts coverage",
        description=DESCRIPTION,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", nargs="*", help="runs (default: the newest)")
    parser.add_argument(
        "--tests",
        metavar="NODE",
        action="append",
        default=[],
        help="only what these executed: a folder, a file or a test as pytest names it; may be repeated",
    )
    parser.add_argument("--all", action="store_true", help="all files that are counted, the whole driver")
    parser.add_argument("--lines", action="store_true", help="each line that is not executed")
    parser.add_argument(
        "--html", metavar="DIR", type=Path, help="write the source with its counts there (gcovr)"
    )
    parser.add_argument("--json", action="store_true", help="the answer for programs")
    parser.add_argument(
        "--write-map",
        action="store_true",
        help="record which functions each test executes, for --affected (reports/coverage/functions.tsv)",
    )
    return parser


def _judge(file: Covered, notes: Notes) -> list[Line]:
    return reasons.unexecuted(file, source_of(file.name, notes), reasons.load())


Judged = Sequence[tuple[Covered, list[Line]]]


def table(files: Judged) -> list[str]:
    """A row for each file, and one for all; ``reachable`` leaves out lines with a reason that no test can change."""
    names = [Path(file.name).name for file, _ in files]
    width = max(map(len, (*names, "all")))
    titles = ("lines", "reachable lines", "branches", "functions")
    rows = [f"{'file':{width}}" + "".join(f"  {title:>20}" for title in titles)]
    sums = [(0, 0)] * len(titles)
    for name, (file, lines) in zip(names, files, strict=True):
        pairs = _figures(file, lines)
        sums = [(a + c, b + d) for (a, b), (c, d) in zip(sums, pairs, strict=True)]
        rows.append(_row(name, width, pairs))
    return [*rows, _row("all", width, sums)]


def _figures(file: Covered, lines: Iterable[Line]) -> list[tuple[int, int]]:
    done, total = executed(file.lines.values())
    excused = sum(line.reason is not None and line.reason.kind != "missing" for line in lines)
    return [
        (done, total),
        (done, total - excused),
        executed(file.branches),
        executed(function.times for function in file.functions),
    ]


def _row(name: str, width: int, pairs: Iterable[tuple[int, int]]) -> str:
    return f"{name:{width}}" + "".join(f"  {_share(pair):>20}" for pair in pairs)


def _share(pair: tuple[int, int]) -> str:
    done, total = pair
    return f"{done} of {total}, {100 * done / total:.1f} %" if total else "none"


def _unexecuted(files: Judged, *, whole: bool, lines: bool) -> list[str]:
    """The code that is not executed, by function; reasons are for all tests together."""
    said: list[str] = []
    for file, missed in files:
        of: dict[str, list[Line]] = {}
        for line in missed:
            of.setdefault(line.function.name if line.function else "", []).append(line)
        never = {function.name for function in file.functions if not function.times}
        for name, ones in of.items():
            if not (lines or name in never or (whole and any(line.reason is None for line in ones))):
                continue
            part = "not executed" if name in never else f"{_lines(len(ones))} not executed"
            said.append(f"{Path(file.name).name}:{name}: {part}{_why(ones) if whole else ''}")
            if lines:
                said += [f"    {line.number}: {line.text}" for line in ones]
        if whole:
            said += [
                f"{reason.file}:{reason.function}: a reason that explains nothing any more: {reason.why}"
                for reason in reasons.outdated(file, missed, reasons.load())
            ]
    return said


def _why(lines: Sequence[Line]) -> str:
    known: dict[Reason, None] = dict.fromkeys(line.reason for line in lines if line.reason is not None)
    unknown = sum(line.reason is None for line in lines)
    words = [str(reason) for reason in known]
    if unknown:
        words.append("no reason is kept" + (f" for {_lines(unknown)}" if known else ""))
    return "".join(f"\n    {word}" for word in words)


def _lines(number: int) -> str:
    return f"{number} line{'s' * (number != 1)}"


def _answer(files: Judged) -> list[dict[str, object]]:
    return [
        {
            "file": file.name,
            **{
                title: {"executed": done, "all": total}
                for title, (done, total) in zip(
                    ("lines", "reachable", "branches", "functions"), _figures(file, lines), strict=True
                )
            },
            "unexecuted": [
                {
                    "line": line.number,
                    "function": line.function.name if line.function else None,
                    "reason": str(line.reason) if line.reason else None,
                }
                for line in lines
            ],
        }
        for file, lines in files
    ]


def _html(chosen: Totals, found: Counted, folder: Path) -> None:
    """The source with its counts, by gcovr. Raises NoAnswerError."""
    if find_spec("gcovr") is None:
        raise NoAnswerError("--html needs gcovr: pip install gcovr")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        chosen.write(Path(place))
        root = chosen.source_tree(Path(place))
        command = [sys.executable, "-m", "gcovr", "--root", str(root), "--object-directory", place]
        command += [f"--filter={root}/{name}.c" for name in chosen.counts]
        command += [
            "--html-title",
            f"svm-cts: {found.about}",
            "--html-details",
            str(folder / "index.html"),
            place,
        ]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or "no answer").splitlines()[-1]
        raise NoAnswerError(f"gcovr: {said}")
