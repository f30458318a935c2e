# SPDX-License-Identifier: MIT
"""Rules: which tests must not pass under a defect, by their declarations.

A rule returns the declaration of a test that makes it depend on the broken part, or nothing. Defects without a rule
only have to be noticed by the tests in their list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from tests.controls.inventory import Test

Rule = Callable[[Test], str]
"""Reason why a test has to be in the list of a defect, or an empty string."""

BY_THE_GPU = frozenset({"exec", "store", "load", "fault", "migrate", "cpu-fault"})
MOVES = frozenset({"migrate", "cpu-fault"})

_FREES = re.compile(r"munmap\(|remap_fresh\(|MADV_DONTNEED|sbrk\(")
_MOVES = re.compile(r"mremap\(")


def _declares(test: Test, kinds: Collection[str]) -> str:
    declared = sorted(test.acts.intersection(kinds))
    return f"it declares {', '.join(declared)}" if declared else ""


def _is_about(test: Test, subjects: Collection[str]) -> str:
    found = sorted(test.subjects.intersection(subjects))
    return f"it is about {', '.join(found)}" if found else ""


def _does(test: Test, what: re.Pattern[str]) -> str:
    found = what.search(test.source)
    return f"it calls {found[0].rstrip('(')}" if found else ""


def _moves_data(test: Test) -> str:
    seen = _is_about(test, {"migrate", "cpu-fault"}) if test.acts & {"store", "load"} else ""
    return _declares(test, MOVES) or seen


RULES: dict[str, Rule] = {
    "gpu-idle": lambda test: _declares(test, BY_THE_GPU),
    "copies-zero": _moves_data,
    "ioctls-succeed": lambda test: _declares(test, test.acts - {"query"}),
    "refusals-succeed": lambda test: _declares(test, {"refusal"}),
    "ignore-munmap": lambda test: _is_about(test, {"invalidate", "gc"}) or _does(test, _FREES),
    "ignore-mremap": lambda test: _does(test, _MOVES),
}
