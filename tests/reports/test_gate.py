# SPDX-License-Identifier: MIT
"""``svmcts gate``: what it refuses, what it lets pass, and that it always says where and what to do."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from reports.commands import gate as command
from reports.event import Outcome
from reports.gate import Requirement, Verdict, judge
from reports.stream import read
from reports.waivers import WaiverError, load
from tests.reports import golden_runs, streams
from tests.reports.conftest import called
from tests.reports.golden_runs import BMG, COLLECT, EXPIRED, LNL, MIRROR, STORE, WAIVER

TODAY = datetime.date(2026, 11, 21)


def judged(tmp_path: Path, name: str, waivers: str = "", require: str = "", baseline: str = "") -> Verdict:
    path = tmp_path / "waivers.toml"
    path.write_text(waivers)
    return judge(
        read(golden_runs.write(name, tmp_path)),
        baseline=read(golden_runs.write(baseline, tmp_path)) if baseline else None,
        waivers=load(path) if waivers else (),
        require=[Requirement.parse(word) for word in require.split()],
        today=TODAY,
    )


def said(verdict: Verdict) -> str:
    return "\n".join(map(str, verdict.refusals))


def line_of(tmp_path: Path, name: str, *parts: str) -> int:
    lines = (tmp_path / name / "results.jsonl").read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines, 1) if all(part in line for part in parts))
    return number


def test_a_good_run_is_accepted(tmp_path: Path) -> None:
    assert not judged(tmp_path, "good").refusals
    assert not judged(tmp_path, "good", baseline="good").refusals


def test_every_refusal_of_a_failing_run_names_its_line_and_what_to_do(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "failing")
    text = said(verdict)
    assert len(verdict.refusals) == 5
    stream = tmp_path / "failing" / "results.jsonl"
    at = line_of(tmp_path, "failing", '"FAIL"', MIRROR, LNL)
    assert f"{stream}:{at}: FAIL {LNL} {MIRROR}: expected EINVAL, the call returned 0" in text
    assert 'fix it, or waive it with signature = "expected EINVAL, the call returned #"' in text
    assert "behaviour: bind.cam.requires-fault-mode" in text
    assert f"again: pytest --platform bmg --seed 20831 '{STORE}'" in text
    assert "vacuous: mock/bmg suites/bind/test_cam.py::test_a_mirror_of_any_size_is_taken[4K]" in text
    assert "no waiver excuses a test that does not act" in text
    assert "unexpected pass: mock/lnl suites/bind/test_cam.py::test_a_mirror_of_any_size_is_taken[2M]" in text
    lines = stream.read_text().splitlines()
    for refusal in verdict.refusals:
        event = json.loads(lines[refusal.line - 1])
        assert f"{event['env']} {event['test']}" in refusal.what


def test_a_crash_is_refused(tmp_path: Path) -> None:
    (refusal,) = judged(tmp_path, "crashed").refusals
    assert refusal.what == f"ERROR {BMG} {STORE}: the process that ran it died"


def test_a_run_that_was_interrupted_is_refused(tmp_path: Path) -> None:
    text = said(judged(tmp_path, "interrupted"))
    assert "the run ended with exit status 2: it was interrupted" in text
    assert f"{BMG}: 2 tests did not run, the first is {STORE}" in text
    assert f"pytest --resume={tmp_path / 'interrupted'}" in text


def test_a_run_that_was_killed_is_refused(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "killed")
    text = said(verdict)
    assert "stops in the middle: the run was cut off" in text
    assert "no end event: the run did not finish" in text
    assert f"{BMG}: 4 of 5 tests have a result" in text
    assert f"ERROR {BMG} {COLLECT}: began and has no result: the run ended in it" in text
    lines = (tmp_path / "killed" / "results.jsonl").read_text().splitlines()
    assert f"results.jsonl:{len(lines)}: stops in the middle" in text


def test_an_empty_stream_is_refused(tmp_path: Path) -> None:
    verdict = judge(read(streams.write(tmp_path / "results.jsonl")), today=TODAY)
    assert [refusal.what for refusal in verdict.refusals] == ["the stream is empty: no test ran"]


def test_an_environment_that_did_not_start_is_refused(tmp_path: Path) -> None:
    events = [e for e in golden_runs.good() if not isinstance(e, dict) or e.get("env") != BMG]
    verdict = judge(read(streams.write(tmp_path / "results.jsonl", *events)), today=TODAY)
    assert [refusal.what for refusal in verdict.refusals] == [
        f"environment {BMG} was asked for and did not start"
    ]


def test_a_pass_without_the_act_it_declares_is_vacuous_whoever_says_otherwise(tmp_path: Path) -> None:
    lazy = streams.result(acts={}, declared=["store"])
    verdict = judge(
        read(streams.write(tmp_path / "r.jsonl", streams.run(), lazy, streams.end())), today=TODAY
    )
    assert "did not do what it declares (store)" in said(verdict)


def test_a_waiver_excuses_the_one_failure_and_says_so(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "waived", WAIVER)
    assert not verdict.refusals
    assert [r.outcome for r in verdict.run.results].count(Outcome.KNOWN) == 1
    assert "".join(command.text(verdict)).startswith(
        f"note: {tmp_path / 'waivers.toml'}:3 excuses 1 result of suites/fault/test_store.py::* until 2027-01-31"
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "0x# at offset 0x#, not 0x#",
            "nothing",
            'the waiver {file}:3 is for another failure, "the CPU sees nothing"',
        ),
        ("mock/b*", "mock/l*", "fix it, or waive it with"),
        ("7.2..7.3", "..7.2", "fix it, or waive it with"),
        ("2027-01-31", "2026-11-20", "its waiver {file}:3 expired on 2026-11-20 (Jane Doe"),
    ],
    ids=["signature", "environment", "kernels", "expired"],
)
def test_a_waiver_that_does_not_fit_excuses_nothing(tmp_path: Path, old: str, new: str, why: str) -> None:
    verdict = judged(tmp_path, "waived", WAIVER.replace(old, new))
    (refusal,) = (r for r in verdict.refusals if r.what.startswith("FAIL"))
    assert why.format(file=tmp_path / "waivers.toml") in refusal.todo


def test_the_last_day_of_a_waiver_is_its_last(tmp_path: Path) -> None:
    assert not judged(tmp_path, "waived", WAIVER.replace("2027-01-31", "2026-11-21")).refusals


def test_an_expired_waiver_is_refused_even_if_nothing_needs_it(tmp_path: Path) -> None:
    other = EXPIRED.replace("mock/b*", "guest/*")
    (refusal,) = judged(tmp_path, "good", other).refusals
    assert (refusal.path, refusal.line) == (tmp_path / "waivers.toml", 3)
    assert "expired on 2026-10-31" in refusal.what
    assert "Jane Doe" in refusal.todo


def test_a_waiver_whose_tests_pass_has_to_go(tmp_path: Path) -> None:
    (refusal,) = judged(tmp_path, "good", WAIVER).refusals
    assert (refusal.line, refusal.todo) == (3, "delete it")
    assert "excuses nothing" in refusal.what


def test_a_waiver_of_what_is_not_in_the_run_is_only_mentioned(tmp_path: Path) -> None:
    verdict = judged(tmp_path, "good", WAIVER.replace("mock/b*", "guest/*"))
    assert not verdict.refusals
    assert "is in this run, where it holds" in "\n".join(command.text(verdict))


def test_a_behaviour_may_be_waived_instead_of_a_test(tmp_path: Path) -> None:
    by_behaviour = WAIVER.replace('test = "suites/fault/test_store.py::*"', 'behaviour = "fault.write-*"')
    assert not judged(tmp_path, "waived", by_behaviour).refusals


def test_no_waiver_excuses_a_vacuous_test(tmp_path: Path) -> None:
    waiver = WAIVER.replace("suites/fault/test_store.py::*", "*").replace(
        '"the CPU sees 0x# at offset 0x#, not 0x#"', '"the CPU*"'
    )
    text = said(judged(tmp_path, "failing", waiver))
    assert "vacuous: mock/bmg" in text
    assert STORE not in text


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("[[waiver]\n", ":1: ", "not TOML"),
        ("# a\n\nx = \n", ":3: ", "not TOML"),
        ("owner = 'me'\n", ":1: ", "below a [[waiver]]"),
        ("[waiver]\ntest = 'x'\n", ":1: ", "below a [[waiver]]"),
        (
            WAIVER.replace("owner =", "owners ="),
            ":8: ",
            "owners is not a field of a waiver; there are: behaviour,",
        ),
        (WAIVER.replace('link = "https://gitlab.example.org/issues/7"\n', ""), ":3: ", "has no link"),
        (WAIVER.replace("2027-01-31", '"2027-01-31"'), ":11: ", "without quotes"),
        (WAIVER.replace("7.2..7.3", "next"), ":6: ", "'next' is not a kernel version"),
        (WAIVER.replace("7.2..7.3", ".."), ":6: ", "is not a range of kernels"),
        (WAIVER.replace('"mock/b*"', "7"), ":5: ", "environment has to be text"),
        (WAIVER + 'behaviour = "a.b"\n', ":3: ", "either a behaviour or a test"),
        ("", ":1: ", "no [[waiver]] in it: leave --waivers out"),
        ("# none\n", ":1: ", "no [[waiver]] in it: leave --waivers out"),
        ("a = " + "[" * 5000, ":1: ", "not TOML"),
        ("a = " + "1" * 5000, ":1: ", "not TOML"),
        ("\0", ":1: ", "not TOML"),
        ("# \u2028[[waiver]]\n" + WAIVER.replace("2027-01-31", "2027-02-31"), ":12: ", "not TOML"),
        ("# \u2028[[waiver]]\n" + WAIVER.replace("owner =", "owners ="), ":9: ", "owners is not a field"),
        (WAIVER.replace("7.2..7.3", "9" * 5000 + ".1"), ":6: ", "is not a kernel version"),
        *(
            (WAIVER.replace("the CPU sees 0x# at offset 0x#, not 0x#", signature), ":7: ", "has no word")
            for signature in ("*", "#", "assert # == #", "assert not 0x#", "assert True is False")
        ),
    ],
)
def test_a_file_of_waivers_that_is_wrong_says_in_which_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, where: str, why: str
) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(text)
    with pytest.raises(WaiverError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}{where}")
    assert why in str(error.value)
    assert called(command.main, str(golden_runs.write("good", tmp_path)), "--waivers", str(path)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_required_capability_that_made_a_test_skip_is_refused(tmp_path: Path) -> None:
    (refusal,) = judged(tmp_path, "good", require="vram").refusals
    assert refusal.what == f"{LNL}: 1 test skipped for lack of vram: config flag 0x1 is clear"
    assert refusal.line == line_of(tmp_path, "good", '"NOT-CLAIMED"')


@pytest.mark.parametrize(
    ("require", "why"),
    [
        ("vram@mock/b*", None),
        ("atomic debugfs", None),
        ("two-devices@mock/bmg", "mock/bmg has no two-devices: the environment lacks it"),
        ("vran", "does not say whether it has vran"),
        ("vram@guest/*", "no environment is called guest/*"),
        ("vram@mock/bmgg", "correct --require (did you mean mock/bmg?)"),
    ],
)
def test_capabilities_are_required_of_environments(tmp_path: Path, require: str, why: str | None) -> None:
    text = said(judged(tmp_path, "good", require=require))
    assert (why is None) == (not text)
    assert (why or "") in text


def test_an_environment_that_the_baseline_has_must_be_there(tmp_path: Path) -> None:
    events = [e for e in golden_runs.good()[1:] if isinstance(e, dict) and e.get("env") != LNL]
    run = read(streams.write(tmp_path / "r.jsonl", streams.run(), *events))
    baseline = read(golden_runs.write("good", tmp_path))
    (refusal,) = judge(run, baseline=baseline, today=TODAY).refusals
    assert str(refusal).startswith(f"{baseline.path}:2: environment {LNL} of the baseline is missing")


def test_a_test_that_judged_in_the_baseline_must_judge(tmp_path: Path) -> None:
    skip = golden_runs.not_claimed(COLLECT, BMG)
    events = [*golden_runs.good()[:3], *golden_runs.passing((COLLECT, BMG)), skip, streams.end()]
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    (refusal,) = judge(run, baseline=read(golden_runs.write("good", tmp_path)), today=TODAY).refusals
    assert refusal.what.startswith(f"{BMG}: 1 test judged in the baseline, but not here: NOT-CLAIMED")
    assert refusal.details == (COLLECT,)


def test_the_command_ends_with_the_verdict_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "today", lambda: TODAY)
    path = tmp_path / "waivers.toml"
    path.write_text(WAIVER)
    runs = {name: str(golden_runs.write(name, tmp_path)) for name in golden_runs.RUNS}

    def last(*arguments: Any) -> tuple[int, str]:
        status = called(command.main, *arguments)
        return status, capsys.readouterr().out.splitlines()[-1]

    monkeypatch.setattr(command.Ledger, "load", golden_runs.ledger)
    assert last(runs["good"]) == (0, f"{runs['good']}: accepted (9 PASS, 1 NOT-CLAIMED)")
    status, line = last(
        runs["waived"], "--waivers", str(path), "--require", "vram@mock/bmg", "--baseline", runs["good"]
    )
    assert (status, line) == (0, f"{runs['waived']}: accepted (1 KNOWN, 8 PASS, 1 NOT-CLAIMED)")
    assert last(runs["failing"])[0] == 1
    assert "REFUSED for 5 reasons" in last(runs["failing"])[1]


DRIVER_IDS = ("bind.cam.requires-fault-mode", "fault.write-visible-to-cpu")


def test_driver_regression_is_no_failure_of_conformance(tmp_path: Path) -> None:
    run = read(golden_runs.write("failing", tmp_path))
    verdict = judge(run, today=TODAY, ledger=golden_runs.ledger(*DRIVER_IDS))
    assert {result.test for result in verdict.regressions} == {MIRROR, STORE}
    assert not any(test in said(verdict) for test in (MIRROR, STORE))
    assert "vacuous: " in said(verdict)
    assert "unexpected pass: " in said(verdict)
    both = judge(run, today=TODAY, ledger=golden_runs.ledger(*DRIVER_IDS), driver=True)
    assert not both.regressions
    assert said(both) == said(judge(run, today=TODAY))


def test_broken_test_of_the_driver_is_refused(tmp_path: Path) -> None:
    run = read(golden_runs.write("crashed", tmp_path))
    verdict = judge(run, today=TODAY, ledger=golden_runs.ledger(*DRIVER_IDS))
    assert not verdict.regressions
    assert f"ERROR {BMG} {STORE}" in said(verdict)


def test_command_lists_driver_regressions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "today", lambda: TODAY)
    monkeypatch.setattr(command.Ledger, "load", lambda: golden_runs.ledger(*DRIVER_IDS))  # type: ignore[attr-defined]
    path = golden_runs.write("waived", tmp_path)
    assert called(command.main, path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"driver: FAIL {STORE} (mock/bmg): {golden_runs.WRONG_DATA}" in lines
    assert f"passed / claimed / all: {BMG}: conformance 2 / 2 / 2, driver 1 / 2 / 2" in lines
    assert lines[-1].endswith(
        "accepted, 1 regression of the driver not judged (1 FAIL, 8 PASS, 1 NOT-CLAIMED)"
    )
    assert called(command.main, path, "--promise", "driver") == 1
    assert "REFUSED for 1 reason (" in capsys.readouterr().out.splitlines()[-1]
    assert called(command.main, path, "--promise", "promised") == 2


def test_parameters_that_fail_alike_are_one_refusal_with_all_their_lines(tmp_path: Path) -> None:
    failing = [
        streams.result(f"suites/gc/test_g.py::test_x[{size}]", "FAIL", message=f"sees {number:#x}")
        for number, size in enumerate(("4K", "64K", "2M"))
    ]
    run = read(
        streams.write(
            tmp_path / "r.jsonl", streams.run(), streams.environment(), *failing, streams.end(exit=1)
        )
    )
    (refusal,) = judge(run, today=TODAY).refusals
    assert refusal.what.startswith(f"FAIL {BMG} suites/gc/test_g.py::test_x [4K] [64K] [2M]: sees 0x0")
    assert (refusal.line, refusal.details[0]) == (3, "and in lines 4, 5")


def test_a_run_that_failed_for_no_reason_that_it_gives_is_refused(tmp_path: Path) -> None:
    run = read(streams.write(tmp_path / "r.jsonl", *golden_runs.good()[:-1], streams.end(exit=1)))
    (refusal,) = judge(run, today=TODAY).refusals
    assert refusal.what == "the run ended with exit status 1, and no result says why"


def test_a_waiver_that_excuses_something_may_pass_elsewhere(tmp_path: Path) -> None:
    assert not judged(tmp_path, "waived", WAIVER.replace("mock/b*", "mock/*")).refusals


@pytest.mark.parametrize(
    ("message", "todo"),
    [
        ("assert 3 == 4", "fix it: its message says too little for a waiver"),
        ("assert bo.size == 4096: 0 == 4096", 'waive it with signature = "assert bo.size == #: # == #"'),
    ],
)
def test_signature_names_what_was_compared(tmp_path: Path, message: str, todo: str) -> None:
    bad = streams.result(outcome="FAIL", message=message)
    events = [streams.run(), streams.environment(), bad, streams.end(exit=1)]
    (refusal,) = judge(read(streams.write(tmp_path / "r.jsonl", *events)), today=TODAY).refusals
    assert todo in refusal.todo


def test_what_was_not_seen_is_said_and_may_be_refused(tmp_path: Path) -> None:
    left = [(MIRROR, BMG), (STORE, BMG)]
    untested = golden_runs.result(
        COLLECT, BMG, "UNTESTED", reason={"code": "MACHINE:swap", "text": "no swap"}, acts={}
    )
    environments = golden_runs.environments()
    environments[1]["reductions"] = ["no fork-events: the kernel is too old"]
    events = [
        golden_runs.head(),
        *environments,
        *golden_runs.passing(*left, (COLLECT, BMG)),
        untested,
        streams.end(),
    ]
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    lines = [
        f"{BMG}: 2 of 4 behaviours did not run (bind 1, fault 1)",
        f"{BMG}: not exercised: 1 behaviour, MACHINE:swap: no swap",
        f"{BMG}: reduced: no fork-events: the kernel is too old",
    ]
    verdict = judge(run, today=TODAY, ledger=golden_runs.ledger())
    assert not verdict.refusals
    told = [line for line in command.text(verdict) if line.startswith("not seen: ")]
    assert told == [f"not seen: {line}" for line in lines]
    refused = judge(run, today=TODAY, ledger=golden_runs.ledger(), complete=True).refusals
    assert [refusal.what for refusal in refused] == lines
    assert {(refusal.path, refusal.line) for refusal in refused} == {(run.path, 3)}


def test_what_environments_have_in_common_is_said_once(tmp_path: Path) -> None:
    environments = golden_runs.environments()
    for environment in environments:
        environment["reductions"] = ["no fork-events: the kernel is too old"]
    environments[0]["reductions"].append("no swap")
    run = read(
        streams.write(tmp_path / "r.jsonl", *golden_runs.good()[:1], *environments, *golden_runs.good()[3:])
    )
    told = command.text(judge(run, today=TODAY, ledger=golden_runs.ledger()))
    assert [line for line in told if "reduced" in line] == [
        "not seen: all environments: reduced: no fork-events: the kernel is too old",
        f"not seen: {LNL}: reduced: no swap",
    ]


def test_whole_run_is_complete(tmp_path: Path) -> None:
    run = read(golden_runs.write("good", tmp_path))
    verdict = judge(run, today=TODAY, ledger=golden_runs.ledger(), complete=True)
    assert (verdict.refusals, verdict.unseen) == ((), ())
