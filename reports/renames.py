# SPDX-License-Identifier: MIT
"""Tests that got another node id: docs/renames.tsv has the old one and the new one.

Streams and waivers that were written before keep their meaning: what reads them asks here. A row is for a function
and all its parameters, or with parameters for one case. Behaviours need none of this: their ids are never renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

TABLE = Path(__file__).resolve().parents[1] / "docs" / "renames.tsv"


def parse(text: str, where: str) -> dict[str, str]:
    """Old node id to new, from the lines of a table; raises ValueError with ``where`` and the line."""
    table: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        old, tab, new = line.partition("\t")
        if not (old and tab and new) or "\t" in new:
            raise ValueError(f"{where}:{number}: write the old node id, a tab, and the new one")
        if old in table:
            raise ValueError(f"{where}:{number}: {old} has a new name already: remove one of the lines")
        table[old] = new
    return table


@cache
def _current() -> Mapping[str, str]:
    return MappingProxyType(parse(TABLE.read_text(encoding="utf-8"), str(TABLE)))


@cache
def _former() -> Mapping[str, tuple[str, ...]]:
    former: dict[str, tuple[str, ...]] = {}
    for old, new in _current().items():
        former[new] = (*former.get(new, ()), old)
    return MappingProxyType(former)


def current(test: str) -> str:
    """The node id that a test has now; parameters stay, unless the table has a row for the case."""
    table = _current()
    function, bracket, parameters = test.partition("[")
    return table.get(test) or table.get(function, function) + bracket + parameters


def names(test: str) -> tuple[str, ...]:
    """The node id of a test, and those that it had."""
    table = _former()
    function, bracket, parameters = test.partition("[")
    olds = (f"{old}{bracket}{parameters}" for old in table.get(function, ()))
    return tuple(dict.fromkeys((test, *table.get(test, ()), *olds)))


def renamed(event: dict[str, Any]) -> dict[str, Any]:
    """An event of a stream with the node id that its test has now, also in the command that runs it again."""
    old = event.get("test")
    if not isinstance(old, str) or (new := current(old)) == old:
        return event
    changed = {**event, "test": new}
    if isinstance(replay := event.get("replay"), str):
        changed["replay"] = replay.replace(old, new)
    return changed
