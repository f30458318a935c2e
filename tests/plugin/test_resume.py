# SPDX-License-Identifier: MIT
"""--resume: a run that ended anywhere continues where it was, and repeats nothing that is finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fixtures.plugin.results import Results
from reports import renames

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'
# Each test writes a line when it runs: two lines show that it was repeated.
LOG = "def ran(request):\n    with open('ran.txt', 'a') as log:\n        log.write(request.node.nodeid + '\\n')\n"
TESTS = LOG + "".join(
    f"{MARKS}def test_{n}(request):\n    ran(request)\n    count('ioctl')\n" for n in range(4)
)


def stream(project):
    return project.path / "reports" / "out" / "results.jsonl"


def ran(project):
    names = [line.rpartition("::")[2].strip() for line in (project.path / "ran.txt").read_text().splitlines()]
    (project.path / "ran.txt").unlink()
    return names


def cut(project, lines, tail=""):
    """Create the stream of a killed run: its first ``lines``, and the start of another."""
    path = stream(project)
    text = [f"{line}\n" for line in path.read_text().split("\n")[:-1]]
    path.write_text("".join(text[:lines]) + tail)


def test_a_run_that_was_killed_goes_on_with_its_command_line_and_repeats_nothing(project):
    project.suite(TESTS)
    project.run("--platform", "lnl")
    assert ran(project) == ["test_0", "test_1", "test_2", "test_3"]
    before = project.events("result")
    cut(project, 2 + 2 * 2 + 1, '{"event":"resu')  # head, environment, two tests, and the start of the third
    result = project.pytester.runpytest_inprocess("--resume=reports/out")
    assert result.ret == 0
    assert ran(project) == ["test_2", "test_3"]
    assert project.outcomes() == {f"mock/lnl test_{n}": "PASS" for n in range(4)}
    assert [e["seed"] for e in project.events("result")] == [7] * 4
    assert project.events("result")[:2] == before[:2]
    kinds = [event["event"] for event in project.events()]
    assert (kinds[0], kinds[-1], kinds.count("resume"), kinds.count("end")) == ("run", "end", 1, 1)
    assert project.events("run")[0]["command"][-2:] == ["--platform", "lnl"]


def test_renamed_tests_are_not_repeated(project, monkeypatch):
    table = {f"suites/demo/test_old.py::test_{n}": f"suites/demo/test_demo.py::test_{n}" for n in range(4)}
    monkeypatch.setattr(renames, "_current", lambda: table)
    project.suite(TESTS)
    project.run("suites/demo/test_demo.py::test_0", "suites/demo/test_demo.py::test_1")
    assert ran(project) == ["test_0", "test_1"]
    cut(project, 2 + 2 + 1)  # head, environment, the first test, and the start of the second
    stream(project).write_text(stream(project).read_text().replace("test_demo.py", "test_old.py"))
    assert project.pytester.runpytest_inprocess("--resume=reports/out").ret == 0
    assert ran(project) == ["test_1"]
    assert {event["test"] for event in project.events("result")} == {
        f"suites/demo/test_demo.py::test_{n}" for n in range(2)
    }


def test_every_line_of_the_stream_is_a_place_to_go_on_from(project):
    project.suite(TESTS)
    project.run()
    whole = stream(project).read_text().splitlines()
    for lines in range(1, len(whole)):
        cut(project, lines)
        (project.path / "ran.txt").unlink(missing_ok=True)
        done = [json.loads(line) for line in stream(project).read_text().splitlines()]
        finished = {e["test"].rpartition("::")[2] for e in done if e["event"] == "result"}
        project.pytester.runpytest_inprocess("--resume=reports/out")
        again = set(ran(project)) if (project.path / "ran.txt").exists() else set()
        assert not again & finished
        assert project.outcomes() == {f"mock/bmg test_{n}": "PASS" for n in range(4)}
        stream(project).write_text("\n".join(whole) + "\n")


def test_what_did_not_run_for_a_failure_before_it_runs_then(project):
    project.suite(TESTS.replace("def test_1(request):\n", "def test_1(request):\n    assert 0\n"))
    project.run("-x")
    assert set(project.outcomes().values()) == {"PASS", "FAIL", "NOTRUN"}
    ran(project)
    result = project.pytester.runpytest_inprocess("--resume=reports/out/results.jsonl")
    assert ran(project) == ["test_2", "test_3"]
    assert project.outcomes() == {
        "mock/bmg test_0": "PASS",
        "mock/bmg test_1": "FAIL",
        "mock/bmg test_2": "PASS",
        "mock/bmg test_3": "PASS",
    }
    assert result.ret == pytest.ExitCode.TESTS_FAILED, "a failure of the first part must not be forgotten"


def test_a_test_that_ends_the_run_twice_is_an_error_and_not_tried_again(project):
    project.suite(TESTS)
    project.run()
    ran(project)
    start = next(line for line in stream(project).read_text().splitlines() if "test_1" in line)
    cut(project, 4, f"{start}\n" + '{"event":"resume","time":"2026-11-21T05:40:00+00:00"}\n' + f"{start}\n")
    result = project.pytester.runpytest_inprocess("--resume=reports/out")
    assert ran(project) == ["test_2", "test_3"]
    event = project.results()["mock/bmg test_1"]
    assert (event["outcome"], event["message"]) == ("ERROR", "the run ended in it twice: it is not run again")
    assert event["behaviours"] == ["demo.works"]
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_all_reports_are_of_the_whole_run(project):
    project.suite(TESTS)
    project.run()
    cut(project, 5)
    for path in (project.path / "reports" / "out" / "allure-results").iterdir():
        path.unlink()
    project.pytester.runpytest_inprocess("--resume=reports/out")
    out = project.path / "reports" / "out"
    assert len(list((out / "allure-results").glob("*-result.json"))) == 4
    assert (out / "junit.xml").read_text().count("<testcase") == 4


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--resume=nowhere"], "No such file or directory: name the folder of its reports"),
        (["--resume=pytest.ini"], "no run began there"),
        (["--resume=reports/out"], "the run is finished: there is nothing left to do"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(project, arguments, why):
    project.suite(TESTS)
    project.run()
    whole = stream(project).read_text()
    result = project.pytester.runpytest_inprocess(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{why}*"])
    assert stream(project).read_text() == whole


def test_a_run_that_was_killed_behind_its_last_test_gets_its_reports(project):
    project.suite(TESTS)
    project.run("--results=there")
    ran(project)
    folder = project.path / "there"
    whole = (folder / "junit.xml").read_text()
    for name in ("index.html", "junit.xml"):
        (folder / name).unlink()
    (folder / ".lock").touch()
    result = project.pytester.runpytest_inprocess("--resume=there")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *there is nothing left to do; its reports are written now"])
    assert not (project.path / "ran.txt").exists()
    assert (folder / "junit.xml").read_text() == whole
    assert (folder / "index.html").exists()
    assert not (folder / ".lock").exists()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"seed": None}, "it has no seed"),
        ({"command": None}, "its command is not one of pytest"),
        ({"command": ["rm", "-rf", "/"]}, "its command is not one of pytest"),
        ({"command": ["pytest", "--co"]}, "its command has --co, with which no test runs"),
        ({"command": ["pytest", "-p", "no:stub"]}, "its command has -p no:stub, which counts only when"),
        ({"command": ["pytest", "-pno:stub"]}, "its command has -p no:stub, which counts only when"),
        ({"command": ["pytest", "--rootdir=/"]}, "its command has --rootdir /, which counts only when"),
        ({"command": ["pytest", "-c", "/etc/passwd"]}, "its command has -c /etc/passwd, which counts only"),
        ({"command": ["pytest", "--nonsense"]}, "unrecognized arguments: --nonsense"),
        ({"command": ["pytest", "/etc/passwd"]}, "/etc/passwd is not in this checkout"),
        ({"command": "pytest"}, "1: run: command has to be a list of texts: the stream is damaged"),
        ({"start": "noon"}, "1: run: start has to be a time with its zone"),
    ],
    ids=str,
)
def test_recorded_command_is_checked(project, changed, why):
    project.suite(TESTS)
    project.run()
    cut(project, 4)
    head, *rest = stream(project).read_text().splitlines(keepends=True)
    stream(project).write_text("".join([json.dumps({**json.loads(head), **changed}) + "\n", *rest]))
    whole = stream(project).read_text()
    result = project.pytester.runpytest_inprocess("--resume=reports/out")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert why in result.stderr.str()
    assert "Traceback" not in result.stderr.str()
    assert stream(project).read_text() == whole


def test_early_options_count_when_they_are_given_again(project):
    project.suite(TESTS)
    project.run("-p", "no:cacheprovider")
    cut(project, 4)
    result = project.pytester.runpytest_inprocess("-p", "no:cacheprovider", "--resume=reports/out")
    assert result.ret == 0
    assert len(project.results()) == 4


def test_no_result_is_lost_for_its_text(project):
    """U+2028 and U+0085 end no line, although Python's splitlines() splits there."""
    text = "'a\\u2028b\\u0085c\\x1cd'"
    project.suite(f"{MARKS}def test_text():\n    pytest.fail({text})\n" + TESTS)
    project.run()
    cut(project, 4)
    assert project.outcomes() == {"mock/bmg test_text": "FAIL"}
    before = project.events("result")
    project.pytester.runpytest_inprocess("--resume=reports/out")
    assert project.events("result")[:1] == before
    assert len(project.results()) == 5


