# SPDX-License-Identifier: MIT
"""``--json``: the answer of a command, for programs; docs/reports.md has the keys of each command.

One object on standard output. Its keys are always present, with null or an empty value if there is nothing to say.
Lists of objects are sorted by their keys' values, unless the command has its own order. Without an answer, standard
output is empty, and common/answers.py prints the reason on standard error.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

SCHEMA = 1
"""Increased if a key changes its meaning or is removed, not for a new key."""
Row = dict[str, object]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--json``."""
    parser.add_argument(
        "--json", action="store_true", help='print a JSON object (docs/reports.md, "JSON output")'
    )


def print_answer(command: str, status: int, answer: Mapping[str, object]) -> int:
    """Print the answer of a command; returns its exit status."""
    whole = {"command": command, "schema": SCHEMA, "status": status, **answer}
    # In ASCII, which any terminal and locale can show.
    print(json.dumps(_plain(whole), indent=1, ensure_ascii=True, allow_nan=False))
    return status


def rows(found: Iterable[Row]) -> list[Row]:
    """Objects with the same keys in the order of their plain values, the first key first."""
    return sorted(found, key=lambda row: [_rank(value) for value in row.values()])


def _rank(value: object) -> tuple[int, float, str]:
    """A place in the order: nothing, numbers, text."""
    value = _plain(value)
    if isinstance(value, int | float):
        return 1, value, ""
    return (2, 0, value) if isinstance(value, str) else (0, 0, "")


def _plain(value: object) -> object:
    """The value in types of JSON; raises TypeError for what has none."""
    match value:
        case Enum():
            return _plain(value.value)
        case None | bool() | int() | float():
            return value
        case str():  # UTF-8 has no lone surrogate, and a file name may
            return value.encode("utf-8", "replace").decode("utf-8")
        case Path():
            return _plain(str(value))
        case datetime.date():
            return value.isoformat()
        case Mapping():
            return {str(_plain(key)): _plain(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted(_plain(item) for item in value)  # type: ignore[type-var]
        case list() | tuple():
            return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")
