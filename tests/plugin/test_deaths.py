# SPDX-License-Identifier: MIT
"""Deadlines and deaths: a test that hangs, or kills its process, fails alone."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest

from fixtures.plugin import backend, deadline
from fixtures.plugin.environment import Environment

MARKS = '@behaviour("demo.works")\n@acts("ioctl")\n'
BEFORE = MARKS + "def test_before():\n    count('ioctl')\n"
AFTER = MARKS + "def test_later():\n    count('ioctl')\n"
DIES = MARKS + "def test_dies():\n    os.kill(os.getpid(), {signal})\n"

# A hang in which no signal handler of Python runs: the alarm is blocked.
HANGS_HARD = (
    MARKS
    + "@pytest.mark.timeout(0.2)\ndef test_hangs():\n    import signal\n"
    + "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n    time.sleep(60)\n"
)
IMPATIENT = "from fixtures.plugin import deadline\ndeadline.GRACE = 0.2\ndeadline._COARSE = 0.1\n"


def test_a_test_over_its_deadline_fails_and_the_rest_goes_on(project):
    project.suite(
        BEFORE + MARKS + "@pytest.mark.timeout(0.2)\ndef test_hangs():\n    time.sleep(60)\n" + AFTER
    )
    project.run()
    assert project.outcomes() == {
        "mock/bmg test_before": "PASS",
        "mock/bmg test_hangs": "FAIL",
        "mock/bmg test_later": "PASS",
    }
    assert project.results()["mock/bmg test_hangs"]["message"] == "the test did not end within 0.2 s"


def test_a_report_is_no_part_of_the_test(project):
    """The deadline passes while pytest writes how the test failed: it failed like that, and the rest continues."""
    slow = "class Slow(Exception):\n    def __str__(self):\n        time.sleep(0.5)\n        return 'slow'\n"
    fails = "@pytest.mark.timeout(0.2)\ndef test_fails():\n    raise Slow\n"
    project.suite(BEFORE + slow + MARKS + fails + AFTER)
    project.run()
    assert project.outcomes()["mock/bmg test_later"] == "PASS"
    event = project.results()["mock/bmg test_fails"]
    assert event["outcome"] in ("FAIL", "ERROR")
    assert "slow" in event["message"]


def test_there_is_a_deadline_without_a_mark(project):
    project.suite(
        MARKS + "def test_x(request):\n    count('ioctl')\n    assert request.config.option.timeout == 10\n"
    )
    assert project.run().ret == 0


def test_a_test_that_kills_its_worker_is_blamed_and_the_rest_goes_on(project):
    project.suite(BEFORE + DIES.format(signal=9) + DIES.format(signal=11).replace("dies", "faults") + AFTER)
    result = project.run_apart("--platform", "lnl", "--platform", "bmg")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for platform in ("lnl", "bmg"):
        assert project.outcomes()[f"mock/{platform} test_before"] == "PASS"
        assert project.outcomes()[f"mock/{platform} test_later"] == "PASS"
        for name in ("dies", "faults"):
            event = project.results()[f"mock/{platform} test_{name}"]
            assert event["outcome"] == "ERROR"
            assert event["message"] == "the process that ran it died"
            assert (event["behaviours"], event["declared"], event["area"]) == (
                ["demo.works"],
                ["ioctl"],
                "demo",
            )
            assert event["replay"].startswith(f"pytest --platform {platform} ")
            assert ("in test_faults" in event["longrepr"]) == (name == "faults")
    files = (project.path / "reports/out/allure-results").glob("*-result.json")
    shown = Counter(
        (test["name"], test["status"]) for test in (json.loads(file.read_text()) for file in files)
    )
    names = {"test_before": "passed", "test_dies": "broken", "test_faults": "broken", "test_later": "passed"}
    assert shown == dict.fromkeys(names.items(), 2)


def test_a_hang_that_no_signal_ends_costs_one_worker(project):
    project.suite(IMPATIENT + BEFORE + HANGS_HARD + AFTER)
    project.run_apart("-n", "1")
    assert project.outcomes() == {
        "mock/bmg test_before": "PASS",
        "mock/bmg test_hangs": "ERROR",
        "mock/bmg test_later": "PASS",
    }
    event = project.results()["mock/bmg test_hangs"]
    assert event["message"] == "the process hung in it and was ended"
    assert "in test_hangs" in event["longrepr"]
    assert "pluggy" not in event["longrepr"]


def test_a_hang_that_no_signal_ends_is_in_the_stream_without_workers(project):
    project.suite(IMPATIENT + BEFORE + HANGS_HARD)
    result = project.run_apart()
    assert result.ret != 0
    result.stderr.fnmatch_lines(["Timeout (*", "*in test_hangs"])
    last = project.events()[-1]
    assert (last["event"], last["test"].partition("::")[2]) == ("start", "test_hangs")


def test_a_stopped_worker_is_killed_by_the_controller(project):
    project.suite(
        BEFORE
        + MARKS
        + "@pytest.mark.timeout(0.2)\ndef test_stops():\n    os.kill(os.getpid(), 19)\n    time.sleep(60)\n"
        + AFTER
    )
    (project.path / "stub.py").write_text(
        (project.path / "stub.py").read_text() + "from fixtures.plugin import workers\nworkers.GRACE = 0.2\n"
    )
    project.run_apart("-n", "1")
    assert project.outcomes() == {
        "mock/bmg test_before": "PASS",
        "mock/bmg test_stops": "ERROR",
        "mock/bmg test_later": "PASS",
    }


def test_worker_that_dies_behind_a_result_fails_no_test(project):
    project.suite(BEFORE + AFTER)
    (project.path / "dies.py").write_text(
        "import os, pytest\n"
        "def pytest_configure(config):\n"
        "    if hasattr(config, 'workerinput'):\n"
        "        config.pluginmanager.register(Dies())\n"
        "class Dies:\n"
        "    @pytest.hookimpl(trylast=True)\n"
        "    def pytest_runtest_logfinish(self, nodeid):\n"
        "        if nodeid.endswith('test_before'):\n"
        "            os.kill(os.getpid(), 9)\n"
    )
    result = project.run_apart("-n", "1", "-p", "dies")
    assert project.outcomes() == {"mock/bmg test_before": "PASS", "mock/bmg test_later": "PASS"}
    assert result.ret == 0
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("times", [1, 2])
def test_worker_that_dies_before_it_says_a_word_is_started_again(project, monkeypatch, times):
    """Once; if it still does not start, the run ends, and leaves no process or file open."""
    project.suite(BEFORE)
    (project.path / "sitecustomize.py").write_text(
        "import os, pathlib, sys\n"
        "left = sorted(pathlib.Path(__file__).parent.glob('dies*'))\n"
        "if sys.argv == ['-c'] and left:\n    left[0].unlink()\n    os._exit(1)\n"
    )
    for number in range(times):
        (project.path / f"dies{number}").touch()
    monkeypatch.setenv("PYTHONPATH", str(project.path), prepend=os.pathsep)
    result = project.run_apart("-n", "1")
    assert not list(project.path.glob("dies*"))
    if times == 1:
        assert result.ret == 0
        assert project.outcomes() == {"mock/bmg test_before": "PASS"}
    else:
        assert result.ret == pytest.ExitCode.INTERNAL_ERROR
        assert "EOFError" in result.stdout.str()
        assert "ResourceWarning" not in result.stdout.str() + result.stderr.str()


def test_worker_that_dies_before_it_has_its_command_line_is_started_again(project):
    project.suite(BEFORE)
    (project.path / "kills.py").write_text(
        "killed = []\n"
        "def pytest_xdist_newgateway(gateway):\n"
        "    if not killed:\n"
        "        killed.append(gateway)\n"
        "        gateway._io.kill()\n"
        "        gateway._io.popen.wait()\n"
    )
    result = project.run_apart("-n", "1", "-p", "kills")
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    assert project.outcomes() == {"mock/bmg test_before": "PASS"}
    assert "ResourceWarning" not in result.stdout.str() + result.stderr.str()


def test_an_environment_that_dies_before_any_test_ends_the_run(project):
    project.suite(BEFORE)
    (project.path / "stub.py").write_text(
        (project.path / "stub.py").read_text()
        + "def pytest_sessionstart(session):\n    import os\n"
        + "    if hasattr(session.config, 'workerinput'):\n        os._exit(3)\n"
    )
    result = project.run_apart("-n", "1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: mock/bmg: its worker died 2 times before any test*"])


def test_the_excerpt_keeps_the_thread_that_ran_the_test():
    log = (
        'Timeout (0:00:16)!\nThread 0x1 (most recent call first):\n  File "execnet.py", line 1 in read\n\n'
        'Thread 0x2 (most recent call first):\n  File "suites/test_x.py", line 2 in test_x\n'
        '  File "/v/_pytest/python.py", line 3 in pytest_pyfunc_call\n  File "pluggy.py", line 4 in call\n'
    )
    assert deadline.excerpt(log) == (
        'Timeout (0:00:16)!\nThread 0x2 (most recent call first):\n  File "suites/test_x.py", line 2 in test_x'
    )


BACKEND = """
from fixtures.plugin import backend as backend_
said = []
dead = []
started = backend_.STARTERS["mock"]
def start_talkative(environment):
    import dataclasses
    return dataclasses.replace(
        started(environment), alive=lambda: not dead, complaints=lambda: "".join(said)
    )