def test_damaged_stream_does_not_go_on(project):
    project.suite(TESTS)
    project.run()
    cut(project, 5)
    lines = stream(project).read_text().splitlines(keepends=True)
    stream(project).write_text("".join([*lines[:3], lines[3].replace('"PASS"', '"PASS'), lines[4]]))
    result = project.pytester.runpytest_inprocess("--resume=reports/out")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *results.jsonl:4: is not JSON: the stream is damaged, start a new run"]
    )


def test_a_run_does_not_go_on_in_another_environment(project):
    project.suite(TESTS)
    project.run("--platform", "lnl")
    text = stream(project).read_text().replace("mock/lnl", "guest/7.3")
    stream(project).write_text(text)
    cut(project, 4)
    for _ in range(2):  # the first did not finish the run
        result = project.pytester.runpytest_inprocess("--resume=reports/out")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*the run has results of guest/7.3, and now there is mock/lnl*"])


def test_run_goes_on_after_an_environment_that_did_not_start(project):
    project.suite(TESTS)
    project.run("--platform", "lnl")
    cut(project, 4)
    whole = (project.path / "stub.py").read_text()
    (project.path / "stub.py").write_text(whole.replace('platform == "broken"', 'platform == "lnl"'))
    result = project.pytester.run(sys.executable, "-m", "pytest", "--resume=reports/out")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["continue this run: pytest --resume=reports/out/runs/*"])
    (project.path / "stub.py").write_text(whole)
    assert project.pytester.run(sys.executable, "-m", "pytest", "--resume=reports/out").ret == 0
    assert set(project.outcomes().values()) == {"PASS"}
    assert len(project.outcomes()) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_controller_that_is_killed_or_interrupted_leaves_a_run_to_go_on_with(project, number):
    project.suite(TESTS.replace("def test_2(request):\n", "def test_2(request):\n    wait()\n"))
    wait = "def wait():\n    while not os.path.exists('go'):\n        time.sleep(0.01)\n"
    path = project.path / "suites" / "demo" / "test_demo.py"
    path.write_text(path.read_text().replace("def ran", wait + "def ran", 1))
    command = [sys.executable, "-m", "pytest", "--seed", "7", "--platform", "lnl", "--platform", "bmg"]
    with subprocess.Popen(
        command, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + 60
        while not stream(project).exists() or stream(project).read_text().count('"result"') < 4:
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.02)
        os.kill(run.pid, number)
        while run.poll() is None:
            try:
                run.wait(4)
            except subprocess.TimeoutExpired:
                os.kill(
                    run.pid, number
                )  # Python may lose an interrupt, as in a callback; a person tries again
    (project.path / "go").touch()
    assert len(set(ran(project))) == 2
    project.pytester.run(sys.executable, "-m", "pytest", "--resume=reports/out", timeout=60)
    assert sorted(ran(project)) == sorted(["test_2", "test_3"] * 2)
    assert project.outcomes() == {
        f"mock/{platform} test_{n}": "PASS" for platform in ("lnl", "bmg") for n in range(4)
    }


def test_a_power_cut_leaves_zeros_and_they_do_no_harm(project):
    project.suite(TESTS)
    project.run()
    ran(project)
    cut(project, 5, "\0" * 512)
    assert project.pytester.runpytest_inprocess("--resume=reports/out").ret == 0
    assert ran(project) == ["test_1", "test_2", "test_3"]
    assert project.outcomes() == {f"mock/bmg test_{n}": "PASS" for n in range(4)}


def test_on_a_machine_that_tests_may_take_down_each_event_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    for durable, times in ((False, 0), (True, 2)):
        results = Results(tmp_path / "results.jsonl", {"event": "run"})
        results.expect({"driver": []}, durable=durable)
        synced.clear()
        results.plan("driver", {"a": {}})
        results.start("driver", "a")
        assert len(synced) == times - durable
        results.result({"event": "result", "env": "driver", "test": "a", "outcome": "PASS"})
        assert len(synced) == times
        results.finish(0)
