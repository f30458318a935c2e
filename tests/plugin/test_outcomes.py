# SPDX-License-Identifier: MIT
"""Outcomes: what became of a test, one word, and the exit status of the run."""

import pytest

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'

CASES = [
    ("def test_x():\n    count('ioctl')\n", "PASS", 0),
    ("def test_x():\n    assert 1 == 2\n", "FAIL", 1),
    ("def test_x():\n    raise OSError(errno.EIO, 'EIO')\n", "FAIL", 1),
    ("def test_x():\n    pytest.fail('so')\n", "FAIL", 1),
    ("def test_x():\n    {}['key']\n", "ERROR", 1),
    ("@pytest.mark.xfail(reason='known')\n" + MARKS + "def test_x():\n    assert 1 == 2\n", "KNOWN", 0),
    ("@pytest.mark.xfail(reason='known')\n" + MARKS + "def test_x():\n    count('ioctl')\n", "XPASS", 1),
    (
        "@pytest.fixture\ndef f():\n    raise OSError(errno.EIO, 'EIO')\n"
        + MARKS
        + "def test_x(f):\n    pass\n",
        "ERROR",
        1,
    ),
    (
        "@pytest.fixture\ndef f():\n    yield\n    raise OSError(errno.EIO, 'EIO')\n"
        + MARKS
        + "def test_x(f):\n    count('ioctl')\n",
        "ERROR",
        1,
    ),
]


@pytest.mark.parametrize(("code", "outcome", "status"), CASES)
def test_outcome_and_exit_status(project, code, outcome, status):
    project.suite(code if "def f" in code or "xfail" in code else MARKS + code)
    result = project.run()
    assert project.outcomes() == {"mock/bmg test_x": outcome}
    assert result.ret == status


def test_a_lenient_unexpected_pass_is_no_clean_run_either(project):
    project.suite(MARKS + "@pytest.mark.xfail(strict=False)\ndef test_x():\n    count('ioctl')\n")
    assert project.run().ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {"mock/bmg test_x": "XPASS"}


def test_a_failure_in_the_body_outweighs_one_in_the_tear_down(project):
    project.suite(
        "@pytest.fixture\ndef f():\n    yield\n    raise KeyError\n"
        + MARKS
        + "def test_x(f):\n    assert 1 == 2\n"
    )
    project.run()
    assert project.outcomes() == {"mock/bmg test_x": "FAIL"}


def test_what_was_not_begun_is_notrun(project):
    project.suite(
        MARKS + "def test_1():\n    assert 1 == 2\n" + MARKS + "def test_2():\n    count('ioctl')\n"
    )
    project.run("-x")
    assert project.outcomes() == {"mock/bmg test_1": "FAIL", "mock/bmg test_2": "NOTRUN"}
    assert project.results()["mock/bmg test_2"]["behaviours"] == ["demo.works"]


def test_last_failed_runs_what_failed_in_any_environment(project):
    project.suite(
        MARKS
        + "def test_1(request):\n    count('ioctl')\n    env = request.config.stash\n"
        + "    from fixtures.plugin.backend import environment_of\n"
        + "    assert environment_of(request.config).platform != 'lnl'\n"
        + MARKS
        + "def test_2():\n    count('ioctl')\n"
    )
    project.run_apart("--platform", "lnl", "--platform", "bmg")
    project.run("--lf").assert_outcomes(passed=1, deselected=0)
    assert list(project.outcomes()) == ["mock/bmg test_1"]
