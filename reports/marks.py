# SPDX-License-Identifier: MIT
"""Behaviours that the conformance tests name: their @behaviour marks, read without importing the tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUITES = Path(__file__).resolve().parent.parent / "suites"


@dataclass(frozen=True, slots=True)
class Mark:
    """One id in one ``behaviour(...)`` call."""

    identifier: str | None
    """None if the argument is not a literal, so that it cannot be checked without running the test."""
    where: str
    test: str = ""
    """Node id of the function that it decorates; ``where`` for the mark of a parameter."""


def marks(suites: Path = SUITES) -> list[Mark]:
    """All marks in the test modules below ``suites``."""
    return [mark for path in sorted(suites.rglob("*.py")) for mark in _marks(path, suites.parent)]


def proofs(suites: Path = SUITES) -> dict[str, list[str]]:
    """Id of a behaviour to the tests that prove it, in the order of the suites."""
    found: dict[str, list[str]] = {}
    for mark in marks(suites):
        if mark.identifier is not None:
            found.setdefault(mark.identifier, []).append(mark.test)
    return {identifier: list(dict.fromkeys(tests)) for identifier, tests in found.items()}


def _marks(path: Path, root: Path) -> Iterator[Mark]:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    file = path.relative_to(root)
    owners = {id(decorator): name for name, decorator in _decorators(tree, str(file))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) == "behaviour":
            for argument in node.args:
                value = argument.value if isinstance(argument, ast.Constant) else None
                where = f"{file}:{argument.lineno}"
                yield Mark(value if isinstance(value, str) else None, where, owners.get(id(node), where))


def _decorators(node: ast.AST, name: str) -> Iterator[tuple[str, ast.expr]]:
    """Node ids of functions and classes, each with its decorators."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}::{child.name}"
            yield from ((inner, decorator) for decorator in child.decorator_list)
            yield from _decorators(child, inner)


def _name(node: ast.expr) -> str:
    """``behaviour`` for both ``behaviour`` and ``pytest.mark.behaviour``."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
