# SPDX-License-Identifier: MIT
"""Marks are checked at collection, with suggestions for unknown words."""

from __future__ import annotations

import pytest

GOOD = '@behaviour("demo.works")\n@acts("ioctl")\n'
BODY = 'def test_x():\n    count("ioctl")\n'


@pytest.mark.parametrize(
    ("marks", "complaint"),
    [
        ('@acts("ioctl")\n', "*test_demo.py::test_x: has no @behaviour*"),
        ('@behaviour("demo.works")\n', "*test_demo.py::test_x: has no @acts*"),
        (
            '@behaviour("demo.work")\n@acts("ioctl")\n',
            "*@behaviour 'demo.work' is not*did you mean demo.works?*",
        ),
        (
            '@behaviour("demo.works")\n@acts("stor")\n',
            "*@acts 'stor' is not a kind of act*did you mean store?*",
        ),
        (GOOD + '@needs("vrum")\n', "*@needs 'vrum' is not a capability*did you mean vram?*"),
        ('@behaviour(7)\n@acts("ioctl")\n', "*@behaviour takes words, not 7*"),
    ],
)
def test_a_wrong_mark_is_a_usage_error_that_names_test_and_word(project, marks, complaint):
    project.suite(marks + BODY)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {complaint}"])
    assert [event["event"] for event in project.events()] == ["run", "end"]


def test_all_wrong_marks_are_told_at_once(project):
    project.suite(
        '@acts("ioctl")\ndef test_1():\n    pass\n@behaviour("no.such")\n@acts("ioctl")\ndef test_2():\n    pass\n'
    )
    result = project.run()
    result.stderr.fnmatch_lines(["*::test_1: has no @behaviour*", "*::test_2: @behaviour 'no.such' is not*"])


def test_a_wrong_mark_under_xdist_ends_the_run_in_one_line(project):
    project.suite('@behaviour("demo.work")\n@acts("ioctl")\n' + BODY)
    result = project.run_apart("--platform", "lnl", "--platform", "bmg")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *@behaviour 'demo.work' is not*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("options", [(), ("--platform", "lnl", "--platform", "bmg")], ids=["one", "xdist"])
def test_a_ledger_that_is_not_well_formed_ends_the_run_in_one_line(project, options):
    ledger = project.path / "behaviours" / "demo.yaml"
    ledger.write_text(ledger.read_text().replace("kind: must", "kind: mst", 1))
    project.suite(GOOD + BODY)
    result = project.run_apart(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *demo.yaml*kind 'mst' is not one of*"])
    assert not any(
        "Traceback" in line or "INTERNALERROR" in line for line in result.outlines + result.errlines
    )


def test_marks_are_not_asked_of_tests_outside_suites(project):
    project.pytester.makepyfile(test_other="def test_x():\n    pass\n")
    result = project.run("test_other.py")
    result.assert_outcomes(passed=1)
    assert not (project.path / "reports").exists()


def test_behaviour_option_selects_by_glob(project):
    project.suite(
        GOOD + BODY + '@behaviour("demo.newer")\n@acts("ioctl")\ndef test_y():\n    count("ioctl")\n'
    )
    result = project.run("--behaviour", "demo.new*")
    result.assert_outcomes(passed=1, deselected=1)
    assert project.outcomes() == {"mock/bmg test_y": "PASS"}


def test_behaviour_option_that_matches_nothing_is_a_usage_error(project):
    project.suite(GOOD + BODY)
    result = project.run("--behaviour", "demo.wroks")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --behaviour demo.wroks: no id*did you mean demo.works?*"])


def test_a_failure_quotes_the_statement_of_the_behaviour(project):
    project.suite(GOOD + "def test_x():\n    assert 1 == 2\n")
    result = project.run()
    statement = "A thing that is asked to work works."
    result.stdout.fnmatch_lines(["*behaviour demo.works: it works*", statement])
    assert statement in project.results()["mock/bmg test_x"]["longrepr"]


def test_allures_selection_finds_the_area(project):
    project.suite(GOOD + BODY)
    project.run("--allure-epics", "demo").assert_outcomes(passed=1)
    project.run("--allure-epics", "bind").assert_outcomes(deselected=1)


def test_test_that_spoils_the_machine_runs_last(project):
    spoils = '@pytest.mark.spoils("the device is lost")\n'
    project.suite(
        "import pytest\n"
        + spoils
        + GOOD
        + BODY
        + GOOD
        + 'def test_y():\n    count("ioctl")\n'
        + spoils
        + GOOD
        + 'def test_a():\n    count("ioctl")\n'
    )
    project.run()
    ran = [event["test"].partition("::")[2] for event in project.events() if event["event"] == "result"]
    assert ran == ["test_y", "test_x", "test_a"]
