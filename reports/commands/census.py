# SPDX-License-Identifier: MIT
"""``svmcts census LINUX_TREE``: sentences of the documents that are new, changed or gone."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from reports import census
from reports.ledger import Ledger

DESCRIPTION = f"""\
Compares the sentences of a kernel's documents that may bind it with those that were recorded in behaviours/census, and
lists those that are new, changed or gone, with their behaviours. The documents are
{", ".join(Path(name).name for name in census.DOCUMENTS)}.
"""
STATUS = (
    "exit status: 0 nothing differs, or it was recorded; 1 something differs; "
    "2 no answer: a document or a table cannot be read"
)


def main(arguments: list[str]) -> int:
    """Exit status: 0 nothing differs, 1 something does, 2 a document or a table cannot be read."""
    parser = argparse.ArgumentParser("svmcts census", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("tree", metavar="LINUX_TREE", type=Path, help="a kernel's source")
    parser.add_argument(
        "--record",
        action="store_true",
        help="write the tables from this tree; new sentences then need ids or a reason",
    )
    options = parser.parse_args(arguments)
    ledger = Ledger.load()
    differences = {
        document: _difference(document, options.tree, ledger, options.record) for document in census.DOCUMENTS
    }
    for document, difference in differences.items():
        print("".join(f"{line}\n" for line in _lines(document, difference)), end="")
        if options.record:
            census.save(document, census.merged(difference, document, ledger))
    print(_sum(differences.values()))
    return int(any(differences.values()) and not options.record)


def _difference(document: str, tree: Path, ledger: Ledger, new: bool) -> census.Difference:
    now = census.read(document, tree, ledger)
    recorded = [] if new and not census.table(document).exists() else census.load(document)
    return census.compare(recorded, now)


def _lines(document: str, difference: census.Difference) -> Iterator[str]:
    for row in difference.new:
        yield f"{document}:{row.line}: new: {row.words} ..."
    for old, row in difference.changed:
        yield f"{document}:{row.line}: changed: {row.words} ...{_had(old)}"
    for row in difference.gone:
        yield f"{document}: gone, was line {row.line}: {row.words} ...{_had(row)}"


def _had(row: census.Row) -> str:
    return f" ({', '.join(row.ids)})" if row.ids else ""


def _sum(differences: Iterable[census.Difference]) -> str:
    every = list(differences)
    new, changed, gone, same = (
        sum(len(getattr(difference, kind)) for difference in every)
        for kind in ("new", "changed", "gone", "same")
    )
    moved = sum(old.line != row.line for difference in every for old, row in difference.same)
    return (
        f"{new + changed + same} sentences: {new} new, {changed} changed, {gone} gone, "
        f"{moved} of the rest on another line"
    )
