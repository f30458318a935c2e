# SPDX-License-Identifier: MIT
"""``svmcts affected PATCH``: which behaviours a patch of the kernel may change, and which tests prove them."""

from __future__ import annotations

import argparse
from itertools import groupby
from pathlib import Path

from reports.affected import BY_SYMBOL, Affected, affected, patch_of, touched
from reports.ledger import Ledger
from reports.marks import proofs

DESCRIPTION = """\
Lists the behaviours whose sources in the ledger a patch touches: first those of its functions and types, then those
of its files, each with its tests. pytest --affected PATCH runs the tests in this order, and the others after them.
"""
STATUS = "exit status: 0 listed, 1 the patch affects no behaviour, 2 no answer: no patch, or something cannot be read"
TREE = "git tree of the kernel in which BASE..HEAD is"
PATCH = "a patch file, of one patch or a series, or BASE..HEAD of --tree"


def main(arguments: list[str]) -> int:
    """Exit status: 0 listed, 1 the patch affects nothing that the ledger has, 2 it cannot be read."""
    parser = argparse.ArgumentParser("svmcts affected", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("patch", metavar="PATCH", help=PATCH)
    parser.add_argument("--tree", metavar="LINUX", type=Path, help=TREE)
    options = parser.parse_args(arguments)
    changes = touched(patch_of(options.patch, options.tree), options.patch)
    found = affected(changes, Ledger.load())
    if not found:
        print(f"{options.patch}: no behaviour cites {', '.join(sorted(changes))}")
        return 1
    print("\n".join(_lines(found)))
    return 0


def _lines(found: list[Affected]) -> list[str]:
    tests = proofs()
    lines: list[str] = []
    for rank, ones in groupby(found, key=lambda one: one.rank):
        listed = list(ones)
        proving = {test for one in listed for test in tests.get(one.behaviour.id, ())}
        what = "functions and types" if rank == BY_SYMBOL else "files"
        lines += [f"of the {what} that it touches: {len(listed)} behaviours, {len(proving)} tests", ""]
        for one in listed:
            lines.append(f"  {one.behaviour.id}  ({one.why})")
            lines += [f"      {test}" for test in tests.get(one.behaviour.id, ["no test"])]
        lines.append("")
    return lines[:-1]
