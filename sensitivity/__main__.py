# SPDX-License-Identifier: MIT
"""``python -m sensitivity``: list the seeded faults, or put one into a kernel tree."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.answers import NoAnswerError
from sensitivity import catalogue


def put(fault: catalogue.Fault, tree: Path) -> None:
    """Edit the files of a tree, all of them or, when an edit does not fit, none. Raises NoAnswerError."""
    edited: dict[Path, str] = {}
    for edit in fault.edits:
        path = tree / edit.file
        try:
            source = edited.get(path) or path.read_text(encoding="utf-8")
        except OSError as error:
            raise NoAnswerError(f"{path}: {error.strerror}") from None
        edited[path] = edit.apply(source)
    for path, source in edited.items():
        path.write_text(source, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sensitivity", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the faults")
    parser.add_argument("fault", nargs="?", help="the fault to put into a tree")
    parser.add_argument("tree", nargs="?", type=Path, help="a kernel tree, edited in place")
    options = parser.parse_args(arguments)
    if not options.list and not options.tree:
        parser.error("give a fault and a tree, or --list")
    try:
        if options.list:
            for fault in catalogue.load():
                print(f"{fault.id:28} {fault.shown_by:6} {fault.title}")
        else:
            put(catalogue.find(options.fault), options.tree)
    except NoAnswerError as error:
        print(f"sensitivity: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
