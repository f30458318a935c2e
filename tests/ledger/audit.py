# SPDX-License-Identifier: MIT
"""Entries of the ledger that were checked against the kernel source, with the result.

``behaviours/audit/<area>.tsv`` has a line for each entry that was read. Its digest is that of the entry as it was left,
so that an entry which changes afterwards has to be read again:

    python -m tests.ledger.audit ID... --found true|imprecise|wrong|since|unchecked|new [--note TEXT]
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from reports.ledger import DIRECTORY, Behaviour, Ledger, LedgerError

AUDIT = DIRECTORY / "audit"
KERNEL = "7.3.4"
FOUND = {
    "true": "true as it was written",
    "imprecise": "mostly true, and fixed",
    "wrong": "a clause was false, and fixed",
    "since": "true, with a wrong first version, and fixed",
    "unchecked": "cannot be settled by reading: a run has to say",
    "new": "written when it was read",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of a table: the entry ``id``, the kernel that it was checked against, and the result."""

    id: str
    digest: str
    kernel: str
    date: str
    found: str
    note: str


COLUMNS = [field.name for field in fields(Verdict)]


def digest(behaviour: Behaviour) -> str:
    """A hash of the checked fields; line numbers of documents may change without changing it."""
    judged = (
        behaviour.kind,
        behaviour.statement,
        behaviour.sources,
        behaviour.since,
        behaviour.history,
        behaviour.promise,
        [(place.document or [place.at])[0] + (place.words or "") for place in behaviour.promised_by],
    )
    return hashlib.sha256(json.dumps(judged).encode()).hexdigest()[:12]


def load(directory: Path = AUDIT) -> dict[str, Verdict]:
    """Id to its verdict; raises ValueError naming the file and line of a row that is broken or twice there."""
    verdicts: dict[str, Verdict] = {}
    for path in sorted(directory.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
                if number == 1:
                    if row != COLUMNS:
                        raise ValueError(f"{path}:1: the columns have to be {', '.join(COLUMNS)}")
                    continue
                if len(row) != len(COLUMNS) or row[4] not in FOUND or row[0] in verdicts:
                    raise ValueError(f"{path}:{number}: broken, or the second line of this entry: {row}")
                verdicts[row[0]] = Verdict(*row)
    return verdicts


def save(verdicts: dict[str, Verdict], ledger: Ledger, directory: Path = AUDIT) -> None:
    """Write a table for each area, in the order of the ledger; lines of entries that are gone go too."""
    directory.mkdir(exist_ok=True)
    for area in ledger.vocabulary.areas:
        rows = [verdicts[b.id] for b in ledger.values() if b.area == area and b.id in verdicts]
        if rows:
            lines = [COLUMNS, *map(astuple, rows)]
            text = "".join("\t".join(line) + "\n" for line in lines)
            (directory / f"{area}.tsv").write_text(text, encoding="utf-8")


def record(ids: Iterable[str], ledger: Ledger, found: str, note: str, directory: Path = AUDIT) -> None:
    """Note that the entries were read today, as they are now."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    verdicts = load(directory)
    for identifier in ids:
        verdicts[identifier] = Verdict(
            identifier, digest(ledger[identifier]), KERNEL, today, found, " ".join(note.split())
        )
    save(verdicts, ledger, directory)


def main(arguments: list[str]) -> int:
    """Exit status: 0 recorded, 2 an id is unknown or the ledger is not well-formed."""
    parser = argparse.ArgumentParser("python -m tests.ledger.audit", description=__doc__)
    parser.add_argument("ids", nargs="+", metavar="ID")
    parser.add_argument("--found", required=True, choices=FOUND)
    parser.add_argument("--note", default="", help="what was wrong, or what the source says")
    options = parser.parse_args(arguments)
    try:
        ledger = Ledger.load()
    except LedgerError as error:
        parser.error(str(error))
    if unknown := [identifier for identifier in options.ids if identifier not in ledger]:
        parser.error(f"{', '.join(unknown)}: not in behaviours/")
    record(options.ids, ledger, options.found, options.note)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
