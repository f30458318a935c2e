# SPDX-License-Identifier: MIT
"""``svmcts report RUN... -o DIR``: all reports, of any number of runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from common import lab
from common.heartbeat import Progress
from reports.commands.inputs import RUN, waivers_at, what_there_is_at, whole
from reports.formats.kcidb import submission
from reports.ledger import Ledger
from reports.merge import merge, named, split_name
from reports.stream import Run
from reports.write import write_report

DESCRIPTION = """\
Writes the results of any number of runs as an HTML matrix, for other programs and as mails. A column is an environment;
if several runs have it, the newest is shown and the others are its history. A run that was cut off or damaged is shown
as far as it can be read, and the exit status is 2.
"""
STATUS = "exit status: 0 written, 2 something cannot be read or written"


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, 2 something cannot be read."""
    parser = argparse.ArgumentParser("svmcts report", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help=f"{RUN}; NAME=RUN puts a name before its environments: lab-a=out/a lab-b=out/b",
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="output folder")
    parser.add_argument("--baseline", metavar="RUN", help="run to compare with; changes come first")
    parser.add_argument(
        "--waivers", metavar="FILE.toml", type=Path, help="failures that are known and accepted (svmcts gate)"
    )
    kernel = parser.add_argument_group("for kcidb.json")
    kernel.add_argument(
        "--origin", metavar="NAME", default="", help="the submitting system, as agreed with KernelCI"
    )
    kernel.add_argument(
        "--checkout", metavar="ID", default="", help="ORIGIN:ID of a checkout that is already reported"
    )
    kernel.add_argument(
        "--build", metavar="ID", default="", help="ORIGIN:ID of a build that is already reported"
    )
    kernel.add_argument(
        "--commit",
        metavar="HASH|LINUX",
        default="",
        help="the tested commit, or a git tree: its commit for a kernel's release, else its HEAD",
    )
    kernel.add_argument("--tree", metavar="NAME", default="", help="tree of the commit, for example mainline")
    lab.add_option(parser)
    options = parser.parse_args(arguments)
    here = lab.find(options.lab)
    try:
        submission(here.word("origin"))
    except ValueError as error:
        raise here.error("origin", str(error)) from None
    origin, tree = options.origin or here.word("origin"), options.tree or here.word("tree")
    try:
        about = submission(origin, options.checkout, options.build, options.commit, tree)
    except ValueError as error:
        parser.error(str(error))
    runs = [_run(text) for text in options.runs]
    accepted = options.baseline or here.file("baseline")
    baseline = _run(str(accepted)) if accepted else None
    report = merge(runs, baseline, waivers_at(options.waivers or here.file("waivers")))
    with Progress("svmcts report: writing") as progress:
        written = write_report(report, options.output, Ledger.load(), about, progress.tell)
    print("\n".join(map(str, written)))
    whole(*runs, *([baseline] if baseline else []))
    return 0


def _run(text: str) -> Run:
    name, path = split_name(text)
    run = what_there_is_at(str(path))
    return named(run, name) if name else run
