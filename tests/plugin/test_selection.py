# SPDX-License-Identifier: MIT
"""An argument that can select no test is refused in one line, before anything is prepared."""

from __future__ import annotations

import pytest

from fixtures.plugin.expectations.of_mock import refusal

SUITE = """
@behaviour("demo.works")
@acts("ioctl")
def test_it_works():
    count("ioctl")

class TestClass:
    @behaviour("demo.newer")
    @acts("ioctl")
    def test_inside(self):
        count("ioctl")

@pytest.mark.parametrize("n", [pytest.param(1, marks=behaviour("demo.promised"))])
@acts("ioctl")
def test_of_a_parameter(n):
    count("ioctl")
"""
HERE = "suites/demo/test_demo.py"
THERE = "suites/other/test_other.py"


@pytest.fixture
def suites(project, monkeypatch):
    """Two files, the second with the id demo.works only; guests must not be prepared."""
    project.suite(SUITE)
    project.suite('@behaviour("demo.works")\n@acts("ioctl")\ndef test_x():\n    count("ioctl")\n', THERE)
    (project.path / "suites/empty").mkdir()
    monkeypatch.setattr("guest.run.prepare", lambda *_: pytest.fail("a guest is prepared"))
    return project


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["suites/dmeo"], "file or directory not found: suites/dmeo (did you mean suites/demo?)"),
        (["suites/demo/test_dmo.py"], "*test_dmo.py (did you mean suites/demo/test_demo.py?)"),
        (["suites/demo", "suites/empty"], "suites/empty: no test_[*].py is in it"),
        ([f"{HERE}::test_it_work"], f"{HERE} has no test test_it_work (did you mean test_it_works?)"),
        ([f"{HERE}::TestClas::test_inside"], "*(did you mean TestClass::test_inside or *"),
        (["--behaviour", "demo.wroks"], "--behaviour demo.wroks: no id*(did you mean demo.works or *)"),
        (["--behaviour", "dmeo.*"], "--behaviour dmeo.[*]: no id*(did you mean demo.[*]?)"),
        (
            ["--behaviour", "demo.newer", "--behaviour", "demo.promised", "suites/other"],
            "--behaviour demo.newer --behaviour demo.promised: no test of suites/other proves it; those that do "
            "are in suites/demo",
        ),
        (
            ["--behaviour", "demo.newer", f"{HERE}::test_it_works"],
            f"*no test of {HERE}::test_it_works proves it; those that do are in suites/demo",
        ),
        (["--require", "vrum"], "--require vrum: no such capability (did you mean vram?)"),
    ],
)
def test_what_selects_nothing_is_refused(suites, words, says):
    result = suites.run(*words, "--guest", "7.3")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line]
    assert len(errors) == 1
    result.stderr.fnmatch_lines([f"ERROR: {says}"])


def test_behaviour_without_a_test_is_refused_with_the_reason(suites):
    (suites.path / HERE).write_text((suites.path / THERE).read_text())
    (suites.path / "behaviours/untested.yaml").write_text(
        "- {ids: [demo.newer], reason: it takes another GPU, planned: later}\n"
    )
    result = suites.run("--behaviour", "demo.newer")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --behaviour demo.newer: no test proves it: it takes another GPU*"])


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        (["--behaviour", "demo.newer", f"{HERE}::TestClass"], 1),
        (["--behaviour", "demo.newer", f"{HERE}::TestClass::test_inside"], 1),
        (["--behaviour", "demo.promised", f"{HERE}::test_of_a_parameter[1]"], 1),
        (["--behaviour", "demo.works", "suites/other", "suites/demo"], 2),
        (["--behaviour", "*.works", "--behaviour", "demo.newer", "."], 3),
    ],
)
def test_what_selects_something_runs(suites, words, passed):
    suites.run(*words).assert_outcomes(passed=passed, deselected=4 - passed if "." in words else None)


@pytest.mark.parametrize(
    ("mock", "says"),
    [
        (("bgm", None, None), "--platform bgm: no platform 'bgm' (did you mean bmg?)"),
        (("bmg", "9.9", None), "--level 9.9: uAPI level 9.9: the mock plays those of Linux 6.17 to 7.3"),
        (("bmg", None, "no-gcc"), "--mock-defect no-gcc: no defect 'no-gcc' (did you mean no-gc?)"),
        (("bmg", "7.0", "no-gc"), ""),
    ],
)
def test_mocks_that_there_are_not(mock, says):
    assert refusal(*mock) == says


def test_mock_is_refused_before_a_guest_is_prepared(suites):
    result = suites.run("--guest", "7.3", "--platform", "unknown")
    result.stderr.fnmatch_lines(["ERROR: no such mock"])


def test_missing_test_of_the_project_is_named_by_workers_too(suites):
    (suites.path / "tests").mkdir()
    (suites.path / "tests/test_here.py").write_text("def test_it(): pass\n")
    result = suites.run("-n", "1", "tests/test_here.py", "tests/test_there.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: file or directory not found: tests/test_there.py (did you mean *test_here.py?)"]
    )
