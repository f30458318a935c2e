# SPDX-License-Identifier: MIT
"""Conformance tests do not fail other drivers for behaviour of this one: debugfs counters are only further evidence."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from reports.ledger import Ledger
from tests.ledger.test_races import functions, words

COUNTING = {"rose", "still", "by_size"}
"""Functions that assert a counter (fixtures.xe.counters)."""
LEDGER = Ledger.load()


def calls(node: ast.AST, inside: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Line and name of each call of ``COUNTING``, and whether it is in a block of ``driver_only``."""
    if isinstance(node, ast.With):
        heads = [item.context_expr for item in node.items]
        inside = inside or any(
            isinstance(one, ast.Call) and _name(one.func) == "driver_only" for one in heads
        )
    if isinstance(node, ast.Call) and _name(node.func) in COUNTING:
        yield node.lineno, _name(node.func), inside
    for child in ast.iter_child_nodes(node):
        yield from calls(child, inside)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def asserted(node: ast.FunctionDef) -> Iterator[int]:
    """Lines outside of ``driver_only`` that fail the test for a counter; reading one is allowed."""
    kept = {
        id(call)
        for assign in ast.walk(node)
        if isinstance(assign, ast.Assign)
        for call in ast.walk(assign)
        if isinstance(call, ast.Call) and _name(call.func) == "by_size"
    }
    reads = {call.lineno for call in ast.walk(node) if id(call) in kept}
    yield from (line for line, _, inside in calls(node) if not inside and line not in reads)


def test_counters_are_asserted_as_what_only_this_driver_does() -> None:
    wrong = [
        f"{file}:{line}: {node.name} has a promise"
        for file, node in functions()
        if any(LEDGER[one].promise != "driver" for one in words(node, "behaviour") if one in LEDGER)
        and not any(
            one.startswith("obs.") and LEDGER[one].promise != "driver" for one in words(node, "behaviour")
        )
        for line in asserted(node)
    ]
    assert not wrong, "assert it in a block of driver_only:\n" + "\n".join(wrong)


def test_a_counter_outside_of_the_block_is_found() -> None:
    body = "def test_x():\n    with driver_only('a'):\n        counters.rose('b')\n    counters.still('c')\n"
    (function,) = ast.parse(body + "    found = counters.by_size('d')\n").body
    assert isinstance(function, ast.FunctionDef)
    assert list(asserted(function)) == [4]
