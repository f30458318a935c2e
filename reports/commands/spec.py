# SPDX-License-Identifier: MIT
"""``svmcts spec -o DIR``: the ledger as a document, and a check for dead links and names."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.place import ROOT
from reports.commands.inputs import RUN, what_there_is_at, whole
from reports.ledger import Ledger
from reports.merge import merge
from reports.spec import check, tests
from reports.spec.document import files, write
from reports.verdict import matrix

DESCRIPTION = """\
Writes the ledger as a document: a page for each area with an anchor for each behaviour, an index and a search, the
findings, the sources of the tests, and all behaviours as one Markdown file. With results, what each environment did.
The document loads nothing, and needs no checkout. --check finds links, anchors, paths, test ids and ids of behaviours
that lead nowhere, in the documents of the checkout and in the specification itself; it does not use the network.
"""
STATUS = "exit status: 0 written, no dead links; 1 --check found some; 2 no answer"


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, 1 something leads nowhere, 2 no answer."""
    parser = argparse.ArgumentParser("svmcts spec", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="output folder")
    parser.add_argument("--check", action="store_true", help="look for dead links and names")
    parser.add_argument(
        "--results", metavar="RUN", nargs="+", action="extend", default=[], help=f"{RUN}; any number"
    )
    options = parser.parse_args(arguments)
    if not (options.output or options.check):
        parser.error("name a folder with -o, or ask for --check")
    ledger = Ledger.load()
    runs = [what_there_is_at(text) for text in options.results]
    made = dict(files(ledger, matrix(merge(runs), ledger) if runs else None))
    if options.output:
        for path in write(options.output, made):
            print(path)
    dead = []
    if options.check:
        dead = [*check.in_documents(ROOT, ledger, tests.read()), *check.in_specification(made, ledger)]
        print(
            "\n".join(map(str, dead))
            or f"{len(made)} files and {len(check.documents(ROOT))} documents: no dead links or names"
        )
    whole(*runs)
    return int(bool(dead))
