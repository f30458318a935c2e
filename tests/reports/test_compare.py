# SPDX-License-Identifier: MIT
"""``svmcts compare``: every kind of change, between runs as they are left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.commands.compare import main
from reports.compare import Comparison, Kind, compare
from reports.event import Environment, Outcome, Result, normalised
from reports.ledger import Ledger
from reports.pairing import pair_environments, pair_tests
from reports.stream import read
from tests.reports import golden_runs, streams
from tests.reports.conftest import called
from tests.reports.golden_runs import BMG, LARGE, LNL, MIRROR, SMALL, STORE


def compared(tmp_path: Path, base: str, new: str) -> Comparison:
    return compare(read(golden_runs.write(base, tmp_path)), read(golden_runs.write(new, tmp_path)))


def kinds(comparison: Comparison) -> dict[tuple[str, str], Kind]:
    return {(c.result.test, c.result.env): c.kind for c in comparison.changes}


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_a_run_does_not_differ_from_itself(tmp_path: Path, name: str) -> None:
    comparison = compared(tmp_path, name, name)
    assert not comparison.changes
    assert not comparison.worse
    assert comparison.unchanged.total() == len(read(tmp_path / name).results)


def test_what_fails_now(tmp_path: Path) -> None:
    comparison = compared(tmp_path, "good", "failing")
    assert kinds(comparison) == dict.fromkeys(
        [(MIRROR, LNL), (MIRROR, BMG), (STORE, BMG), (SMALL, BMG), (LARGE, LNL)], Kind.FAILING
    )
    assert comparison.worse
    assert [len(group) for group in comparison.groups(Kind.FAILING)].count(2) == 1


def test_what_is_fixed(tmp_path: Path) -> None:
    comparison = compared(tmp_path, "failing", "good")
    assert set(kinds(comparison).values()) == {Kind.FIXED}
    assert len(comparison.changes) == 5
    assert not comparison.worse


@pytest.mark.parametrize("name", ["interrupted", "killed"])
def test_what_a_run_that_was_cut_off_did_not_reach_is_newly_untested(tmp_path: Path, name: str) -> None:
    comparison = compared(tmp_path, "good", name)
    assert comparison.worse
    assert kinds(comparison)[STORE, BMG] is Kind.UNTESTED


def test_a_crash_in_place_of_a_failure_has_another_reason(tmp_path: Path) -> None:
    comparison = compared(tmp_path, "waived", "crashed")
    assert kinds(comparison) == {(STORE, BMG): Kind.REASON}
    assert not comparison.worse


def run(tmp_path: Path, name: str, *events: dict[str, Any]) -> Path:
    return streams.write(
        tmp_path / f"{name}.jsonl", streams.run(), streams.environment(), *events, streams.end()
    )


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("PASS", "KNOWN", Kind.REASON),
        ("KNOWN", "PASS", Kind.FIXED),
        ("NOT-CLAIMED", "FAIL", Kind.FAILING),
        ("UNTESTED", "PASS", None),
        ("PASS", "UNTESTED", Kind.UNTESTED),
        ("FAIL", "NOT-CLAIMED", Kind.UNTESTED),
        ("NOT-CLAIMED", "UNTESTED", Kind.REASON),
        ("FAIL", "ERROR", Kind.REASON),
        ("XPASS", "KNOWN", Kind.REASON),
        ("KNOWN", "XPASS", Kind.FIXED),
        ("NOTRUN", "NOTRUN", None),
    ],
)
def test_every_step_between_outcomes(tmp_path: Path, before: str, after: str, kind: Kind | None) -> None:
    base = read(run(tmp_path, "base", streams.result(outcome=before)))
    new = read(run(tmp_path, "new", streams.result(outcome=after)))
    assert [change.kind for change in compare(base, new).changes] == ([kind] if kind else [])


def test_numbers_do_not_make_another_failure(tmp_path: Path) -> None:
    base = read(
        run(tmp_path, "base", streams.result(outcome="FAIL", message="the CPU sees 0x1f, not 0xaa after 3 s"))
    )
    same = read(
        run(
            tmp_path, "new", streams.result(outcome="FAIL", message="the CPU sees 0x2e, not 0xbb after 4.5 s")
        )
    )
    other = read(
        run(tmp_path, "other", streams.result(outcome="FAIL", message="expected EINVAL, got EFAULT"))
    )
    assert not compare(base, same).changes
    assert [change.kind for change in compare(base, other).changes] == [Kind.REASON]


@pytest.mark.parametrize(
    ("text", "signature"),
    [
        ("the CPU sees 0x5eed at 12", "the CPU sees 0x# at #"),
        ("renderD128: v2 of bo7", "renderD128: v2 of bo7"),
        ("[   12.345678] BUG at drm_gpusvm.c:1234!", "[ #] BUG at drm_gpusvm.c:#!"),
        ("drm_gpusvm_range_evict+0x1f/0x40 [xe]", "drm_gpusvm_range_evict+0x#/0x# [xe]"),
    ],
)
def test_signatures(text: str, signature: str) -> None:
    assert normalised(text) == signature


def test_a_flaky_test_is_no_new_failure(tmp_path: Path) -> None:
    paths = [
        run(tmp_path, str(n), streams.result(outcome=o))
        for n, o in enumerate(("PASS", "FAIL", "PASS", "FAIL"))
    ]
    *history, base, new = map(read, paths)
    assert [change.kind for change in compare(base, new).changes] == [Kind.FAILING]
    (change,) = compare(base, new, history).changes
    assert (change.kind, change.rate) == (Kind.FLAKY, "failed 2 of 4")


def test_a_test_that_passes_and_fails_in_one_run_is_flaky(tmp_path: Path) -> None:
    base = read(run(tmp_path, "base", streams.result()))
    new = read(run(tmp_path, "new", streams.result(), streams.result(outcome="FAIL")))
    assert [change.kind for change in compare(base, new).changes] == [Kind.FLAKY]


def result(test: str, *behaviours: str, outcome: Outcome = Outcome.PASS) -> Result:
    return Result("mock/bmg", test, outcome, behaviours=behaviours or ("bind.one",))


@pytest.mark.parametrize(
    ("base", "new"),
    [
        ("suites/a/test_a.py::test_x", "suites/b/test_b.py::test_x"),
        ("suites/a/test_a.py::test_x", "suites/a/test_a.py::test_y"),
        ("suites/a/test_a.py::test_x[4K]", "suites/a/test_a.py::test_y[4K]"),
        ("suites/a/test_a.py::test_x[4K]", "suites/a/test_a.py::TestY::test_x[4K]"),
    ],
    ids=["moved", "renamed", "renamed with parameters", "into a class"],
)
def test_a_renamed_test_is_the_same_test(base: str, new: str) -> None:
    assert pair_tests([result(base)], [result(new)]) == {base: new}


def test_two_candidates_are_none() -> None:
    new = [result("suites/a/test_a.py::test_y"), result("suites/a/test_a.py::test_z")]
    assert pair_tests([result("suites/a/test_a.py::test_x")], new) == {}


def test_parameters_tell_two_renamed_functions_apart() -> None:
    base = [result("t.py::test_x[4K]"), result("t.py::test_y[map]")]
    new = [result("t.py::test_p[map]"), result("t.py::test_q[4K]")]
    assert pair_tests(base, new) == {
        "t.py::test_x[4K]": "t.py::test_q[4K]",
        "t.py::test_y[map]": "t.py::test_p[map]",
    }


def test_a_failure_that_was_renamed_is_not_new(tmp_path: Path) -> None:
    base = read(
        run(tmp_path, "base", streams.result("suites/bind/test_a.py::test_old", "FAIL", message="no"))
    )
    new = read(run(tmp_path, "new", streams.result("suites/bind/test_b.py::test_new", "FAIL", message="no")))
    comparison = compare(base, new)
    assert not comparison.changes
    assert comparison.renamed == (("suites/bind/test_a.py::test_old", "suites/bind/test_b.py::test_new"),)


def test_a_test_that_is_gone_is_missed_only_if_nothing_else_proves_what_it_proved(tmp_path: Path) -> None:
    one = streams.result("suites/bind/test_a.py::test_1", behaviours=["bind.one"])
    two = streams.result("suites/bind/test_a.py::test_2", behaviours=["bind.one", "bind.two"])
    both = read(run(tmp_path, "base", one, two))
    assert not compare(both, read(run(tmp_path, "new", two))).changes
    (change,) = compare(both, read(run(tmp_path, "new", one))).changes
    assert (change.kind, change.result.test) == (Kind.UNTESTED, "suites/bind/test_a.py::test_2")


def guest(kernel: str, gpus: int = 1) -> Environment:
    fields = {"machine": "guest", "backend": "driver", "platform": "bmg", "kernel": kernel}
    return Environment(f"guest/{kernel}", fields, devices=({},) * gpus)


@pytest.mark.parametrize(
    ("base", "new", "pairs"),
    [
        ([guest("7.3.4")], [guest("7.3.5")], {"guest/7.3.4": "guest/7.3.5"}),
        ([guest("7.2.1")], [guest("7.3.5")], {"guest/7.2.1": "guest/7.3.5"}),
        (
            [guest("7.3.4"), guest("6.18.1")],
            [guest("6.18.2"), guest("7.3.5")],
            {"guest/7.3.4": "guest/7.3.5", "guest/6.18.1": "guest/6.18.2"},
        ),
        ([guest("7.3.4")], [guest("7.3.4"), guest("7.3.5")], {"guest/7.3.4": "guest/7.3.4"}),
        ([guest("7.3.4")], [guest("7.3.5", gpus=2)], {}),
        ([guest("7.2.1"), guest("7.3.4")], [guest("6.18.2"), guest("7.0.1")], {}),
    ],
)
def test_environments_are_paired_by_name_then_by_what_they_are(
    base: list[Environment], new: list[Environment], pairs: dict[str, str]
) -> None:
    assert pair_environments({e.name: e for e in base}, {e.name: e for e in new}) == pairs


def test_the_command_says_what_changed_and_its_status_is_for_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, failing = (str(golden_runs.write(name, tmp_path).parent) for name in ("good", "failing"))
    assert called(main, good, good) == 0
    assert "unchanged: 9 PASS, 1 NOT-CLAIMED" in capsys.readouterr().out
    assert called(main, good, failing) == 1
    said = capsys.readouterr().out
    assert "newly failing: 5" in said
    assert f"PASS -> FAIL  {MIRROR}  (mock/lnl, mock/bmg)" in said
    assert f"again: pytest --platform bmg --seed 20831 '{STORE}'" in said
    assert called(main, failing, good) == 0
    assert "fixed: 5" in capsys.readouterr().out


def test_change_of_what_nobody_promises_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = golden_runs.ledger("bind.cam.requires-fault-mode")
    monkeypatch.setattr(Ledger, "load", lambda: ledger)
    assert called(main, *(str(golden_runs.write(name, tmp_path)) for name in ("good", "failing"))) == 1
    lines = capsys.readouterr().out.splitlines()
    marked = [line for line in lines if line.endswith("  driver")]
    (scores,) = (line for line in lines if line.startswith("passed / claimed / all: mock/bmg:"))
    assert scores.endswith(" conformance 3 / 3 / 3 -> 1 / 3 / 3, driver 1 / 1 / 1 -> 0 / 1 / 1")
    assert marked == [f"  PASS -> FAIL  {MIRROR}  (mock/lnl, mock/bmg)  driver"]


def test_the_command_folds_what_is_untested_for_one_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(main, *(str(golden_runs.write(name, tmp_path)) for name in ("good", "interrupted"))) == 1
    assert "NOTRUN NOTRUN the run ended before this test (mock/bmg 2)" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["nowhere", "."])
def test_a_run_that_is_not_there_is_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    good = str(golden_runs.write("good", tmp_path))
    assert called(main, str(tmp_path / wrong), good) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("svmcts compare: ")
    assert "no such file: name a results.jsonl" in line


def test_what_failed_alike_with_several_parameters_is_one_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = [f"suites/gc/test_g.py::test_x[{size}]" for size in ("4K", "64K", "2M")]
    base = run(tmp_path, "base", *(streams.result(test) for test in tests))
    failing = [
        streams.result(test, "FAIL", message=f"the CPU sees {number:#x}")
        for number, test in enumerate(tests[:2])
    ]
    new = run(tmp_path, "new", *failing, streams.result(tests[2], "FAIL", message="something else"))
    assert called(main, str(base), str(new)) == 1
    said = capsys.readouterr().out
    assert "newly failing: 3" in said
    assert "PASS -> FAIL  suites/gc/test_g.py::test_x [4K] [64K]  (mock/bmg)" in said
    assert "PASS -> FAIL  suites/gc/test_g.py::test_x[2M]  (mock/bmg)" in said
