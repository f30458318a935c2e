# SPDX-License-Identifier: MIT
"""The lists against the suite, without running it: nothing is missing from them, and nothing in them is unknown."""

from __future__ import annotations

from mock.defects import defects
from tests.controls import claims
from tests.controls.control import gaps
from tests.controls.inventory import load


def test_lists_have_all_tests_that_a_rule_requires() -> None:
    problems = [line for defect in defects() for line in gaps(defect, claims.read(defect), load())]
    assert not problems, "\n".join(problems)
