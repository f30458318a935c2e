# SPDX-License-Identifier: MIT
"""An expected capability that is missing is an error of the environment; no test of it becomes a skip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.plugin.results import Results
from reports.commands import gate
from reports.event import Environment
from reports.stream import read

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'
BODY = 'def test_{}():\n    count("ioctl")\n'
NEEDY = "".join(f'{MARKS}@needs("vram")\n{BODY.format(name)}' for name in ("a", "b"))
OTHER = MARKS + BODY.format("c")
LINE = "vram is expected (1 MiB of VRAM), the probe says: the stub has none"
NOTE = "thp is not expected (no huge pages), but present"
OUT = "reports/out"
# Recorded file of the stub, whose device is 8086:0000.
FILE = '[[expect]]\nenvironment = "{}"\npci_id = "{}"\nhas = [{}]\n'


def test_missing_expected_capability_is_an_error(project):
    project.suite(NEEDY + OTHER)
    result = project.run("--platform", "described")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {
        "mock/described test_a": "ERROR",
        "mock/described test_b": "ERROR",
        "mock/described test_c": "PASS",
    }
    event = project.results()["mock/described test_a"]
    assert event["message"] == LINE
    assert event["reason"] == {"code": "EXPECTED:vram", "text": "the stub has none"}
    (environment,) = project.events("environment")
    assert environment["missing"] == {"vram": LINE}
    assert environment["unexpected"] == {"thp": NOTE}
    lines = result.outlines
    assert lines.count(f"error mock/described: {LINE}") == 1
    assert f"  note: {NOTE}" in lines
    assert f"  ERROR mock/described: {LINE}" in lines
    assert "    tests that need it: 2" in lines
    assert not [line for line in lines if line.startswith("error mock/described suites")]


def test_missing_capability_fails_a_run_without_need(project, capsys):
    project.suite(OTHER)
    result = project.run("--platform", "described")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {"mock/described test_c": "PASS"}
    assert project.events("end")[0]["exit"] == 1
    capsys.readouterr()
    assert gate.main([str(project.path / OUT)]) == 1
    assert f"2: ERROR mock/described: {LINE}\n" in capsys.readouterr().out


def test_gate_refuses_a_missing_capability_once(project, capsys):
    project.suite(NEEDY + OTHER)
    project.run("--platform", "described")
    capsys.readouterr()
    assert gate.main([str(project.path / OUT)]) == 1
    said = capsys.readouterr().out
    assert (
        f"ERROR mock/described: {LINE}\n    2 tests could not run, the first is suites/demo/test_demo.py"
        in said
    )
    assert f"note: mock/described: {NOTE}\n" in said
    assert "REFUSED for 1 reason (2 ERROR, 1 PASS)" in said


def test_no_waiver_excuses_a_missing_capability(project, capsys):
    project.suite(NEEDY + OTHER)
    project.run("--platform", "described")
    waivers = project.path / "waivers.toml"
    waivers.write_text(
        '[[waiver]]\nbehaviour = "*"\nsignature = "*expected*"\n'
        'owner = "x"\nlink = "x"\nreason = "x"\nexpires = 2999-01-01\n'
    )
    capsys.readouterr()
    assert gate.main([str(project.path / OUT), "--waivers", str(waivers)]) == 1
    assert f"ERROR mock/described: {LINE}\n" in capsys.readouterr().out


def test_reduction_is_not_a_missing_capability(project):
    project.suite(MARKS + '@needs("fork-events")\n' + BODY.format("a"))
    project.run("--platform", "described")
    assert project.outcomes() == {"mock/described test_a": "UNTESTED"}
    assert "fork-events" not in project.events("environment")[0]["missing"]


def test_require_beats_expectation(project):
    project.suite(NEEDY)
    project.run("--platform", "described", "--require", "vram")
    event = project.results()["mock/described test_a"]
    assert (event["outcome"], event["reason"]["code"]) == ("FAIL", "REQUIRED:vram")


def test_workers_report_a_missing_capability(project):
    project.suite(NEEDY + OTHER)
    result = project.run_apart("--platform", "described", "--platform", "lnl", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert [e["missing"] for e in project.events("environment") if e["env"] == "mock/described"] == [
        {"vram": LINE}
    ]
    assert project.outcomes()["mock/described test_b"] == "ERROR"
    assert project.outcomes()["mock/lnl test_b"] == "NOT-CLAIMED"


def environment(missing):
    return Environment("mock/x", {"machine": "local", "backend": "mock"}, missing=missing).to_event()


@pytest.fixture
def results(tmp_path: Path) -> Results:
    head = {"event": "run", "seed": 7, "environments": ["mock/x"], "suite": {}}
    results = Results(tmp_path / "results.jsonl", head)
    results.plan("mock/x", {"suites/a.py::test_a": {"area": "", "behaviours": [], "declared": []}})
    return results


def test_later_worker_that_lacks_more_is_news(results):
    assert results.environment(environment({}))
    assert not results.lacking
    assert not results.environment(environment({}))
    assert results.environment(environment({"vram": "gone"}))
    assert results.lacking
    results.finish(1)
    assert read(results.path).environments["mock/x"].missing == {"vram": "gone"}


def test_what_was_missing_before_a_resume_stays(results):
    results.environment(environment({"vram": "gone"}))
    results.environments.clear()  # as a process that continues the run
    results.environment(environment({}))
    results.finish(1)
    assert read(results.path).environments["mock/x"].missing == {"vram": "gone"}


def test_resumed_run_fails_for_what_was_missing(project):
    project.suite(OTHER)
    project.run("--platform", "described")
    stream = project.path / OUT / "results.jsonl"
    lines = stream.read_text().splitlines(keepends=True)
    stream.write_text("".join(lines[:-1]))  # cut off after its last test: no later test could probe again
    result = project.pytester.runpytest_inprocess(f"--resume={OUT}")
    assert set(project.outcomes().values()) == {"PASS"}
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def record(project, environment="*", pci_id="*", has='"vram"'):
    (project.path / "expect.toml").write_text(FILE.format(environment, pci_id, has))
    return "--expect=expect.toml"


@pytest.mark.parametrize(("environment", "pci_id"), [("mock/l*", "*"), ("*", "8086:0000")])
def test_recorded_capability_is_expected(project, environment, pci_id):
    project.suite(NEEDY)
    result = project.run("--platform", "lnl", record(project, environment, pci_id))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    event = project.results()["mock/lnl test_a"]
    assert event["outcome"] == "ERROR"
    assert (
        event["message"] == "vram is expected (recorded in expect.toml:1), the probe says: the stub has none"
    )


def test_recorded_capability_reaches_workers(project):
    project.suite(NEEDY)
    project.run_apart("--platform", "lnl", "-n", "2", record(project))
    assert set(project.outcomes().values()) == {"ERROR"}


def test_file_overrides_a_description(project):
    project.suite(NEEDY)
    (project.path / "expect.toml").write_text('[[expect]]\nhas = ["thp"]\nlacks = ["vram"]\n')
    result = project.run("--platform", "described", "--expect=expect.toml")
    assert result.ret == 0
    (event,) = project.events("environment")
    assert (event["missing"], event["unexpected"]) == ({}, {})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"environment": "driver"}, "--expect expect.toml: no entry is about environment mock/lnl"),
        (
            {"pci_id": "8086:e20b"},
            "mock/lnl: --expect: no entry is about mock/lnl with device 8086:0000, the first is expect.toml:1",
        ),
        (
            {"has": '"vrum"'},
            "--expect: expect.toml:1: 'vrum' is not a capability; the header of a run lists them",
        ),
    ],
)
def test_file_that_says_nothing_is_refused(project, arguments, says):
    project.suite(NEEDY)
    result = project.run("--platform", "lnl", record(project, **arguments))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {says}" in result.errlines


def test_contradicting_entries_are_refused(project):
    project.suite(NEEDY)
    (project.path / "expect.toml").write_text(
        '[[expect]]\nhas = ["vram"]\n\n[[expect]]\nhas = ["thp"]\nlacks = ["vram"]\n'
    )
    result = project.run("--platform", "lnl", "--expect=expect.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    says = "expect.toml:1 has vram and expect.toml:4 lacks it: both are about mock/lnl, keep one"
    assert f"ERROR: mock/lnl: --expect: {says}" in result.errlines


def test_missing_file_is_refused(project):
    project.suite(NEEDY)
    result = project.run("--expect=nothing.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --expect nothing.toml: No such file or directory" in result.errlines


def test_run_records_what_it_has(project, capsys):
    from reports.commands import expect

    project.suite(OTHER)
    project.run("--platform", "lnl")
    capsys.readouterr()
    assert expect.main([OUT]) == 0
    (project.path / "expect.toml").write_text(capsys.readouterr().out)
    assert project.run("--platform", "lnl", "--expect=expect.toml").ret == 0
    (event,) = project.events("environment")
    assert (event["missing"], event["unexpected"]) == ({}, {})
    assert json.loads((project.path / OUT / "results.jsonl").read_text().splitlines()[-1])["exit"] == 0
