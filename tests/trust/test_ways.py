# SPDX-License-Identifier: MIT
"""ways.tsv names an existing test for each way in which an answer may come by accident."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAYS = [
    line.split("\t")
    for line in Path(__file__).with_name("ways.tsv").read_text().splitlines()
    if not line.startswith("#")
]
KINDS = {"streams", "environments", "tests", "builds", "tools", "abi", "plugin", "mock", "rig"}


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("kind", "way", "tests"), WAYS, ids=[f"{way[0]}: {way[1]}" for way in WAYS])
def test_way_has_its_tests(kind: str, way: str, tests: str) -> None:
    assert kind in KINDS
    assert way
    for test in tests.split():
        file, _, function = test.partition("::")
        assert function in functions(file), test


def test_every_kind_is_there_and_no_way_twice() -> None:
    assert {way[0] for way in WAYS} == KINDS
    assert len({(way[0], way[1]) for way in WAYS}) == len(WAYS)
