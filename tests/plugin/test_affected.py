# SPDX-License-Identifier: MIT
"""--affected: the tests that a patch concerns run first, in this process and on workers."""

from __future__ import annotations

import pytest

from reports.coverage import functions  # here, as pytester forgets modules that its runs import

PATCH = """\
--- a/drivers/{file}.c
+++ b/drivers/{file}.c
@@ -1,3 +1,3 @@ int {function}(void)
 {{
-\treturn 0;
+\treturn 1;
 }}
"""
LEDGER = """
- id: demo.cited
  title: it is cited by function
  kind: must
  promise: driver
  statement: Cited.
  sources: ["drivers/other.c:other", "drivers/near.c:near"]
  since: '6.8'
  observable: [errno]
- id: demo.nearby
  title: it is in the same file
  kind: must
  promise: driver
  statement: Nearby.
  sources: ["drivers/near.c:elsewhere"]
  since: '6.8'
  observable: [errno]
"""
SUITE = "".join(
    f'@behaviour("demo.{behaviour}")\n@acts("ioctl")\n{mark}def test_{name}():\n    count("ioctl")\n'
    for name, behaviour, mark in [
        ("other", "works", ""),
        ("nearby", "nearby", ""),
        ("spoiling", "cited", '@pytest.mark.spoils("the device")\n'),
        ("cited", "cited", ""),
        ("both", "works", '@behaviour("demo.cited")\n'),
    ]
)


@pytest.fixture
def affected(project):
    """A suite of five tests, and ``patch(file, function)`` which writes one and gives its name."""
    with (project.path / "behaviours" / "demo.yaml").open("a") as ledger:
        ledger.write(LEDGER)
    project.suite(SUITE)

    def patch(file="near", function="near"):
        path = project.path / "a.patch"
        path.write_text(PATCH.format(file=file, function=function))
        return path

    return patch


def order(project):
    return [event["test"].partition("::test_")[2] for event in project.events("start")]


def test_tests_of_function_come_first_then_those_of_file(project, affected):
    result = project.run(f"--affected={affected()}")
    assert order(project) == ["cited", "both", "nearby", "other", "spoiling"]
    said = (
        "first: tests of 1 behaviours of the code that *a.patch touches, then 0 tests that execute it, "
        "then those of 1 behaviours of its files"
    )
    result.stdout.fnmatch_lines([said])


def test_tests_that_execute_function_come_between(project, affected, monkeypatch):
    executed = {"drivers/near.c:near": frozenset({"suites/demo/test_demo.py::test_other"})}
    monkeypatch.setattr(functions, "load", lambda: executed)
    project.run(f"--affected={affected()}")
    assert order(project) == ["cited", "both", "other", "nearby", "spoiling"]


def test_order_is_that_of_suites_without_patch(project, affected):
    project.run()
    assert order(project) == ["other", "nearby", "cited", "both", "spoiling"]


def test_workers_have_the_order_of_the_controller(project, affected):
    project.run_apart("-n", "1", f"--affected={affected()}")
    assert order(project) == ["cited", "both", "nearby", "other", "spoiling"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            ["--affected=no"],
            "--affected no: no such patch: name a file, or BASE..HEAD of --tree LINUX",
        ),
        (["--tree=."], "--tree .: only --affected BASE..HEAD reads a tree"),
        (
            ["--affected=a.patch"],
            "--affected a.patch: no behaviour cites drivers/far.c, and no test is known to execute it: leave it out",
        ),
    ],
)
def test_what_affects_nothing_is_refused(project, affected, options, why):
    affected("far")
    result = project.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {why}"])
