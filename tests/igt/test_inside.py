# SPDX-License-Identifier: MIT
"""Running programs and parsing their output, with shell scripts as programs."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Sequence

from guest.igt.inside import Runner

PRELUDE = 'begin() { echo "Starting subtest: $1"; }; end() { echo "Subtest $1: ${2:-SUCCESS} (0.0s)"; }; '


class Programs:
    """Each start of the program runs the next script, which has the names of the subtests in $@."""

    def __init__(self, *scripts: str) -> None:
        self.scripts = list(scripts)
        self.asked: list[list[str]] = []

    def __call__(self, program: str, subtests: Sequence[str]) -> subprocess.Popen[bytes]:
        self.asked.append(list(subtests))
        script = self.scripts.pop(0)
        return subprocess.Popen(
            ["sh", "-c", PRELUDE + script, program, *subtests],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def run(programs: Programs, subtests: Sequence[str], timeout_s: float = 20.0) -> dict[str, dict[str, object]]:
    """The results of subtests, by name."""
    stream = io.StringIO()
    Runner(programs, stream, timeout_s, {"kernel": lambda: ["oops"], "checks": list}).run("p", subtests)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    return {event["subtest"]: event for event in events if event["event"] == "result"}


def outcomes(found: dict[str, dict[str, object]]) -> dict[str, object]:
    return {name: event["outcome"] for name, event in found.items()}


def test_every_subtest_gets_its_result() -> None:
    script = (
        "begin a; end a; begin b; echo 'Test requirement: luck'; end b SKIP; begin c; end c FAIL; exit 98"
    )
    found = run(Programs(script), ["a", "b", "c"])
    assert outcomes(found) == {"a": "pass", "b": "skip", "c": "fail"}
    assert found["b"]["message"] == "luck"
    assert found["a"]["kernel"] == ["oops"]


def test_a_crash_is_one_subtest_s_and_the_rest_goes_on() -> None:
    programs = Programs("begin a; end a; begin b; kill -SEGV $$", "begin c; end c")
    assert outcomes(run(programs, ["a", "b", "c"])) == {"a": "pass", "b": "crash", "c": "pass"}
    assert programs.asked == [["a", "b", "c"], ["c"]]


def test_a_subtest_that_takes_too_long_is_ended_with_its_children() -> None:
    programs = Programs("begin a; sleep 100 & sleep 100; end a", "begin b; end b")
    assert outcomes(run(programs, ["a", "b"], timeout_s=0.5)) == {"a": "timeout", "b": "pass"}


def test_a_program_that_ends_before_its_first_subtest_costs_all() -> None:
    assert outcomes(run(Programs("echo no driver; exit 77"), ["a", "b"])) == {"a": "skip", "b": "skip"}
    assert outcomes(run(Programs("kill -ABRT $$"), ["a", "b"])) == {"a": "crash", "b": "crash"}


def test_what_a_program_leaves_out_is_said() -> None:
    found = run(Programs("begin a; end a"), ["a", "b"])
    assert found["b"]["outcome"] == "skip"
    assert found["b"]["message"] == "the program did not run it"


def test_a_program_that_gave_up_is_started_again() -> None:
    programs = Programs("begin a; end a; exit 112", "begin b; end b")
    assert outcomes(run(programs, ["a", "b"])) == {"a": "pass", "b": "pass"}
