# SPDX-License-Identifier: MIT
"""Which behaviours the conformance tests name: their @behaviour marks, read without importing the tests."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mark:
    """One id in one ``behaviour(...)`` call."""

    identifier: str | None
    """None if the argument is not a literal, so that nobody can check it without running the test."""
    where: str


def marks(suites: Path) -> list[Mark]:
    """All marks in the test modules below ``suites``."""
    return [mark for path in sorted(suites.rglob("*.py")) for mark in _marks(path, suites.parent)]


def _marks(path: Path, root: Path) -> Iterator[Mark]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Call) and _name(node.func) == "behaviour":
            for argument in node.args:
                literal = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                identifier = argument.value if literal else None
                yield Mark(identifier, f"{path.relative_to(root)}:{argument.lineno}")


def _name(node: ast.expr) -> str:
    """``behaviour`` for both ``behaviour`` and ``pytest.mark.behaviour``."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