patch.setitem(backend_.STARTERS, "mock", start_talkative)
"""


def test_a_test_in_which_the_backend_complains_is_an_error(project):
    stub = project.path / "stub.py"
    stub.write_text(stub.read_text() + BACKEND)
    project.suite(
        BEFORE
        + MARKS
        + "def test_x():\n    import stub\n    count('ioctl')\n    stub.said.append('KeyError: 7\\n')\n"
        + AFTER
    )
    project.run()
    assert project.outcomes() == {
        "mock/bmg test_before": "PASS",
        "mock/bmg test_x": "ERROR",
        "mock/bmg test_later": "PASS",
    }
    event = project.results()["mock/bmg test_x"]
    assert event["message"] == "backend: KeyError: 7"


KILLS_BACKEND = MARKS + "def test_kills():\n    import stub\n    count('ioctl')\n    stub.dead.append(1)\n"


def test_a_dead_backend_costs_one_worker(project):
    stub = project.path / "stub.py"
    stub.write_text(stub.read_text() + BACKEND)
    project.suite(BEFORE + KILLS_BACKEND + AFTER)
    project.run_apart("-n", "1")
    assert project.outcomes() == {
        "mock/bmg test_before": "PASS",
        "mock/bmg test_kills": "ERROR",
        "mock/bmg test_later": "PASS",
    }
    assert project.results()["mock/bmg test_kills"]["message"] == "backend: the backend has died"


def test_a_dead_backend_ends_a_run_without_workers(project):
    stub = project.path / "stub.py"
    stub.write_text(stub.read_text() + BACKEND)
    project.suite(KILLS_BACKEND + AFTER)
    result = project.run_apart()
    assert result.ret == 1
    assert project.outcomes() == {"mock/bmg test_kills": "ERROR", "mock/bmg test_later": "NOTRUN"}


LOST_AT_START = """
import pathlib
def probe_of_dead(nodes, reductions, probe=probe):
    left = sorted(pathlib.Path(__file__).parent.glob("dies*"))
    if not left:
        return probe(nodes, reductions)
    left[0].unlink()
    dead.append(1)
    raise FileNotFoundError(2, "No such file or directory")
