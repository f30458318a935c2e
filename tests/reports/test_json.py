# SPDX-License-Identifier: MIT
"""``--json``: it says what the text says, with the same exit status."""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mock.doctor
from common import as_json
from guest import cli as guest
from guest import kernels
from mock.probe import Finding, Use
from reports.commands import behaviours, compare, gate, runs
from reports.compare import Kind
from reports.event import Outcome
from reports.stream import read
from tests.reports import golden_runs, streams
from tests.reports.conftest import called
from tests.reports.golden_runs import BMG, EXPIRED, LNL, MIRROR, STORE, WAIVER

ANSWERED = [name for name in golden_runs.RUNS if name != "killed"]
Answer = dict[str, Any]


class Both:
    """A command, called for people and for programs."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, main: Callable[[list[str]], int], *arguments: object) -> tuple[Answer, list[str]]:
        status = called(main, *arguments)
        text = self._capsys.readouterr().out.splitlines()
        assert called(main, *arguments, "--json") == status
        out, err = self._capsys.readouterr()
        assert not err
        answer = json.loads(out)
        command = main.__module__.rpartition(".")[2]
        assert list(answer)[:3] == ["command", "schema", "status"]
        assert (answer["command"], answer["status"]) == (command, status)
        return answer, text


@pytest.fixture
def both(capsys: pytest.CaptureFixture[str]) -> Both:
    return Both(capsys)


def counts(answer: Answer) -> str:
    """Counts in the form of the texts."""
    assert list(answer) == [outcome.value for outcome in Outcome]
    return ", ".join(f"{number} {outcome}" for outcome, number in answer.items() if number)


@pytest.fixture
def golden_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "today", lambda: datetime.date(2026, 11, 21))
    for command in (gate, compare):
        monkeypatch.setattr(command.Ledger, "load", lambda: golden_runs.ledger("fault.write-visible-to-cpu"))


@pytest.fixture
def real_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger and its tests, read once."""
    monkeypatch.setattr(behaviours.Ledger, "load", real)
    monkeypatch.setattr(behaviours, "proofs", proofs)


real = functools.cache(behaviours.Ledger.load)
proofs = functools.cache(behaviours.proofs)


@pytest.mark.usefixtures("golden_ledger")
@pytest.mark.parametrize("waivers", ["", WAIVER, EXPIRED], ids=["none", "waiver", "expired"])
@pytest.mark.parametrize("name", ANSWERED)
def test_gate_says_the_same(tmp_path: Path, both: Both, name: str, waivers: str) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(waivers)
    run = golden_runs.write(name, tmp_path)
    base = golden_runs.write("good", tmp_path)
    options = ["--waivers", path] if waivers else []
    answer, text = both(gate.main, run, "--baseline", base, "--require", "vram@mock/b*", *options)
    assert answer["run"] == str(run)
    assert answer["accepted"] == (answer["status"] == 0)
    said = [f"{r['file']}:{r['line']}: {r['what']}" for r in answer["refusals"]]
    assert sorted(said) == sorted(
        line for line in text[:-1] if re.match(rf"{re.escape(str(tmp_path))}/", line)
    )
    lines = [part for r in answer["refusals"] for part in (*r["details"], f"to do: {r['todo']}")]
    assert sorted(lines) == sorted(line.strip() for line in text if line.startswith("    "))
    driver = [
        f"driver: {r['outcome']} {r['test']} ({r['environment']}): {r['message']}" for r in answer["driver"]
    ]
    assert driver == [line for line in text if line.startswith("driver: ")]
    notes = [f"{w['file']}:{w['line']}" for w in answer["waivers"]]
    assert notes == [line.split()[1].rstrip(":") for line in text if line.startswith("note: ")]
    unseen = {one["environment"]: sum(one["not_run"].values()) for one in answer["not_seen"]}
    assert unseen == {
        m[1]: int(m[2]) for m in (re.match(r"not seen: (\S+): (\d+) of", line) for line in text) if m
    }
    assert text[-1].endswith(f"({counts(answer['counts'])})")
    assert ("REFUSED" in text[-1]) != answer["accepted"]


