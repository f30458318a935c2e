# SPDX-License-Identifier: MIT
"""Tests with other results for some of their behaviours: driver behaviour, and behaviours that were not drawn."""

from __future__ import annotations

import pytest

BOTH = '@behaviour("demo.promised", "demo.works")\n@acts("store")\ndef test_x():\n    count("store")\n'
IMPORTS = "from fixtures import only_if_exercised\nfrom fixtures.apart import driver_only, exercised\n"
BLOCK = "    with driver_only('demo.works'):\n        assert 1 == 2\n"


def result_of(project, body, marks=""):
    project.suite(IMPORTS + marks + BOTH + body)
    project.run()
    return project.results()["mock/bmg test_x"]


def test_what_only_this_driver_does_leaves_the_promise_alone(project):
    event = result_of(project, BLOCK)
    assert (event["outcome"], event["apart"]) == ("FAIL", {"demo.promised": "PASS"})
    assert event["message"] == "assert 1 == 2"
    assert "with driver_only('demo.works'):" in event["longrepr"]


def test_the_test_goes_on_after_the_block_and_a_broken_promise_is_the_failure(project):
    event = result_of(project, BLOCK + "    assert 3 == 4\n")
    assert (event["outcome"], event["apart"], event["message"]) == ("FAIL", {}, "assert 3 == 4")


def test_a_block_that_holds_passes_the_test(project):
    event = result_of(project, "    with driver_only('demo.works'):\n        assert 1 == 1\n")
    assert (event["outcome"], event["apart"]) == ("PASS", {})


def test_the_first_failure_of_several_blocks_is_shown(project):
    event = result_of(project, BLOCK + BLOCK.replace("2", "3"))
    assert (event["outcome"], event["message"]) == ("FAIL", "assert 1 == 2")


@pytest.mark.parametrize("wrong", ["os.close(-1)", "pytest.fail('it')"])
def test_a_call_that_fails_in_the_block_is_a_way_of_the_driver(project, wrong):
    event = result_of(project, BLOCK.replace("assert 1 == 2", wrong))
    assert (event["outcome"], event["apart"]) == ("FAIL", {"demo.promised": "PASS"})


def test_an_error_in_the_block_is_an_error_of_the_test(project):
    event = result_of(project, BLOCK.replace("assert 1 == 2", "raise ValueError('it')"))
    assert (event["outcome"], event["apart"]) == ("ERROR", {})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("with driver_only('demo.promised'): pass", "demo.promised is promised"),
        ("with driver_only('demo.newer'): pass", "speaks of demo.newer, which @behaviour does not name"),
        ("with driver_only(): pass", "needs the behaviours"),
        ("exercised('demo.works')", "demo.works"),
    ],
)
def test_a_body_that_speaks_of_other_behaviours_is_an_error(project, line, why):
    event = result_of(project, f"    {line}\n")
    assert event["outcome"] == "ERROR"
    assert why in event["message"]


def test_what_was_not_exercised_is_untested(project):
    event = result_of(project, "    exercised('demo.promised')\n", "@only_if_exercised\n")
    assert (event["outcome"], event["apart"]) == ("PASS", {"demo.works": "UNTESTED"})


def test_what_was_exercised_has_passed(project):
    body = "    exercised('demo.works', 'demo.promised')\n"
    event = result_of(project, body, "@only_if_exercised\n")
    assert (event["outcome"], event["apart"]) == ("PASS", {})


def test_a_failure_is_about_what_was_not_exercised_too(project):
    event = result_of(project, "    assert 1 == 2\n", "@only_if_exercised\n")
    assert (event["outcome"], event["apart"]) == ("FAIL", {})


def test_one_test_does_not_speak_for_the_next(project):
    second = BOTH.replace("test_x", "test_y")
    project.suite(IMPORTS + "@only_if_exercised\n" + BOTH + BLOCK + second)
    project.run()
    event = project.results()["mock/bmg test_y"]
    assert (event["outcome"], event["apart"]) == ("PASS", {})


@pytest.mark.parametrize(("header", "outcome"), [("7.2", "UNTESTED"), ("7.3", "PASS"), ("7.4", "PASS")])
def test_the_end_of_the_uapi_is_untested_beyond_the_recorded_header(project, monkeypatch, header, outcome):
    monkeypatch.setattr("ioctl.xe.LINUX", header)
    project.suite("from fixtures import beyond_header\n@beyond_header\n" + BOTH)
    project.run("--level", "7.3")
    event = project.results()[
        "mock/bmg@7.3 test_x" if "@7.3" in str(project.results().keys()) else "mock/bmg test_x"
    ]
    assert event["outcome"] == outcome
    if outcome == "UNTESTED":
        assert event["reason"]["code"] == "HEADER:7.3"
