# SPDX-License-Identifier: MIT
"""``svmcts affected PATCH``: behaviours that a kernel patch may change, and their tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from reports.affected import BY_SYMBOL, Affected, affected, executing, patch_of, touched
from reports.ledger import Ledger
from reports.marks import proofs

DESCRIPTION = """\
Lists the behaviours whose sources in the ledger a patch touches: those of its functions and types, with their tests;
then the tests that execute the functions it touches, if they are few (svmcts coverage); then the behaviours of its
files. pytest --affected PATCH runs the tests in this order, and the others after them.
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
    found, executed = affected(changes, Ledger.load()), executing(changes)
    if not found and not executed:
        print(f"{options.patch}: no behaviour cites {', '.join(sorted(changes))}")
        return 1
    print("\n".join(_lines(found, executed)))
    return 0


def _lines(found: list[Affected], executed: dict[str, list[str]]) -> list[str]:
    tests = proofs()
    lines: list[str] = []
    of_functions = [one for one in found if one.rank == BY_SYMBOL]
    blocks = [_cited(of_functions, tests), _executed(executed), _cited(found[len(of_functions) :], tests)]
    for block in filter(None, blocks):
        lines += [*block, ""]
    return lines[:-1]


def _executed(executed: dict[str, list[str]]) -> list[str]:
    """The tests that execute touched functions."""
    if not executed:
        return []
    every = {test for tests in executed.values() for test in tests}
    lines = [f"that execute functions that it touches: {len(every)} tests", ""]
    for name, tests in executed.items():
        lines += [f"  {name}", *(f"      {test}" for test in tests)]
    return lines


def _cited(found: list[Affected], tests: dict[str, list[str]]) -> list[str]:
    """Behaviours of one rank, with their tests."""
    if not found:
        return []
    proving = {test for one in found for test in tests.get(one.behaviour.id, ())}
    what = "functions and types" if found[0].rank == BY_SYMBOL else "files"
    lines = [f"of the {what} that it touches: {len(found)} behaviours, {len(proving)} tests", ""]
    for one in found:
        lines.append(f"  {one.behaviour.id}  ({one.why})")
        lines += [f"      {test}" for test in tests.get(one.behaviour.id, ["no test"])]
    return lines