def test_gate_tells_of_every_golden_kind_of_line(tmp_path: Path, both: Both, golden_ledger: None) -> None:
    """Parts that the comparison above could miss because they are empty."""
    path = tmp_path / "waivers.toml"
    path.write_text(WAIVER)
    interrupted, _ = both(gate.main, golden_runs.write("interrupted", tmp_path))
    assert [(one["environment"], one["behaviours"], one["not_run"]) for one in interrupted["not_seen"]] == [
        (BMG, 4, {"fault": 1, "gc": 1})
    ]
    failing, _ = both(gate.main, golden_runs.write("failing", tmp_path))
    assert [r["test"] for r in failing["driver"]] == [STORE]
    lines = [refusal["line"] for refusal in failing["refusals"]]
    assert lines == sorted(lines)
    assert len(lines) == 4
    assert failing["waivers"] == []
    waived, _ = both(gate.main, golden_runs.write("waived", tmp_path), "--waivers", path)
    (waiver,) = waived["waivers"]
    assert waiver == {
        "file": str(path),
        "line": 3,
        "subject": "suites/fault/test_store.py::*",
        "excuses": 1,
        "expires": "2027-01-31",
    }
    assert waived["counts"]["KNOWN"] == 1


@pytest.mark.usefixtures("golden_ledger")
@pytest.mark.parametrize("new", ANSWERED)
@pytest.mark.parametrize("base", ["good", "failing", "waived"])
def test_compare_says_the_same(tmp_path: Path, both: Both, base: str, new: str) -> None:
    paths = [golden_runs.write(name, tmp_path) for name in (base, new)]
    answer, text = both(compare.main, *paths)
    assert answer["worse"] == (answer["status"] == 1)
    for side, line in zip(("base", "new"), text, strict=False):
        facts = answer[side]
        about = f"{facts['run']}: suite {facts['suite']}, seed {facts['seed']}, {facts['results']} results"
        assert line == f"{side:5} {about}"
    kinds = [change["change"] for change in answer["changes"]]
    found = {kind.value: kinds.count(kind.value) for kind in Kind if kind.value in kinds}
    heads = re.findall(rf"^({'|'.join(kind.value for kind in Kind)}): (\d+)$", "\n".join(text), re.M)
    assert found == {kind: int(number) for kind, number in heads}
    named = {(c["environment"], c["test"]) for c in answer["changes"]}
    assert len(named) == len(kinds)
    assert [(c["environment"], c["test"]) for c in answer["changes"]] == sorted(named)
    for change in answer["changes"]:
        assert any(change["test"].partition("[")[0] in line for line in text)
        if change["change"] in ("newly failing", "fixed"):
            arrow = f"  {change['base']['outcome']} -> {change['new']['outcome']}  "
            (line,) = (
                line
                for line in text
                if line.startswith(arrow) and change["test"] in line and change["environment"] in line
            )
            assert line.endswith("  driver") == change["driver"]
    assert text[-1] == f"unchanged: {counts(answer['unchanged'])}"


def test_compare_has_what_each_side_says(tmp_path: Path, both: Both, golden_ledger: None) -> None:
    paths = [golden_runs.write(name, tmp_path) for name in ("good", "failing")]
    answer, _ = both(compare.main, *paths, "--history", paths[1])
    flaky = next(c for c in answer["changes"] if (c["environment"], c["test"]) == (LNL, MIRROR))
    assert flaky["change"] == "flaky"
    assert flaky["history"] == ["FAIL", "PASS", "FAIL"]
    assert flaky["base"] == {"outcome": "PASS", "reason": None, "message": None}
    assert flaky["new"]["message"] == "expected EINVAL, the call returned 0"
    assert answer["environments"] == [{"base": name, "new": name} for name in sorted((BMG, LNL))]
    gone = golden_runs.write("good", tmp_path / "other")
    lines = [line for line in gone.read_text().splitlines(keepends=True) if f'"env": "{LNL}"' not in line]
    gone.write_text("".join(lines).replace(f', "{LNL}"', "").replace(f'"{LNL}", ', ""))
    answer, text = both(compare.main, paths[0], gone)
    assert answer["missing"] == [LNL]
    assert f"environment {LNL} is missing in the new run" in text


