# SPDX-License-Identifier: MIT
"""The reader takes any stream that a run may leave behind, and says what is odd about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import reports
from reports.event import Environment, Outcome, Result, area_of
from reports.stream import Flaw, Problem, read
from tests.reports import streams


def test_a_whole_stream_is_read_field_by_field(tmp_path: Path) -> None:
    path = streams.write(
        tmp_path / "r.jsonl",
        streams.run(),
        streams.environment(),
        {"event": "start", "env": "mock/bmg", "test": "suites/vm/test_a.py::test_a", "time": 1},
        streams.result(
            "suites/vm/test_a.py::test_a",
            "NOT-CLAIMED",
            reason={"code": "NEEDS:vram", "text": "no VRAM region"},
            acts={"ioctl": 2},
            transcript="ioctl(...)",
        ),
        streams.end(exit=3),
    )
    run = read(path)
    assert (run.seed, run.exit, run.suite["version"], run.problems) == ("20831", 3, "0.1", ())
    assert run.command[0] == "pytest"
    environment = run.environments["mock/bmg"]
    assert environment.fields["kernel"] == "6.12.48+deb13-amd64"
    assert environment.lacks("two-devices")
    assert not environment.lacks("vram")
    assert not environment.lacks("a capability that was not probed")
    assert environment.devices[0]["path"] == "/dev/dri/renderD128"
    (result,) = run.results
    assert result.outcome is Outcome.NOT_CLAIMED
    assert (result.area, result.reason_code, result.line) == ("vm", "NEEDS:vram", "no VRAM region")
    assert result.acts == {"ioctl": 2}
    assert result.transcript == "ioctl(...)"


@pytest.mark.parametrize("cut", range(2, 400, 7))
def test_a_stream_cut_off_anywhere_keeps_what_was_whole(tmp_path: Path, cut: int) -> None:
    path = streams.write(
        tmp_path / "r.jsonl", streams.run(), streams.environment(), streams.result(), streams.end()
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    run = read(path)
    lines = whole[:-cut].count(b"\n")
    assert len(run.results) == (lines >= 3)
    said = [str(problem) for problem in run.problems]
    assert "no end event: the run did not finish" in said
    assert any("cut off" in problem for problem in said) == (not whole[:-cut].endswith(b"\n"))


def test_a_test_that_began_and_has_no_result_is_an_error(tmp_path: Path) -> None:
    start = {"event": "start", "env": "guest/7.3", "test": "suites/fault/test_f.py::test_f"}
    run = read(streams.write(tmp_path / "r.jsonl", streams.run(), start))
    (result,) = run.results
    assert (result.outcome, result.env, result.area) == (Outcome.ERROR, "guest/7.3", "fault")
    assert "began and has no result" in result.line
    assert "guest/7.3" in run.environments


def test_a_result_ends_what_began_even_when_the_controller_wrote_it(tmp_path: Path) -> None:
    test = "suites/fault/test_f.py::test_f"
    run = read(
        streams.write(
            tmp_path / "r.jsonl",
            streams.run(),
            {"event": "start", "env": "mock/bmg", "test": test},
            streams.result(test, "ERROR", message="worker gw0 died (signal 11)"),
            streams.end(exit=1),
        )
    )
    assert [result.line for result in run.results] == ["worker gw0 died (signal 11)"]


@pytest.mark.parametrize(
    ("lines", "problem", "flaw"),
    [
        ((), "the stream is empty", Flaw.DAMAGE),
        (("\n\n",), "line 1: is not JSON", Flaw.DAMAGE),
        (("nonsense\n",), "line 1: is not JSON", Flaw.DAMAGE),
        (("[1, 2]\n",), "line 1: is not an event", Flaw.DAMAGE),
        (({"event": 5},), "line 1: is not an event", Flaw.DAMAGE),
        (({"event": "weather"}, {"event": "weather"}), "2 events of unknown kind 'weather'", Flaw.NOTE),
        ((streams.result(),), "line 1: no run event: the start of the stream is missing", Flaw.DAMAGE),
        ((streams.result(),), "line 1: a test of mock/bmg, and no environment event", Flaw.DAMAGE),
        (
            (streams.run(schema=99),),
            "line 1: run: the stream has schema 99, this reader knows 1",
            Flaw.DAMAGE,
        ),
        ((streams.run(), streams.run()), "line 2: run: a second run begins", Flaw.DAMAGE),
        ((streams.run(), streams.end(), streams.end()), "line 3: a end event after the end", Flaw.DAMAGE),
        ((streams.run(), {"event": "end", "time": ""}), "line 2: end: exit is missing", Flaw.DAMAGE),
        ((streams.run(), '{"event":"resu'), "line 2: stops in the middle: the run was cut off", Flaw.CUT),
        ((streams.run(),), "no end event: the run did not finish", Flaw.CUT),
        (
            (streams.run(environments=["mock/bmg"]),),
            "environment mock/bmg was asked for and did not start",
            Flaw.NOTE,
        ),
    ],
)
def test_oddities_are_said(
    tmp_path: Path, lines: tuple[dict[str, Any] | str, ...], problem: str, flaw: Flaw
) -> None:
    run = read(streams.write(tmp_path / "r.jsonl", *lines))
    assert any(problem in str(said) and said.flaw is flaw for said in run.problems), run.problems


def test_end_that_changes_the_status_counts(tmp_path: Path) -> None:
    """A run may end, and then fail to print its reports, as with a closed pager."""
    run = read(streams.write(tmp_path / "r.jsonl", streams.run(), streams.end(), streams.end(exit=3)))
    assert run.exit == 3
    assert not [said for said in run.problems if said.flaw is Flaw.DAMAGE]


TEXTS = "a list of texts"
SECONDS = "a number of at least 0, below 2^53"
COUNT = "a whole number of at least 0, below 2^53"
TIME = "a time with its zone, as 2026-11-21T05:40:00+00:00"
DEVICES = "a list of objects of texts and whole numbers"


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("area", 5, "text"),
        ("behaviours", "bind.x", TEXTS),
        ("behaviours", ["a", 5], TEXTS),
        ("declared", {"a": 1}, TEXTS),
        ("acts", [1], "an object of whole numbers"),
        ("reason", "text", "an object of code and text"),
        ("duration", "long", "a number"),
        ("duration", True, "a number"),
        ("duration", -1, SECONDS),
        ("duration", 1e300, SECONDS),
        ("message", {"a": 1}, "text"),
        ("longrepr", [1], "text"),
        ("transcript", 7, "text"),
        ("kernel_log", False, "text"),
        ("vacuous", "yes", "true or false"),
        ("seed", [1], "text or a whole number"),
        ("replay", {}, "text"),
        ("time", "2026-13-45T99:99:99", TIME),
        ("time", "2026-01-01T00:00:00", TIME),
        ("time", "0001-01-01T00:00:00+00:00", TIME),
    ],
)
def test_result_with_a_wrong_field_is_damage_and_an_error(
    tmp_path: Path, field: str, value: object, what: str
) -> None:
    events = [streams.run(), streams.environment(), streams.result(**{field: value}), streams.end()]
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    assert run.flaw(Flaw.DAMAGE) == Problem(f"result: {field} has to be {what}", Flaw.DAMAGE, 3)
    assert [(r.outcome, r.message) for r in run.results] == [
        (Outcome.ERROR, f"damaged: {field} has to be {what}")
    ]


@pytest.mark.parametrize(
    ("line", "field", "value", "what"),
    [
        (1, "schema", "x", "a whole number"),
        (1, "suite", "0.1", "an object of texts"),
        (1, "suite", {"version": 1}, "an object of texts"),
        (1, "seed", {"a": 1}, "text or a whole number"),
        (1, "command", "pytest", TEXTS),
        (1, "environments", [None], TEXTS),
        (1, "directory", 5, "text"),
        (1, "start", "yesterday", TIME),
        (2, "machine", 5, "text"),
        (2, "kernel", ["7.3"], "text"),
        (2, "capabilities", [1], "an object of true, false or text"),
        (2, "capabilities", {"vram": 1}, "an object of true, false or text"),
        (2, "absent", "vram", "an object of texts"),
        (2, "reductions", {"a": 1}, TEXTS),
        (2, "patience", "slow", "a number"),
        (2, "devices", ["/dev/dri/renderD128"], DEVICES),
        (2, "devices", [{"path": {}}], DEVICES),
        (2, "tests", 1.5, "a whole number"),
        (2, "tests", -1, COUNT),
        (3, "acts", {"store": -1}, ""),
        (4, "time", "noon", TIME),
        (4, "exit", "zero", "a whole number"),
    ],
)
def test_wrong_field_is_damage(tmp_path: Path, line: int, field: str, value: object, what: str) -> None:
    events = [streams.run(), streams.environment(), streams.result(), streams.end()]
    events[line - 1][field] = value
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    damage = run.flaw(Flaw.DAMAGE)
    assert damage is not None
    assert damage.line == line
    assert damage.what.endswith(f"{field} has to be {what}" if what else COUNT)


@pytest.mark.parametrize(
    ("line", "field"),
    [(2, "env"), (2, "machine"), (2, "backend"), (3, "env"), (3, "test"), (3, "outcome"), (4, "exit")],
)
def test_missing_field_is_damage(tmp_path: Path, line: int, field: str) -> None:
    events = [streams.run(), streams.environment(), streams.result(), streams.end()]
    del events[line - 1][field]
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    assert any(problem.flaw is Flaw.DAMAGE and field in problem.what for problem in run.problems)


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        '{"event":"result","env":' * 50_000,
        '{"event":"x","a":NaN}',
        f'{{"event":"x","a":{"1" * 5000}}}',
        "\0" * 4096,
    ],
    ids=["nested", "nested objects", "NaN", "digits", "NUL"],
)
def test_line_that_is_no_json_is_damage(tmp_path: Path, line: str) -> None:
    run = read(streams.write(tmp_path / "r.jsonl", streams.run(), f"{line}\n", streams.end()))
    assert run.flaw(Flaw.DAMAGE) == Problem("is not JSON", Flaw.DAMAGE, 2)


def test_deep_nesting_of_a_field_nobody_knows_stops_nothing(tmp_path: Path) -> None:
    for depth in range(300, 1000, 50):
        deep = f'{{"event":"x\\u0007","a":{"[" * depth}{"]" * depth}}}\n'
        events = (streams.run(), streams.environment(), deep, streams.result(), streams.end())
        assert len(read(streams.write(tmp_path / "r.jsonl", *events)).results) == 1


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    message = "found 'a\u2028b\u0085c\x1cd'"
    path = tmp_path / "r.jsonl"
    events = (streams.run(), streams.environment(), streams.result(message=message), streams.end())
    path.write_text("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events))
    run = read(path)
    assert run.problems == ()
    assert len(run.results) == 1


def test_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = Result(
        "mock/bmg",
        "suites/vm/test_a.py::test_a",
        Outcome.ERROR,
        "vm",
        ("a.b",),
        {"store": 2},
        ("load",),
        vacuous=True,
        reason_code="X",
        reason="why",
        duration=0.25,
        message="m",
        longrepr="l",
        transcript="t",
        kernel_log="k",
        seed="7",
        replay="pytest",
        time="2026-11-21T05:40:00+00:00",
    )
    assert Result.from_event(result.to_event()) == result
    environment = Environment(
        "mock/bmg",
        {"machine": "local", "backend": "mock", "kernel": "7.3"},
        {"vram": True, "tiles": "2"},
        {"swap": "none"},
        ("no swap",),
        {"vram": "vram is expected"},
        {"thp": "thp is not expected"},
        ({"path": "/dev/dri/renderD128", "vram": 7},),
        2.0,
        9,
    )
    assert Environment.from_event(environment.to_event()) == environment


@pytest.mark.parametrize(
    ("outcome", "fields", "vacuous"),
    [
        ("ERROR", {"message": "vacuous: the test passed"}, True),
        ("ERROR", {"message": "vacuous: said by a test", "vacuous": False}, False),
        ("ERROR", {"message": "no act", "vacuous": True}, True),
        ("PASS", {"acts": {}, "vacuous": False}, True),
        ("PASS", {}, False),
        ("FAIL", {"acts": {}}, False),
    ],
)
def test_vacuous_is_a_field(outcome: str, fields: dict[str, Any], vacuous: bool) -> None:
    assert Result.from_event(streams.result(outcome=outcome, **fields)).vacuous is vacuous


def test_bytes_that_are_no_text_do_not_stop_the_reader(tmp_path: Path) -> None:
    path = streams.write(tmp_path / "r.jsonl", streams.run(), streams.result())
    path.write_bytes(path.read_bytes().replace(b"test_map", b"test_\xff\xfe"))
    assert "test_\ufffd\ufffd" in read(path).results[0].test


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred", "␛[31mred"),
        ("nul\0bell\x07", "nul␀bell␇"),
        ("line\r\nnext\ttab", "line\nnext\ttab"),
        ("\x9b31m\x7f", "\ufffd31m␡"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("\ud83d lone", "\ufffd lone"),
        ("日本 é 🙂", "日本 é 🙂"),
    ],
)
def test_no_text_can_steer_a_terminal_or_break_a_file(tmp_path: Path, written: str, shown: str) -> None:
    run = read(streams.write(tmp_path / "r.jsonl", streams.run(), streams.result(longrepr=written)))
    assert run.results[0].longrepr == shown
    shown.encode()


@pytest.mark.parametrize(
    ("test", "area"),
    [
        ("suites/bind/test_cam.py::test_x[a/b::c]", "bind"),
        ("suites/cpu_fault/test_return.py::test_x", "cpu-fault"),
        ("suites/test_top.py::test_x", "suites"),
        ("tests/mock/test_a.py::test_x", "tests"),
        ("", ""),
    ],
)
def test_the_area_is_the_folder_below_suites(test: str, area: str) -> None:
    assert area_of(test) == area


SCHEMA = json.loads((Path(reports.__file__).parent / "results.schema.json").read_text(encoding="utf-8"))[
    "$defs"
]


@pytest.mark.parametrize(
    "event",
    [
        streams.run(),
        streams.environment(),
        {"event": "start", "env": "mock/bmg", "test": "suites/vm/test_a.py::test_a", "time": 1},
        streams.result(),
        streams.end(),
    ],
    ids=lambda event: event["event"],
)
def test_the_schema_documents_every_field_of_the_stream(event: dict[str, Any]) -> None:
    part = SCHEMA[event["event"]]
    assert part["properties"]["event"] == {"const": event["event"]}
    assert set(part["required"]) <= event.keys() <= part["properties"].keys()


def test_the_schema_and_the_reader_know_the_same_outcomes() -> None:
    assert SCHEMA["outcome"]["enum"] == [outcome.value for outcome in Outcome]
