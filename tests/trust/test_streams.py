# SPDX-License-Identifier: MIT
"""Damaged streams, baselines and files of waivers: no command answers from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reports.commands import behaviours, compare, gate, report
from tests.reports import golden_runs, streams
from tests.reports.conftest import called
from tests.reports.golden_runs import BMG, LNL, WAIVER

Events = list[dict[str, Any] | str]
GOOD = golden_runs.good()
LAST = len(GOOD)
A_RESULT = 5
"""The line of the first result."""


@dataclass(frozen=True)
class Case:
    """A way in which a stream is wrong."""

    name: str
    events: Events
    why: str
    """The line on standard error, behind the path."""
    is_stream: bool = True
    """Whether it has something to show."""


def changed(line: int, **fields: Any) -> Events:
    """The good run with other fields in one line."""
    event = GOOD[line - 1]
    assert isinstance(event, dict)
    return [*GOOD[: line - 1], {**event, **fields}, *GOOD[line:]]


def inserted(line: int, text: str) -> Events:
    """The good run with an additional line."""
    return [*GOOD[: line - 1], f"{text}\n", *GOOD[line - 1 :]]


def damaged(line: int, what: str) -> str:
    return f":{line}: {what}: the stream is damaged, run it again"


def wrong(name: str, line: int, what: str, **fields: Any) -> Case:
    """A field that cannot be used."""
    return Case(name, changed(line, **fields), damaged(line, what))


def no_json(name: str, text: str) -> Case:
    """A line that is not JSON, although Python's json would accept part of it."""
    return Case(name, inserted(A_RESULT, text), damaged(A_RESULT, "is not JSON"))


NUMBER = "has to be a number of at least 0, below 2^53"
OUTCOMES = "FAIL, ERROR, XPASS, NOTRUN, UNTESTED, KNOWN, PASS, NOT-CLAIMED"
TIME = "has to be a time with its zone, as 2026-11-21T05:40:00+00:00"
NO_STREAM = " is not a stream of results: name a results.jsonl, or the report folder that has one"
UNFINISHED = "no end event: the run did not finish; pytest --resume={folder} continues"

CASES = [
    Case("empty", [], ": the stream is empty: no test ran", is_stream=False),
    Case("a blank line", ["\n"], NO_STREAM, is_stream=False),
    Case("text", ["# Results\n", "\n", "All is well.\n"], NO_STREAM, is_stream=False),
    Case("another JSON", ['{"version": 2}\n'], NO_STREAM, is_stream=False),
    Case("bytes", ["\0" * 4096], NO_STREAM, is_stream=False),
    Case("only its first line", GOOD[:1], ": the run did not start: it has no end; run it again"),
    Case(
        "a usage error",
        [GOOD[0], streams.end(exit=4)],
        ": the run did not start: it ended with exit status 4: a usage error; run it again",
    ),
    Case(
        "no test",
        [*GOOD[:3], streams.end(exit=5)],
        ": the run did not start: it ended with exit status 5: no test ran; run it again",
    ),
    Case("without its start", GOOD[1:], damaged(1, "no run event: the start of the stream is missing")),
    Case("without its end", GOOD[:-1], f":{LAST - 1}: {UNFINISHED}"),
    Case(
        "cut in a line",
        golden_runs.killed(),
        ":21: stops in the middle: the run was cut off; pytest --resume={folder} continues",
    ),
    Case("two runs", [*GOOD, *GOOD], damaged(LAST + 1, "a run event after the end")),
    Case("two runs, mixed", [*GOOD[:6], *GOOD], damaged(7, "run: a second run begins: a stream has one")),
    Case("a result after the end", [*GOOD, *GOOD[4:5]], damaged(LAST + 1, "a result event after the end")),
    wrong("a newer schema", 1, "run: the stream has schema 2, this reader knows 1", schema=2),
    Case(
        "an unknown environment",
        [GOOD[0], *GOOD[2:]],
        damaged(4, f"a test of {LNL}, and no environment event has that name"),
    ),
    no_json("not JSON", "nonsense"),
    no_json("nested too deep", "[" * 100_000),
    no_json("NaN", '{"event":"result","duration":NaN}'),
    no_json("Infinity", '{"event":"result","duration":-Infinity}'),
    no_json("a number of 5000 digits", f'{{"event":"x","a":{"1" * 5000}}}'),
    Case("a list", inserted(5, "[1, 2]"), damaged(5, "is not an event")),
    wrong("a huge duration", A_RESULT, f"result: duration {NUMBER}", duration=1e300),
    wrong("a duration of 400 digits", A_RESULT, f"result: duration {NUMBER}", duration=10**400),
    wrong("a boolean for a count", A_RESULT, "result: store has to be a whole number", acts={"store": True}),
    wrong(
        "apart, and not its own",
        A_RESULT,
        "result: apart names gc.async, which is not one of the behaviours",
        apart={"gc.async": "PASS"},
    ),
    wrong(
        "apart, and no outcome",
        A_RESULT,
        "result: apart has 'GOOD': each has to be one of FAIL, ERROR, XPASS, NOTRUN, "
        "UNTESTED, KNOWN, PASS, NOT-CLAIMED",
        behaviours=["gc.async"],
        apart={"gc.async": "GOOD"},
    ),
    wrong("a text for a list", A_RESULT, "result: behaviours has to be a list of texts", behaviours="a.b"),
    wrong("a time of year 1", A_RESULT, f"result: time {TIME}", time="0001-01-01T00:00:00+00:00"),
    wrong("a time without a zone", A_RESULT, f"result: time {TIME}", time="2026-01-01T00:00:00"),
    wrong("month 13", 1, f"run: start {TIME}", start="2026-13-45T99:99:99"),
    wrong("no name of a test", A_RESULT, "result: test is missing", test=""),
    wrong("an unknown outcome", A_RESULT, f"result: outcome has to be one of {OUTCOMES}", outcome="MAYBE"),
    wrong(
        "devices of nothing",
        2,
        "environment: devices has to be a list of objects of texts and whole numbers",
        devices=[5],
    ),
    wrong("a text for the exit status", LAST, "end: exit has to be a whole number", exit="0"),
]


