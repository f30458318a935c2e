# SPDX-License-Identifier: MIT
"""Acts: a test that passes without doing what it declares is an error."""

from __future__ import annotations

MARKS = '@behaviour("demo.works")\n'


def test_a_test_that_does_what_it_declares_passes(outcomes_of):
    code = MARKS + '@acts("store")\ndef test_x():\n    count("store")\n'
    assert outcomes_of(code) == {"mock/bmg test_x": "PASS"}


def test_a_test_that_passes_without_a_declared_act_is_an_error(project):
    project.suite(MARKS + '@acts("store", "fault")\ndef test_x():\n    count("store")\n')
    result = project.run()
    assert result.ret == 1
    event = project.results()["mock/bmg test_x"]
    assert event["outcome"] == "ERROR"
    assert event["message"].startswith("vacuous: ")
    assert "declares: fault" in event["message"]
    assert event["acts"] == {"store": 1}
    assert event["declared"] == ["store", "fault"]


def test_an_early_return_is_an_error(outcomes_of):
    code = MARKS + '@acts("store")\ndef test_x():\n    return\n    count("store")\n'
    assert outcomes_of(code) == {"mock/bmg test_x": "ERROR"}


def test_acts_of_the_set_up_do_not_count(outcomes_of):
    code = (
        "@pytest.fixture\ndef prepared():\n    count('store')\n"
        + MARKS
        + '@acts("store")\ndef test_x(prepared):\n    pass\n'
    )
    assert outcomes_of(code) == {"mock/bmg test_x": "ERROR"}


def test_acts_of_the_test_before_do_not_count(outcomes_of):
    code = (
        MARKS
        + '@acts("store")\ndef test_1():\n    count("store")\n'
        + MARKS
        + '@acts("store")\ndef test_2():\n    pass\n'
    )
    assert outcomes_of(code) == {"mock/bmg test_1": "PASS", "mock/bmg test_2": "ERROR"}


def test_a_failure_stays_a_failure_whatever_was_done(outcomes_of):
    code = MARKS + '@acts("store")\ndef test_x():\n    assert 1 == 2\n'
    assert outcomes_of(code) == {"mock/bmg test_x": "FAIL"}


def test_what_the_kernel_chose_is_the_message_of_a_pass(project):
    code = (
        "from fixtures.choices import chose\n" + MARKS + '@acts("store")\ndef test_x():\n    count("store")\n'
    )
    project.suite(
        code
        + "    chose('pad: accepted')\n    chose('pad: accepted')\n    chose('range: EINVAL')\n"
        + MARKS
        + '@acts("store")\ndef test_y():\n    count("store")\n'
    )
    assert project.run().ret == 0
    results = project.results()
    assert results["mock/bmg test_x"]["message"] == "chosen here: pad: accepted; range: EINVAL"
    assert results["mock/bmg test_y"]["message"] is None
