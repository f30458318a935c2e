# SPDX-License-Identifier: MIT
"""Long operations print a line a minute."""

from __future__ import annotations

import io
import queue
import threading
import time

import pytest

from common import heartbeat
from common.heartbeat import Heartbeat, Progress, since
from guest import cache


def test_line_comes_again_until_the_end() -> None:
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    with Heartbeat(lambda: "busy", said.put, every=0.001):
        assert [said.get(timeout=60), said.get(timeout=60)] == ["busy", "busy"]
    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]


def test_nothing_is_said_of_what_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with cache.at_work("packing"):
        pass
    assert capsys.readouterr() == ("", "svmcts: packing\n")


def test_set_up_of_a_guest_says_that_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    again = threading.Event()

    def at_once(line: object, say: object) -> Heartbeat:
        return Heartbeat(line, lambda text: (say(text), again.set()), every=0.001)  # type: ignore[arg-type,operator]

    monkeypatch.setattr(cache, "Heartbeat", at_once)
    with cache.at_work("packing"):
        assert again.wait(60)
    assert capsys.readouterr().err.splitlines()[:2] == ["svmcts: packing", "svmcts: packing: 0 s so far"]


def test_times_are_in_words() -> None:
    now = time.monotonic()
    assert since(now - 40) == "40 s"
    assert since(now - 600) == "10 min"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_steps_take_turns_in_one_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with Progress("svmcts report: writing") as progress:
        progress.tell("index.html")
        progress.tell("junit.xml")
    erase = "\r\x1b[K"
    line = f"{erase}svmcts report: writing"
    assert terminal.getvalue() == f"{line} index.html{line} junit.xml{erase}"


def test_step_is_said_again_in_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.001)
    said = ""
    with Progress("svmcts report: writing") as progress:
        progress.tell("index.html")
        while "index.html" not in said:
            said += capsys.readouterr().err
    assert said.splitlines()[-1] == "svmcts report: writing index.html"
    assert "\r" not in said
