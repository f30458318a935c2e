# SPDX-License-Identifier: MIT
"""A deadline interrupts a test where pytest can report it."""

from __future__ import annotations

import faulthandler
import signal
from types import SimpleNamespace

import pytest

import fixtures.timeouts
from fixtures.plugin.deadline import Deadlines
from fixtures.plugin.environment import Environment
from fixtures.plugin.workers import Workers
from fixtures.timeouts import set_timeout_scale


@pytest.fixture
def alarms(monkeypatch):
    """The alarms that are set, in seconds; none goes off."""
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: found.append(seconds))
    found = []
    return found


@pytest.fixture
def strike(alarms):
    """``strike(line)``: the alarm goes off at an instruction of this line of a test, or in between its phases."""
    item, settings = SimpleNamespace(), SimpleNamespace(timeout=3600.0, disable_debugger_detection=True)
    before = signal.getsignal(signal.SIGALRM)
    deadlines = Deadlines(None)
    deadlines.pytest_timeout_set_timer(item, settings)
    call = deadlines.pytest_runtest_call()
    next(call)
    handler = signal.getsignal(signal.SIGALRM)

    def strike(line, *, between=False):
        if between:
            next(call, None)
        handler(signal.SIGALRM, SimpleNamespace(f_lineno=line))

    yield strike
    item.cancel_timeout()
    faulthandler.cancel_dump_traceback_later()
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def patience():
    """``patience(factor)``, for the time of the test."""
    yield set_timeout_scale
    set_timeout_scale(1)


def test_patience_stretches_it(patience, alarms, monkeypatch):
    patience(3)
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, **_: alarms.append(seconds))
    before = signal.getsignal(signal.SIGALRM)
    item, settings = SimpleNamespace(), SimpleNamespace(timeout=100.0, disable_debugger_detection=True)
    Deadlines(None).pytest_timeout_set_timer(item, settings)
    signal.signal(signal.SIGALRM, before)
    assert alarms[0] == 300
    assert alarms[1] > 300


@pytest.mark.parametrize(
    ("seconds", "factor"),
    [((0.01,) * 3, 1), ((0.9, 0.3, 5.0), 3), ((100.0,) * 3, 10)],
    ids=["fast", "slow", "stuck"],
)
def test_slowness_is_that_of_the_best_of_three(monkeypatch, seconds, factor):
    times = iter(seconds)
    monkeypatch.setattr(fixtures.timeouts, "_work", lambda: next(times))
    monkeypatch.setattr(fixtures.timeouts, "ORDINARY_S", 0.1)
    assert fixtures.timeouts.slowness() == pytest.approx(factor)


def test_slowness_is_measured_by_work_that_ends():
    assert 1 <= fixtures.timeouts.slowness() <= 10


def test_it_fails_the_test(strike):
    with pytest.raises(pytest.fail.Exception, match="did not end within 3600 s"):
        strike(7)


def test_it_strikes_again_soon_at_an_instruction_without_a_line(strike, alarms):
    strike(None)
    assert alarms[0] == 3600
    assert 0 < alarms[1] < 0.01


def test_it_waits_for_a_report_that_is_written(strike, alarms):
    strike(7, between=True)
    assert 0 < alarms[1] < 1


QUICK = """
import time
import pytest
from fixtures.plugin import deadline

deadline.GRACE, deadline._COARSE = 1.0, 0.1

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport(call):
    report = yield
    time.sleep({report} if call.excinfo else 0)
    return report
"""
HANGS = """
@pytest.fixture
def thing():
    yield
    time.sleep({teardown})

@behaviour("demo.works")
@acts("ioctl")
@pytest.mark.timeout(3)
def test_hangs(thing):
    {body}

@behaviour("demo.works")
@acts("ioctl")
def test_next():
    count("ioctl")
"""


@pytest.mark.parametrize("body", ["time.sleep(60)", "time.sleep(2.8); assert 0"])
def test_watchdog_waits_for_a_report_that_takes_long(project, body):
    (project.path / "quick.py").write_text(QUICK.format(report=1.6))
    project.suite(HANGS.format(body=body, teardown=0))
    project.run_apart("-p", "quick")
    assert project.outcomes() == {"mock/bmg test_hangs": "FAIL", "mock/bmg test_next": "PASS"}


@pytest.mark.parametrize("body", ["time.sleep(60)", "assert 0", "count('ioctl')"])
def test_tear_down_has_a_deadline_after_a_failure(project, body):
    project.suite(HANGS.format(body=body, teardown=60))
    result = project.run_apart("--tb=short", timeout=30)
    outcome = "ERROR" if "count" in body else "FAIL"
    assert project.outcomes() == {"mock/bmg test_hangs": outcome, "mock/bmg test_next": "PASS"}
    result.stdout.fnmatch_lines(["*the test did not end within 3 s*"])


def test_controller_gives_more_time_when_a_worker_asks():
    workers = Workers(SimpleNamespace(), [Environment("mock/bmg", "mock")], None, lambda event: None)
    workers._event("worker", "mock/bmg", {"event": "start", "test": "x", "limit": 10.0})
    ((_, before),) = workers._running.values()
    workers._event("worker", "mock/bmg", {"event": "more-time", "limit": 1000.0})
    ((_, after),) = workers._running.values()
    assert 900 < after - before < 1100
    workers._running.clear()
    workers._event("worker", "mock/bmg", {"event": "more-time", "limit": 1000.0})
    assert not workers._running
