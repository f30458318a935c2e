# SPDX-License-Identifier: MIT
"""Defects: mocks that are broken on purpose, to show that tests notice (tests/controls).

A defect is a function that breaks one thing in the mock's own process, before the driver is created. The first line of
its docstring says what is broken. To add one, write it into the module of its subject, and have its controls recorded:
python -m tests.controls --record NAME.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from common.near import near_or_all

Defect = Callable[[], None]

_MODULES = ("gpu", "memory", "migration", "uapi")


def defects() -> dict[str, Defect]:
    """All defects, by the name that --mock-defect takes."""
    # Looked up on demand: an intact mock loads none of this.
    return {
        name: defect
        for module in _MODULES
        for name, defect in importlib.import_module(f"mock.defects.{module}").DEFECTS.items()
    }


def find(name: str) -> Defect:
    """The defect of that name. Raises ValueError with one line if it does not exist."""
    known = defects()
    if name not in known:
        raise ValueError(f"no defect {name!r}{near_or_all(name, known)}")
    return known[name]
