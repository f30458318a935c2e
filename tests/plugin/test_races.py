# SPDX-License-Identifier: MIT
"""Races that are left to chance: one whose sides did not meet is run again."""

from __future__ import annotations

import pytest

from fixtures.plugin.races import ATTEMPTS

RACE = """
from fixtures.overlap import missed

@pytest.fixture
def attempt():
    with open("attempts", "a") as file:
        file.write(".")
    return os.path.getsize("attempts")

@behaviour("demo.works")
@acts("overlap")
def test_x(attempt):
    {}
"""


@pytest.fixture
def race(project):
    """Run a race whose body is given; return its results, and how often it was run."""

    def run(body):
        project.suite(RACE.format(body))
        project.run()
        started, result = [event for event in project.events() if "test" in event]
        assert (started["event"], result["event"]) == ("start", "result")
        return result, len((project.path / "attempts").read_text())

    return run


def test_race_is_run_until_its_sides_meet(race):
    result, attempts = race('count("overlap") if attempt == 3 else count("store")')
    assert (result["outcome"], result["reason"], result["acts"], attempts) == (
        "PASS",
        None,
        {"overlap": 1},
        3,
    )


@pytest.mark.parametrize("body", ["pass", 'missed("not today")'])
def test_race_that_never_meets_is_untested(race, body):
    result, attempts = race(body)
    assert (result["outcome"], result["reason"]["code"], attempts) == (
        "UNTESTED",
        "MACHINE:overlap",
        ATTEMPTS,
    )


def test_race_that_fails_is_not_run_again(race):
    result, attempts = race("assert attempt != 2")
    assert (result["outcome"], attempts) == ("FAIL", 2)


def test_race_that_met_is_not_run_again(race):
    assert race('count("overlap")')[1] == 1
