# SPDX-License-Identifier: MIT
"""python -m tests.ledger.prune: remove behaviours that have a test now from behaviours/untested.yaml."""

from __future__ import annotations

import math
import sys
import textwrap
from collections.abc import Iterable

import yaml

from reports.ledger import DIRECTORY, UNTESTED, Ledger, Untested
from reports.marks import marks

WIDTH = 120


def prune(ledger: Ledger, tested: set[str]) -> list[Untested]:
    """The entries without tested behaviours; a glob that covers a tested one becomes the remaining ids."""
    pruned = []
    for entry in ledger.untested:
        ids: list[str] = []
        for pattern in entry.ids:
            covered = [b.id for b in ledger.matching(pattern) if b.kind != "model-only"]
            left = [identifier for identifier in covered if identifier not in tested]
            ids += [pattern] if left and left == covered else left
        if ids:
            pruned.append(Untested(tuple(sorted(ids)), entry.reason, entry.planned))
    return pruned


def text(entries: Iterable[Untested], comment: str) -> str:
    """The file: ``comment`` is the text before the first entry."""
    blocks = [
        "- ids:\n"
        + "".join(f"    - {identifier}\n" for identifier in entry.ids)
        + folded("reason", entry.reason)
        + folded("planned", entry.planned)
        for entry in entries
    ]
    return comment + "\n".join(blocks)


def folded(key: str, value: str) -> str:
    """A field of an entry, in lines of at most WIDTH characters."""
    scalar = yaml.safe_dump(value, width=math.inf).removesuffix("...\n").strip()
    return (
        textwrap.fill(
            f"{key}: {scalar}",
            WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        + "\n"
    )


def main() -> int:
    """Rewrite the file."""
    path = DIRECTORY / f"{UNTESTED}.yaml"
    old = path.read_text(encoding="utf-8")
    comment = "".join(line for line in old.splitlines(keepends=True) if line.startswith("#"))
    tested = {mark.identifier for mark in marks(DIRECTORY.parent / "suites") if mark.identifier}
    path.write_text(text(prune(Ledger.load(), tested), comment), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