patch.setattr(runner, "probe", probe_of_dead)
"""


def test_a_backend_that_dies_at_its_start_costs_one_worker(project):
    stub = project.path / "stub.py"
    stub.write_text(stub.read_text() + BACKEND + LOST_AT_START)
    project.suite(BEFORE)
    (project.path / "dies").touch()
    result = project.run_apart("-n", "1")
    assert result.ret == 0
    assert project.outcomes() == {"mock/bmg test_before": "PASS"}


def test_a_backend_that_dies_at_its_start_ends_a_run_without_workers(project):
    stub = project.path / "stub.py"
    stub.write_text(stub.read_text() + BACKEND + LOST_AT_START)
    project.suite(BEFORE)
    (project.path / "dies").touch()
    result = project.run_apart()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: mock/bmg: the backend has died"])


def test_a_device_that_does_not_come_back_is_a_dead_backend(tmp_path, monkeypatch):
    """Its process ends, so that a guest is replaced: each later test would wait for the node until its deadline."""
    nodes = [tmp_path / "renderD128", tmp_path / "renderD129"]
    for node in nodes:
        node.touch()
    monkeypatch.setattr(backend, "xe_nodes", lambda _: [str(node) for node in nodes])
    started = backend._start_driver(Environment("driver", "driver"))
    assert started.alive()
    nodes[1].unlink()
    assert not started.alive()
    assert started.death.startswith("a device did not come back: ")