def words(command: str, bad: Path, good: Path, out: Path) -> tuple[Callable[[list[str]], int], list[object]]:
    return {
        "gate": (gate.main, [bad]),
        "gate --baseline": (gate.main, [good, "--baseline", bad]),
        "compare new": (compare.main, [good, bad]),
        "compare base": (compare.main, [bad, good]),
        "compare --history": (compare.main, [good, good, "--history", bad]),
        "report": (report.main, [bad, "-o", out]),
        "report --baseline": (report.main, [good, "-o", out, "--baseline", bad]),
        "behaviours": (behaviours.main, ["gc.*", "--results", bad]),
    }[command]


COMMANDS = (
    "gate",
    "gate --baseline",
    "compare new",
    "compare base",
    "compare --history",
    "report",
    "behaviours",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_stream_that_is_not_whole_is_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Case, command: str
) -> None:
    bad = tmp_path / "bad" / "results.jsonl"
    bad.parent.mkdir()
    streams.write(bad, *case.events)
    main, arguments = words(command, bad, golden_runs.write("good", tmp_path), tmp_path / "out")
    assert called(main, *arguments) == 2
    said = capsys.readouterr()
    assert said.err == f"svmcts {command.split(maxsplit=1)[0]}: {bad}{case.why.format(folder=bad.parent)}\n"
    shows = case.is_stream and command in ("report", "behaviours")
    assert bool(said.out) == shows
    assert (tmp_path / "out/index.html").exists() == (shows and command == "report")


SCHEMA = json.loads((Path(streams.__file__).parents[2] / "reports/results.schema.json").read_text())
WHOLE = [*GOOD[:-1], {"event": "resume", "time": "2026-11-21T05:40:00+00:00"}, GOOD[-1]]
FIELDS = [
    (kind, field)
    for kind, definition in SCHEMA["$defs"].items()
    for field in definition.get("properties", ())  # none: it is that of a field
    if field != "event"
]
NO_FIELD_HAS: tuple[Any, ...] = ([[1]], {"a": [1]}, 1.5, "\0", True)


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_stream_damaged_in_any_field_is_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, field: str
) -> None:
    """Whatever the schema does not allow there."""
    at = next(i for i, event in enumerate(WHOLE) if isinstance(event, dict) and event["event"] == kind)
    takes = jsonschema.Draft202012Validator(SCHEMA)
    wrong = 0
    for value in NO_FIELD_HAS:
        event = {**WHOLE[at], field: value}  # type: ignore[dict-item]
        if takes.is_valid(event):
            continue
        wrong += 1
        path = streams.write(tmp_path / "bad.jsonl", *WHOLE[:at], event, *WHOLE[at + 1 :])
        status, said = called(gate.main, path), capsys.readouterr()
        assert (status, said.out) == (2, ""), f"{field} {value!r}: {said.out}"
        assert said.err.startswith(f"svmcts gate: {path}:{at + 1}: "), f"{field} {value!r}: {said.err}"
    assert wrong >= 2


def test_nothing_of_a_damaged_result_passes(tmp_path: Path) -> None:
    """The report shows it as an ERROR."""
    bad = streams.write(tmp_path / "r.jsonl", *changed(A_RESULT, duration="long"))
    assert called(report.main, bad, "-o", tmp_path / "out") == 2
    page = (tmp_path / "out/index.html").read_text()
    assert "damaged: duration has to be a number" in page


def test_texts_with_other_ends_of_lines_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    events = [
        {**e, "message": "a\u2028b\u0085c\x1cd"} if isinstance(e, dict) and e["event"] == "result" else e
        for e in GOOD
    ]
    path.write_text("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events))
    assert called(gate.main, path) == 0


def test_unknown_fields_and_events_are_passed_over(tmp_path: Path) -> None:
    events = [{**e, "later": [{"a": None}]} if isinstance(e, dict) else e for e in GOOD]
    path = streams.write(tmp_path / "r.jsonl", *events[:-1], {"event": "weather"}, events[-1])
    assert called(compare.main, path, path) == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1: no [[waiver]] in it: leave --waivers out"),
        ("\0", "1: not TOML: "),
        ("a = " + "[" * 100_000, "1: not TOML: "),
        (WAIVER[: len(WAIVER) // 2], "1: not TOML: "),
        (json.dumps(GOOD[0]), "1: not TOML: "),
        (WAIVER.replace("2027-01-31", "2027-02-30"), "11: not TOML: "),
        (WAIVER.replace("the CPU sees 0x# at offset 0x#, not 0x#", "assert # == #"), "7: signature = "),
    ],
    ids=["empty", "bytes", "nested", "cut", "a stream", "a day that is none", "a signature that fits all"],
)
@pytest.mark.parametrize("command", ["gate", "report"])
def test_waivers_that_are_not_well_formed_are_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str, command: str
) -> None:
    file = tmp_path / "waivers.toml"
    file.write_text(text)
    main, arguments = words(command, golden_runs.write("good", tmp_path), tmp_path, tmp_path / "out")
    assert called(main, *arguments, "--waivers", file) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"svmcts {command}: {file}:{why}")
    assert said.err.count("\n") == 1


def test_an_interrupted_run_is_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its stream has an end with this status: it is refused."""
    assert called(gate.main, golden_runs.write("interrupted", tmp_path)) == 1
    assert f"{BMG}: 2 tests did not run" in capsys.readouterr().out
