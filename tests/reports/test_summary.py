# SPDX-License-Identifier: MIT
"""The summary in the terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from reports import seeded
from reports.ledger import Ledger
from reports.stream import read
from reports.summary import MAX_FAILURES, WIDTH, brief, summary
from reports.verdict import matrix
from tests.reports import sample, streams
from tests.reports.conftest import entry

GOLDEN = Path(__file__).parent / "golden"


def text(tmp_path: Path, ledger: Ledger, *events: dict[str, Any] | str) -> str:
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    return summary(run, matrix(run, ledger), [Path("reports/out/index.html")])


def mixed() -> list[dict[str, Any] | str]:
    """Every outcome, two environments, a reason that two environments share, a failure that both have."""
    vram = {"code": "NEEDS:vram", "text": "no VRAM region in MEM_REGIONS"}
    return [
        streams.run(),
        streams.environment("mock/lnl", reductions=["no userfaultfd: CPU faults are polled, run as root"]),
        streams.environment("mock/bmg"),
        streams.result("suites/bind/test_b.py::test_one", "PASS", "mock/lnl", behaviours=["bind.one"]),
        streams.result("suites/bind/test_b.py::test_one", "PASS", "mock/bmg", behaviours=["bind.one"]),
        *(
            streams.result(
                "suites/bind/test_b.py::test_two",
                "FAIL",
                env,
                behaviours=["bind.two"],
                message="expected EINVAL,\n got 0",
            )
            for env in ("mock/lnl", "mock/bmg")
        ),
        streams.result(
            "suites/fault/test_f.py::test_v",
            "NOT-CLAIMED",
            "mock/lnl",
            behaviours=["fault.vram"],
            reason=vram,
        ),
        streams.result(
            "suites/fault/test_f.py::test_w",
            "NOT-CLAIMED",
            "mock/lnl",
            behaviours=["fault.vram"],
            reason=vram,
        ),
        streams.result("suites/fault/test_f.py::test_v", "KNOWN", "mock/bmg", behaviours=["fault.vram"]),
        streams.result(
            "suites/fault/test_f.py::test_w",
            "UNTESTED",
            "mock/bmg",
            behaviours=["fault.vram"],
            reason={"code": "CANNOT:swap", "text": "the kernel did not swap in 5 s"},
        ),
        streams.result("suites/fault/test_f.py::test_x", "XPASS", "mock/bmg", behaviours=[]),
        streams.result(
            "suites/fault/test_f.py::test_y",
            "ERROR",
            "mock/bmg",
            behaviours=[],
            message="worker gw1 died (signal 11)",
        ),
        streams.end(exit=1),
    ]


def test_the_summary_of_every_outcome_is_as_recorded(tmp_path: Path, ledger: Ledger) -> None:
    assert text(tmp_path, ledger, *mixed()) == (GOLDEN / "mixed.txt").read_text(encoding="utf-8")


def test_the_summary_of_a_run_that_was_cut_off_is_as_recorded(tmp_path: Path, ledger: Ledger) -> None:
    cut = [
        streams.run(),
        streams.environment("mock/bmg"),
        streams.result(behaviours=["bind.one"]),
        {"event": "start", "env": "mock/bmg", "test": "suites/fault/test_f.py::test_v"},
        '{"event": "resu',
    ]
    assert text(tmp_path, ledger, *cut) == (GOLDEN / "cut.txt").read_text(encoding="utf-8")


def test_the_summary_of_an_empty_run_is_as_recorded(tmp_path: Path, ledger: Ledger) -> None:
    empty = text(tmp_path, ledger, streams.run(), streams.environment(), streams.end(exit=5))
    assert empty == (GOLDEN / "empty.txt").read_text(encoding="utf-8")


def test_lines_fit_the_terminal_for_many_environments(tmp_path: Path, ledger: Ledger) -> None:
    names = [f"guest-{version}/bmg2-far" for version in ("6.17", "6.18", "7.0", "7.1", "7.2", "7.3")]
    lines = text(tmp_path, ledger, streams.run(), *(streams.result(env=name) for name in names)).splitlines()
    replays = [line for line in lines if "pytest" in line]
    assert max(len(line) for line in lines if line not in replays) <= WIDTH
    for name in names:
        assert any(name in line for line in lines)


def test_a_flood_of_failures_is_cut_and_says_so(tmp_path: Path, ledger: Ledger) -> None:
    flood = [streams.result(f"suites/bind/test_b.py::test_{n}", "FAIL") for n in range(MAX_FAILURES + 7)]
    said = text(tmp_path, ledger, streams.run(), *flood, streams.end())
    assert said.count("  FAIL ") == MAX_FAILURES
    assert "and 7 more: see index.html" in said


def test_a_replay_command_is_one_line_however_long(tmp_path: Path, ledger: Ledger) -> None:
    test = "suites/bind/test_b.py::test_" + "x" * 200
    said = text(tmp_path, ledger, streams.run(), streams.result(test, "FAIL"), streams.end())
    assert f"    pytest --platform bmg --seed 20831 '{test}'\n" in said


def test_driver_regressions_are_no_conformance(tmp_path: Path, ledger: Ledger) -> None:
    both = Ledger([*ledger.values(), entry("bind.cut", promise="driver")], ledger.vocabulary, ledger.untested)
    cut = streams.result("suites/bind/test_c.py::test_cut", "FAIL", "mock/lnl", behaviours=["bind.cut"])
    lines = text(tmp_path, both, *mixed(), cut).splitlines()
    at = lines.index("driver behaviour: passed / claimed / all")
    assert lines[at + 1] == "  mock/lnl  0 / 1 / 1  (1 fail)"
    assert lines[at + 2] == "  mock/bmg  0 / 1 / 1  (1 not run)"
    without = text(tmp_path, ledger, *mixed()).splitlines()
    at = without.index("conformance: passed / claimed / all")
    assert without[at : at + 3] == lines[lines.index(without[at]) :][:3]
    assert not any("only this driver" in line for line in without)


SCREEN = 24
FOUR = ("mock/lnl", "mock/bmg", "mock/bmg2", "guest/7.3.4+deb13-amd64x2-far+xe+adversary-mild")


def green(*names: str) -> list[dict[str, Any] | str]:
    """A whole run without a failure: skips for many reasons, and environments that are reduced in many ways."""
    return [
        streams.run(),
        *(
            streams.environment(
                name,
                reductions=[f"no {what}: the mock cannot" for what in "abcdefghijkl"],
                unexpected={f"thing-{n}": f"has thing-{n}, which is not expected" for n in range(12)},
            )
            for name in names
        ),
        *(
            streams.result(
                f"suites/area{n % 30}/test_x.py::test_{n}",
                "NOT-CLAIMED" if n % 2 else "PASS",
                name,
                behaviours=["bind.one"],
                reason={"code": f"NEEDS:thing-{n}", "text": "there is none"} if n % 2 else None,
            )
            for n in range(60)
            for name in names
        ),
        streams.end(),
    ]


def short(tmp_path: Path, ledger: Ledger, *events: dict[str, Any] | str) -> str:
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    files = [
        Path("reports/out/runs/20261129-235437-133241608") / name for name in ("index.html", "junit.xml")
    ]
    return brief(run, matrix(run, ledger), files)


def test_green_run_of_three_mocks_and_a_guest_fits_a_screen(
    tmp_path: Path, ledger: Ledger, recorded: Path
) -> None:
    seeded.write([seeded.Row("a", "1 GPU", "found", "", 1, "7.3.4", "abc")])
    assert recorded.exists()
    lines = short(tmp_path, ledger, *green(*FOUR)).splitlines()
    # Lines of pytest around it: one for each environment, the rules above and below, the prompt.
    assert len(lines) + len(FOUR) + 3 <= SCREEN
    assert max(map(len, lines)) <= WIDTH
    (reduced,) = [line for line in lines if line.startswith("reduced: ")]
    assert all(f"{name} in 12 ways" in reduced for name in FOUR[:3])
    assert "skipped: 120 results for 30 reasons" in lines
    assert "sensitivity: 1 of 1 seeded faults found, recorded on 7.3.4" in lines
    assert "mock/lnl      30      -      -     30   1 / 4 / 5             -" in [
        line.rstrip() for line in lines
    ]


def test_short_summary_has_failures_and_what_is_missing(tmp_path: Path, ledger: Ledger) -> None:
    long, said = text(tmp_path, ledger, *mixed()), short(tmp_path, ledger, *mixed())
    failed = long[long.index("failures\n") : long.index("\n\n", long.index("failures\n"))]
    assert "FAIL " in failed
    assert failed in said
    lacking = streams.environment("mock/bmg", missing={"vram": "vram: 8 GiB are recorded"})
    said = short(tmp_path, ledger, streams.run(), lacking, streams.result(), streams.end(exit=1))
    assert "ERROR mock/bmg: vram: 8 GiB are recorded" in said
    said = short(tmp_path, ledger, streams.run(), streams.environment(), streams.result())
    assert "results stream" in said


def test_readme_shows_what_a_run_prints(tmp_path: Path) -> None:
    """Line by line, except for the numbers; and its numbers are those of one run."""
    reduced = {"reductions": ["no userfaultfd"] * 2}
    *events, end = streams.whole_ledger(3, failures=0)
    others = [
        streams.result("suites/bind/test_k.py::test_k", outcome, event["env"])
        for event in events
        if event["event"] == "environment"
        for outcome in ("KNOWN", "UNTESTED", "UNTESTED")
    ]
    events = [{**event, **reduced} if event["event"] == "environment" else event for event in events]
    run = read(streams.write(tmp_path / "r.jsonl", *events, *others, end))
    shown = sample.shown()
    assert words(shown) == words(sample.sample(run, Ledger.load()))
    rows = re.findall(r"mock/\w+ +(\d+) +- +(\d+) +(\d+) +\d+ / \d+ / (\d+) +\d+ / \d+ / (\d+)", shown)
    passed, known_, skipped = (sum(int(row[n]) for row in rows) for n in range(3))
    assert f" {passed} passed, {skipped} skipped, {known_} xfailed in " in shown
    assert f"skipped: {skipped} results" in shown
    assert len({(promised, driver) for *_, promised, driver in rows}) == 1


def words(text: str) -> list[list[str]]:
    """Words of each line; numbers, hashes and rules are alike."""
    return [
        re.sub(r"\([0-9a-f]+\)|\b[0-9a-f]{7}\b|[\d.-]*\d", "#", re.sub("=+", "=", line)).split()
        for line in text.splitlines()
    ]
