# SPDX-License-Identifier: MIT
"""``--json``: what a command says, for programs; docs/reports.md has the keys of each command.

One object on standard output. Its keys are always there, null or empty if there is nothing to say. Lists of objects
are in the order of their keys' values, unless the command has an order of its own. An answer that does not come
leaves standard output empty: common/answers.py says why on standard error.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path

SCHEMA = 1
"""Raised when a key changes its meaning or goes; a new key does not raise it."""
Row = dict[str, object]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--json``."""
    parser.add_argument(
        "--json", action="store_true", help='print a JSON object (docs/reports.md, "Answers for programs")'
    )


def print_answer(command: str, status: int, answer: Mapping[str, object]) -> int:
    """Print what a command says; returns the exit status that it ends with."""
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
