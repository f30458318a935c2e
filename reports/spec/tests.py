# SPDX-License-Identifier: MIT
"""The tests of behaviours in the specification: their location, promise and marks.

They are read without being imported.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from reports.marks import SUITES

APART = "driver behaviour, checked apart in a block of driver_only"
DRAWN = "random steps: proves it where they met it"
OVERLAP = "proves it only if both sides ran at the same time"


@dataclass(frozen=True, slots=True)
class Test:
    """A test function."""

    file: str
    """Below the checkout."""
    name: str
    """The node id behind the file."""
    line: int
    promise: str
    """First line of its docstring."""
    apart: frozenset[str]
    """Behaviours of its blocks of ``driver_only``."""
    drawn: bool
    overlaps: bool
    known: tuple[tuple[str, str], ...]
    """Heading of a finding, and the kernels that fail so."""

    @property
    def node(self) -> str:
        """Its node id."""
        return f"{self.file}::{self.name}"

    def marks(self, identifier: str) -> list[str]:
        """Notes about the test as a proof of a behaviour."""
        said = ((APART, identifier in self.apart), (DRAWN, self.drawn), (OVERLAP, self.overlaps))
        return [text for text, holds in said if holds]


def read(suites: Path = SUITES) -> dict[str, Test]:
    """All tests by node id."""
    return {test.node: test for path in sorted(suites.rglob("*.py")) for test in _tests(path, suites.parent)}


def at(where: str, tests: dict[str, Test]) -> Test:
    """The test of a node id; of ``file:line`` as well, for the behaviour of a parameter."""
    if where in tests:
        return tests[where]
    file, _, line = where.rpartition(":")
    return Test(file, "", int(line), "cases of a table", frozenset(), False, False, ())


def _tests(path: Path, root: Path) -> Iterator[Test]:
    file = path.relative_to(root).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"), file)
    yield from _inside(tree, file, "", constants(tree))


def constants(module: ast.Module) -> dict[str, object]:
    """Names that a module gives to constants, with their values."""
    return {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _inside(node: ast.AST, file: str, prefix: str, named: Mapping[str, object]) -> Iterator[Test]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _inside(child, file, f"{prefix}{child.name}::", named)
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield _test(child, file, prefix, named)


def _test(node: ast.FunctionDef | ast.ClassDef, file: str, prefix: str, named: Mapping[str, object]) -> Test:
    apart = {
        argument.value
        for call in _calls(node, "driver_only")
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }
    acts = {
        argument.value
        for call in _calls(node, "acts")
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    decorators = {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}
    return Test(
        file,
        f"{prefix}{node.name}",
        node.lineno,
        (ast.get_docstring(node) or "").partition("\n")[0],
        frozenset(apart),
        "only_if_exercised" in decorators,
        "overlap" in acts,
        tuple(known_in(node, named)),
    )


def known_in(node: ast.AST, named: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Heading of each finding that a piece of code marks tests with, and the kernels that fail so."""
    for call in _calls(node, "known"):
        heading = call.args[0]
        text = named.get(heading.id) if isinstance(heading, ast.Name) else getattr(heading, "value", "")
        given = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
        if "first" not in given:
            continue  # another function of that name
        first, last = str(given["first"]), given.get("last")
        yield str(text), f"{first} to {last!s}" if last else f"{first} and later"


def _calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and getattr(call.func, "id", getattr(call.func, "attr", "")) == name:
            yield call
