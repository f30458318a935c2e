# SPDX-License-Identifier: MIT
"""The reader takes any stream that a run may leave behind, and says what is odd about it."""

import json
from pathlib import Path
from typing import Any

import pytest

import reports
from reports.stream import Outcome, area_of, read
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
    assert not environment.lacks("a capability nobody probed")
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
    assert run.problems[-1] == "no end event: the run did not finish"
    assert any("cut off" in problem for problem in run.problems) == (not whole[:-cut].endswith(b"\n"))


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
    ("lines", "problem"),
    [
        ((), "no run event"),
        (("",), "no run event"),
        (("\n\n",), "no run event"),
        (("nonsense\n",), "line 1 is not JSON"),
        (("[1, 2]\n",), "line 1 is not an event"),
        (({"event": "weather"}, {"event": "weather"}), "2 events of unknown kind 'weather'"),
        ((streams.run(schema=99),), "schema 99"),
        ((streams.result(outcome="MAYBE"),), "unknown outcome 'MAYBE', taken as ERROR"),
    ],
)
def test_oddities_are_said(tmp_path: Path, lines: tuple[dict[str, Any] | str, ...], problem: str) -> None:
    run = read(streams.write(tmp_path / "r.jsonl", *lines))
    assert any(problem in said for said in run.problems), run.problems


def test_fields_of_a_wrong_kind_do_not_stop_the_reader(tmp_path: Path) -> None:
    wrong = streams.result(
        behaviours="bind.x", acts=[1], reason="text", duration="long", declared=None, seed=None
    )
    run = read(
        streams.write(
            tmp_path / "r.jsonl",
            streams.run(suite="0.1", command="pytest", seed=None),
            streams.environment(capabilities=None, devices=["/dev/dri/renderD128"], reductions="none"),
            {"event": "result"},
            wrong,
            streams.end(exit="zero"),
        )
    )
    assert [result.outcome for result in run.results] == [Outcome.ERROR, Outcome.PASS]
    assert run.exit is None


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
    assert SCHEMA["result"]["properties"]["outcome"]["enum"] == [outcome.value for outcome in Outcome]
