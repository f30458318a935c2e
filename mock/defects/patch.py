# SPDX-License-Identifier: MIT
"""A defect: it replaces a function."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


def replace(owner: type | ModuleType, name: str, broken: Callable[..., Any]) -> None:
    """Replace the function ``name`` of a class or module by ``broken``.

    Raises AttributeError if there is none: a defect that misses its target breaks nothing.
    """
    if name not in vars(owner):
        raise AttributeError(f"{owner.__name__} has no {name} to break")
    setattr(owner, name, broken)


def nothing(*_: object, **__: object) -> None:
    """Does nothing, whatever its arguments are."""