def test_runs_says_the_same(tmp_path: Path, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out" / "runs").mkdir(parents=True)
    for number, name in enumerate(golden_runs.RUNS):
        folder = tmp_path / "out" / "runs" / f"2026112{number}-000000-1"
        golden_runs.write(name, tmp_path).parent.rename(folder)
        stream = folder / "results.jsonl"
        stream.write_text(stream.read_text().replace("2026-11-21T05:40:00", f"2026-11-2{number}T05:40:00"))
    answer, text = both(runs.main, "out")
    assert len(answer["runs"]) == len(golden_runs.RUNS)
    for at, (entry, name) in enumerate(zip(answer["runs"], golden_runs.RUNS, strict=True)):
        state = entry["state"] + (", failed" if entry["failed"] else "")
        start = entry["start"][:19].replace("T", " ")
        head, folder, command = text[3 * at : 3 * at + 3]
        assert head.startswith(f"{start}  {state}  seed {entry['seed']}  ")
        assert head.endswith(f": {counts(entry['counts'])}")
        assert sorted(head.rpartition("  ")[2].partition(": ")[0].split(", ")) == entry["environments"]
        assert (folder.strip(), command.strip()) == (entry["folder"], entry["command"])
        assert sum(entry["counts"].values()) == len(read(Path(entry["folder"])).results), name
    (tmp_path / "none").mkdir()
    assert both(runs.main, "none")[0]["runs"] == []


def documented(command: str) -> set[str]:
    """The keys that docs/reports.md has of a command."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "reports.md").read_text()
    _, _, section = text.partition("\n## JSON output\n")
    (row,) = re.findall(rf"^\| `{command}` \| (.*) \|$", section.partition("\n## ")[0], re.M)
    return set(re.findall(r"`(\w+)`", row))


def keys(answer: object) -> set[str]:
    """The keys of an answer, and of the objects in it, except for the head and what is named by a fact."""
    if isinstance(answer, list):
        return set().union(*map(keys, answer))
    if not isinstance(answer, dict) or not all(key.islower() for key in answer):
        return set()
    below = (keys(value) for key, value in answer.items() if key not in BY_NAME)
    return set(answer).union(*below) - {"command", "schema", "status"}


BY_NAME = {"not_run"}
"""Keys whose objects have areas for keys."""


@pytest.mark.usefixtures("golden_ledger")
def test_documents_have_the_keys(
    tmp_path: Path, both: Both, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(WAIVER)
    paths = {name: golden_runs.write(name, tmp_path) for name in ANSWERED}
    events = golden_runs.failing()
    events[1]["unexpected"] = {"vram": "there is vram"}
    streams.write(paths["failing"], *events)
    found = keys(both(gate.main, paths["failing"])[0])
    found |= keys(both(gate.main, paths["interrupted"])[0])
    found |= keys(both(gate.main, paths["waived"], "--waivers", path)[0])
    assert found == documented("gate")
    *events, end = golden_runs.failing()
    new = streams.write(tmp_path / "new.jsonl", *events, {"event": "later"}, end)
    new.write_text(new.read_text().replace("test_store", "test_stores"))
    found = keys(both(compare.main, paths["good"], new)[0])
    assert found == documented("compare")
    found = keys(both(runs.main, paths["good"].parent)[0]) - {"command"}
    assert found | {"command"} == documented("runs")


@pytest.mark.usefixtures("real_ledger")
def test_documents_have_the_keys_of_what_reads_no_run(
    tmp_path: Path, both: Both, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = golden_runs.write("good", tmp_path)
    assert keys(both(behaviours.main, "bind.*", "--results", good)[0]) == documented("behaviours")
    findings = [
        Finding("rings", False, "EPERM", Use.PART, "no migration", "allow rings"),
        Finding("python", True, "3.11"),
    ]
    monkeypatch.setattr(mock.doctor, "_machine", lambda: findings)
    assert keys(both(mock.doctor.main)[0]) == documented("doctor") - {use.name.lower() for use in Use} | {
        "mock"
    }
    monkeypatch.setattr(kernels, "obtainable", dict)
    monkeypatch.setattr(kernels, "cached", lambda: ["7.3.4"])
    assert guest.main(["kernels", "--json"]) == 0
    assert keys(json.loads(capsys.readouterr().out)) == documented("guest kernels")


@pytest.mark.usefixtures("real_ledger")
@pytest.mark.parametrize("options", [[], ["--untested"]], ids=["all", "untested"])
@pytest.mark.parametrize("name", ["", "failing", "interrupted"])
def test_behaviours_says_the_same(tmp_path: Path, both: Both, name: str, options: list[str]) -> None:
    if name:
        options = [*options, "--results", str(golden_runs.write(name, tmp_path))]
    answer, text = both(behaviours.main, "*", *options)
    entries = {b["id"]: b for b in answer["behaviours"]}
    assert list(entries) == sorted(entries)
    said: dict[str, list[str]] = {}
    last = ""
    for line in text[: text.index("")]:
        if line.startswith(" "):
            said[last].append(line.strip())
        else:
            last = line.split()[0]
            said[last] = []
            b = entries[last]
            assert line == f"{last}  [{b['kind']}, {b['promise']}]  {b['title']}"
    assert said.keys() == entries.keys()
    for identifier, lines in said.items():
        b = entries[identifier]
        assert sorted(line for line in lines if line.startswith("suites/")) == b["tests"]
        words = " ".join(lines)
        if not b["tests"]:
            assert " ".join((b["why_untested"] or "no test, and no reason is given").split()) in words
        for verdict in b["verdicts"]:
            number = verdict["results"]
            why = f"{number} result{'s' * (number != 1)}" if number else verdict["why"]
            assert f"{verdict['environment']}: {why}" in words
    assert text[text.index("") + 1] == (
        f"{answer['total']} behaviour{'s' * (answer['total'] != 1)}: {answer['tested']} with tests, "
        f"{answer['untested']} untested, {answer['model_only']} that no program can see"
    )
    sums = [f"{e['environment']}: {counts(e['counts'])}" for e in answer["environments"]]
    assert sums == sorted(text[text.index("") + 2 :])
    assert len(sums) == (2 if name else 0)


@pytest.mark.usefixtures("real_ledger")
def test_summary_of_behaviours_says_the_same(tmp_path: Path, both: Both) -> None:
    run = golden_runs.write("failing", tmp_path)
    answer, text = both(behaviours.main, "--summary", "--results", run)
    assert answer["behaviours"] == []
    promises = text[0].split()[:-1]
    table = {
        line.split()[0]: [int(word) for word in line.split()[-len(promises) - 1 :]]
        for line in text[1 : text.index("")]
        if re.match(r"[a-z-]+ +\d", line)
    }
    numbers = {(row["area"], row["promise"]): row["all"] for row in answer["areas"]}
    assert table
    for area, row in table.items():
        assert [numbers[area, promise] for promise in promises] == row[:-1]
    assert sum(numbers.values()) == answer["total"]
    scores = {
        (e["environment"], s["promise"]): f"{s['passed']} / {s['claimed']} / {s['all']}"
        for e in answer["environments"]
        for s in e["scores"]
    }
    environment, found = "", {}
    for line in text:
        if line.endswith(": passed / claimed / all"):
            environment = line.partition(":")[0]
        elif environment and line.strip() and not line.strip().startswith("together"):
            promise, _, score = line.strip().partition("  ")
            found[environment, promise.strip()] = score.strip()
    assert found == scores


@pytest.mark.parametrize("name", ["gate", "compare", "runs"])
def test_no_answer_is_no_object(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    killed = golden_runs.write("killed", tmp_path)
    command, *arguments = {
        "gate": (gate.main, killed),
        "compare": (compare.main, killed, killed),
        "runs": (runs.main, tmp_path / "nowhere"),
    }[name]
    assert called(command, *arguments, "--json") == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1


def test_any_name_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A file name may be no text at all, and a message may have anything in it."""
    answer = {"path": Path("a\udc80"), "text": "\u202e\x1b\U0001f600", "set": {"b", "a"}, "none": None}
    assert as_json.print_answer("x", 1, answer) == 1
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {
        "command": "x",
        "schema": 1,
        "status": 1,
        "path": "a?",
        "text": "\u202e\x1b\U0001f600",
        "set": ["a", "b"],
        "none": None,
    }
    with pytest.raises(TypeError, match="object has no form in JSON"):
        as_json.print_answer("x", 0, {"x": object()})


def test_rows_are_in_the_order_of_their_values() -> None:
    given = [
        {"line": 10, "what": "a"},
        {"line": 9, "what": "b"},
        {"line": None, "what": "c"},
        {"line": 9, "what": "a"},
    ]
    assert as_json.rows(given) == [given[2], given[3], given[1], given[0]]
