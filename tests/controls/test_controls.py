# SPDX-License-Identifier: MIT
"""The controls: the tests in the lists of claims/ against each defect of the mock."""

from __future__ import annotations

import pytest

from mock.defects import defects
from tests.controls import claims
from tests.controls.control import check
from tests.controls.inventory import load


@pytest.mark.parametrize("defect", defects())
def test_a_defect_is_noticed_by_every_test_that_claims_to(defect: str) -> None:
    """No test in the list of a defect passes under it, and no test that should be in the list is missing."""
    verdict = check(defect, load())
    if verdict.problems:
        pytest.fail("\n".join(verdict.problems), pytrace=False)
    if verdict.not_run:
        pytest.skip(f"this machine runs none of the tests that claim to notice: {verdict.not_run}")


def test_every_list_is_that_of_a_defect() -> None:
    assert {path.stem for path in claims.DIRECTORY.glob("*.txt")} == set(defects())
