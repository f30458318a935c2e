# SPDX-License-Identifier: MIT
"""The formats for machines and for mails, of runs as they are left behind; each read by a reader that is not ours."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import junitparser
import lxml.etree
import pytest
from kcidb_io.schema.v05_03 import Version as Kcidb

from common.place import ROOT
from reports.commands import report as command
from reports.event import Outcome, Result
from reports.formats import allure
from reports.formats.digest import Digest, digest
from reports.formats.junit import junit
from reports.formats.kcidb import kcidb, path_of, submission
from reports.formats.ktap import ktap
from reports.formats.mail import WIDTH, mail
from reports.formats.markdown import markdown
from reports.formats.table import as_csv, as_json
from reports.ledger import Ledger
from reports.merge import Report, merge
from reports.page import page
from reports.stream import read
from reports.summary import summary
from reports.verdict import matrix
from reports.waivers import load
from tests.git_tree import GitTree
from tests.reports import golden_runs, streams
from tests.reports.conftest import called
from tests.reports.golden_runs import BMG, LNL, MIRROR, STORE, WAIVER
from tests.reports.test_page import HOSTILE

DRIVER_IDS = ("fault.write-visible-to-cpu",)
GOLDEN = Path(__file__).parent / "golden"
TODAY = datetime.date(2026, 11, 21)
LEDGER = Ledger.load()


def made(tmp_path: Path, name: str, baseline: str = "", waivers: str = "") -> Report:
    (tmp_path / "waivers.toml").write_text(waivers)
    base = read(golden_runs.write(baseline, tmp_path)) if baseline else None
    excused = load(tmp_path / "waivers.toml") if waivers else ()
    return merge([read(golden_runs.write(name, tmp_path))], base, excused, TODAY)


def hostile(tmp_path: Path) -> Report:
    texts: dict[str, Any] = dict.fromkeys(
        ("message", "longrepr", "transcript", "kernel_log", "replay"), HOSTILE
    )
    events = [
        streams.run(seed=HOSTILE, command=[HOSTILE], suite={HOSTILE: HOSTILE}),
        streams.environment(f"{HOSTILE}/x", kernel=HOSTILE, platform=HOSTILE),
        streams.result(
            f"suites/{HOSTILE}", "FAIL", f"{HOSTILE}/x", behaviours=[HOSTILE], area=HOSTILE, **texts
        ),
        streams.result(f"{HOSTILE} # SKIP \uffff", "KNOWN", f"{HOSTILE}/x", behaviours=[], **texts),
        streams.end(),
    ]
    return merge([read(streams.write(tmp_path / "hostile.jsonl", *events))])


# JUnit


def test_formats_tell_driver_regressions_apart(tmp_path: Path) -> None:
    report, ledger = made(tmp_path, "failing"), golden_runs.ledger("fault.write-visible-to-cpu")
    root = ET.fromstring(junit(report, ledger))
    types = {
        f"{c.get('classname')}": f.get("type") for c in root.iter("testcase") for f in c.findall("failure")
    }
    assert {kind for name, kind in types.items() if "suites.fault" in name} == {"driver FAIL"}
    assert {kind for name, kind in types.items() if "suites.fault" not in name} == {"FAIL", "XPASS"}
    tests = json.loads(kcidb(report, ledger))["tests"]
    assert {t["misc"]["conformance"] for t in tests if t["misc"]["node"] == STORE} == {False}
    assert {t["misc"]["conformance"] for t in tests if t["misc"]["node"] != STORE} == {True}


def test_formats_have_the_scores_of_conformance_and_of_the_driver(tmp_path: Path) -> None:
    report, ledger = made(tmp_path, "failing"), golden_runs.ledger("fault.write-visible-to-cpu")
    numbers = {
        "conformance": {"passed": 1, "claimed": 3, "all": 3},
        "driver": {"passed": 0, "claimed": 1, "all": 1},
    }
    (suite,) = (s for s in ET.fromstring(junit(report, ledger)).iter("testsuite") if s.get("name") == BMG)
    found = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert (found["conformance"], found["driver"]) == ("1 / 3 / 3", "0 / 1 / 1")
    (build,) = (b for b in json.loads(kcidb(report, ledger))["builds"] if b["comment"] == BMG)
    assert build["misc"]["behaviours"] == numbers
    (environment,) = (
        e for e in json.loads(as_json(matrix(report, ledger)))["environments"] if e["name"] == BMG
    )
    assert {name: environment[name] for name in numbers} == numbers
    said = digest(report, ledger)
    assert said.verdict == "5 failures, 1 of driver behaviour"
    assert "| 1 / 3 / 3 | 0 / 1 / 1 |" in markdown(said)
    *_, told = mail(said).partition("Driver behaviour: passed / claimed / all\n")
    assert re.search(rf"^  {BMG} +0 / 1 / 1$", told, re.MULTILINE)


def test_formats_of_tests_show_a_lost_capability(tmp_path: Path) -> None:
    """They show it even if no test needs the capability; otherwise that test shows it."""
    lost = {"vram": "vram is expected: no VRAM region", "atomic": "atomic is expected: the flag is clear"}
    reason = {"code": "EXPECTED:atomic", "text": lost["atomic"]}
    events = [
        streams.run(environments=[BMG]),
        streams.environment(BMG, missing=lost),
        streams.result(STORE, "ERROR", BMG, message=lost["atomic"], reason=reason),
        streams.end(exit=1),
    ]
    report = merge([read(streams.write(tmp_path / "lost.jsonl", *events))])
    root = ET.fromstring(junit(report, golden_runs.ledger()))
    cases = {c.get("name"): c for c in root.iter("testcase") if c.find("error") is not None}
    assert set(cases) == {STORE.partition("::")[2], "vram"}
    assert cases["vram"].get("classname") == f"{BMG}.environment"
    assert cases["vram"].find("error").get("message") == f"EXPECTED:vram: {lost['vram']}"  # type: ignore[union-attr]
    assert (root.get("tests"), root.get("errors")) == ("2", "2")
    lines = [line.strip() for line in ktap(report, LEDGER).splitlines()]
    assert f"not ok 1 environment::vram # ERROR {lost['vram']}" in lines
    tests = json.loads(kcidb(report, golden_runs.ledger()))["tests"]
    assert [(t["path"], t["status"]) for t in tests][1:] == [("svmcts.environment.vram", "ERROR")]
    allure.write(report, tmp_path / "allure", golden_runs.ledger())
    results = [json.loads(path.read_text()) for path in (tmp_path / "allure").glob("*-result.json")]
    assert {r["name"]: r["status"] for r in results}["vram"] == "broken"


def test_ktap_marks_driver_regressions(tmp_path: Path) -> None:
    report, ledger = made(tmp_path, "failing"), golden_runs.ledger(*DRIVER_IDS)
    lines = [line.strip() for line in ktap(report, ledger).splitlines()]
    marked = [lines[at + 1] for at, line in enumerate(lines) if line == "# driver"]
    assert marked == [f"# {identifier}" for identifier in DRIVER_IDS]
    assert "# driver" not in ktap(report, golden_runs.ledger())


def test_allure_marks_driver_regressions(tmp_path: Path) -> None:
    allure.write(made(tmp_path, "failing"), tmp_path / "allure", golden_runs.ledger(*DRIVER_IDS))
    results = [json.loads(path.read_text()) for path in (tmp_path / "allure").glob("*-result.json")]
    said = {
        r["name"]: r["statusDetails"]["message"].partition(":")[0] for r in results if r["status"] == "failed"
    }
    store = STORE.partition("::")[2]
    assert said.pop(store) == "driver FAIL"
    assert set(said.values()) == {"FAIL", "XPASS"}
    promises = {r["name"]: {one["value"] for one in r["labels"] if one["name"] == "promise"} for r in results}
    assert promises.pop(store) == {"driver"}
    assert set(map(tuple, promises.values())) == {("promised",)}
    category = json.loads((tmp_path / "allure" / "categories.json").read_text())[0]
    assert re.fullmatch(category["messageRegex"], f"driver FAIL: {golden_runs.WRONG_DATA}")


@pytest.mark.parametrize("form", [mail, markdown])
def test_texts_mark_driver_regressions(tmp_path: Path, form: Callable[[Digest], str]) -> None:
    report = made(tmp_path, "failing")
    text = form(digest(report, golden_runs.ledger(*DRIVER_IDS)))
    assert [line for line in text.splitlines() if "driver: " in line and golden_runs.WRONG_DATA in line]
    assert text.count("driver: ") == 1
    assert "driver: " not in form(digest(report, golden_runs.ledger()))


@pytest.mark.parametrize("apart", [{}, {"gc.async": "PASS"}], ids=["both", "apart"])
def test_failure_of_what_is_apart_is_a_driver_regression(tmp_path: Path, apart: dict[str, str]) -> None:
    """If only the driver behaviour of a test changed, every format says that, and names only this behaviour."""
    failed = streams.result(
        STORE, "FAIL", BMG, behaviours=["gc.async", *DRIVER_IDS], message="counted 3", apart=apart
    )
    events = streams.run(), streams.environment(BMG), failed, streams.end()
    report, ledger = (
        merge([read(streams.write(tmp_path / "r.jsonl", *events))]),
        golden_runs.ledger(*DRIVER_IDS),
    )
    (failure,) = ET.fromstring(junit(report, ledger)).iter("failure")
    (test,) = json.loads(kcidb(report, ledger))["tests"]
    allure.write(report, tmp_path / "allure", ledger)
    (path,) = (tmp_path / "allure").glob("*-result.json")
    marks = {
        failure.get("type") == "driver FAIL",
        not test["misc"]["conformance"],
        "# driver\n" in ktap(report, ledger),
        "driver: counted 3" in mail(digest(report, ledger)),
        json.loads(path.read_text())["statusDetails"]["message"] == "driver FAIL: counted 3",
        "driver" in summary(report.runs[0], matrix(report, ledger), []).partition("counted 3")[0],
        'title="driver behaviour: ' in unescape(page(report, matrix(report, ledger), ledger)),
    }
    assert marks == {bool(apart)}
    assert ("gc.async" in ktap(report, ledger)) != bool(apart)


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_junit_has_every_test_of_every_environment(tmp_path: Path, name: str) -> None:
    report = made(tmp_path, name)
    path = tmp_path / "junit.xml"
    path.write_text(junit(report, golden_runs.ledger()), encoding="utf-8")
    suites = list(junitparser.JUnitXml.fromfile(str(path)))
    assert [suite.name for suite in suites] == [LNL, BMG]
    assert sum(suite.tests for suite in suites) == len(report.results)
    bad = {Outcome.FAIL, Outcome.ERROR, Outcome.XPASS, Outcome.NOTRUN}
    expected = sum(result.outcome in bad for result in report.results)
    assert sum(suite.failures + suite.errors for suite in suites) == expected
    names = [(case.classname, case.name) for suite in suites for case in suite]
    assert len(set(names)) == len(names)
    assert (f"{BMG}.suites.bind.test_cam", MIRROR.partition("::")[2]) in names


def test_junit_says_in_a_failure_what_a_person_needs(tmp_path: Path) -> None:
    root = ET.fromstring(junit(made(tmp_path, "failing"), golden_runs.ledger()))
    (case,) = (
        c
        for c in root.iter("testcase")
        if c.get("name") == STORE.partition("::")[2] and c.find("failure") is not None
    )
    failure, output = case.find("failure"), case.find("system-out")
    assert failure is not None
    assert output is not None
    assert failure.get("message") == golden_runs.WRONG_DATA
    for part in (
        "fault.write-visible-to-cpu",
        "kernel log:\n<4>[   12.3] xe: <script>",
        "again:\npytest --platform bmg",
    ):
        assert part in (output.text or "")


@pytest.fixture(scope="module")
def jenkins_xunit() -> lxml.etree.XMLSchema:
    """The schema of Jenkins' xUnit plugin, which drops a file with anything else as a whole.

    junit-10.xsd is the copy in pytest's sources (testing/example_scripts of 9.2.0), unchanged.
    """
    return lxml.etree.XMLSchema(file=Path(__file__).with_name("junit-10.xsd"))


def check(schema: lxml.etree.XMLSchema, text: str) -> None:
    """Raises DocumentInvalid with the first part that is not allowed."""
    schema.assertValid(lxml.etree.fromstring(text.encode()))


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_junit_is_valid_for_jenkins_xunit(
    tmp_path: Path, jenkins_xunit: lxml.etree.XMLSchema, name: str
) -> None:
    check(jenkins_xunit, junit(made(tmp_path, name), golden_runs.ledger()))


def test_junit_of_hostile_texts_is_valid(tmp_path: Path, jenkins_xunit: lxml.etree.XMLSchema) -> None:
    check(jenkins_xunit, junit(hostile(tmp_path), golden_runs.ledger()))


def many_failures(tmp_path: Path, number: int, text: str) -> Report:
    texts = dict.fromkeys(("message", "longrepr", "transcript", "kernel_log", "replay"), text)
    failure = streams.result("suites/bind/test_cam.py::test_map[0]", "FAIL", **texts)
    run = read(streams.write(tmp_path / "results.jsonl", streams.run(), streams.environment(), failure))
    (result,) = run.results
    name = result.function
    results = tuple(replace(result, test=f"{name}[{index}]") for index in range(number))
    return merge([replace(run, results=results)])


@pytest.mark.parametrize("letter", ["<", "\u20ac"])
def test_junit_of_7000_failures_is_below_30_mb(tmp_path: Path, letter: str) -> None:
    """GitLab takes no larger file; each failure keeps its message and its share of the texts."""
    text = junit(many_failures(tmp_path, 7000, f"first line {letter * 3000} last line"), golden_runs.ledger())
    assert len(text.encode()) < 30_000_000
    cases = list(ET.fromstring(text).iter("testcase"))
    assert len(cases) == 7000
    assert all("first line" in case.find("failure").get("message", "") for case in cases)  # type: ignore[union-attr]


def test_junit_says_where_a_cut_text_is_whole(tmp_path: Path) -> None:
    long = "first line\n" + "x" * 1_000_000 + "\nlast line"
    (case,) = ET.fromstring(junit(many_failures(tmp_path, 1, long), golden_runs.ledger())).iter("testcase")
    for text in (case.findtext("failure"), case.findtext("system-out")):
        assert text is not None
        assert "first line" in text
        assert "last line" in text
        assert f"all of it is in line 3 of {tmp_path / 'results.jsonl'}" in text


def test_junit_leaves_short_texts_whole(tmp_path: Path) -> None:
    (case,) = ET.fromstring(junit(many_failures(tmp_path, 1, "x\n" * 1000), golden_runs.ledger())).iter(
        "testcase"
    )
    assert case.findtext("failure") == "x\n" * 1000


# KTAP


class Tap:
    """A strict reader of KTAP: every block with its version, plan and all results in order."""

    def __init__(self, text: str) -> None:
        self.lines = [line for line in text.splitlines() if not line.lstrip().startswith("# ")]
        self.counts: Counter[str] = Counter()
        self.top = self.block(0)
        assert not self.lines

    def block(self, depth: int) -> list[str]:
        indent = "  " * depth
        assert self.lines.pop(0) == f"{indent}KTAP version 1"
        match = re.fullmatch(rf"{indent}1\.\.(\d+)", self.lines.pop(0))
        assert match
        verdicts = []
        for number in range(1, int(match[1]) + 1):
            nested = self.lines[0] == f"{indent}  KTAP version 1"
            inner = self.block(depth + 1) if nested else []
            found = re.fullmatch(
                rf"{indent}(ok|not ok) {number} ([^#\n]+?)( # (SKIP|XFAIL|ERROR)( .*)?)?", self.lines.pop(0)
            )
            assert found, number
            if nested:
                assert (found[1] == "not ok") == ("not ok" in inner)
            else:
                self.counts[found[4] or found[1]] += 1
            verdicts.append(found[1])
        return verdicts


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_ktap_is_well_formed_and_counts_as_the_run_does(tmp_path: Path, name: str) -> None:
    report = made(tmp_path, name)
    outcomes = Counter(result.outcome for result in report.results)
    tap = Tap(ktap(report, LEDGER))
    assert tap.counts["SKIP"] == outcomes[Outcome.NOT_CLAIMED] + outcomes[Outcome.UNTESTED]
    assert tap.counts["ERROR"] == outcomes[Outcome.ERROR] + outcomes[Outcome.NOTRUN]
    assert tap.counts["not ok"] == outcomes[Outcome.FAIL] + outcomes[Outcome.XPASS]
    assert tap.counts["ok"] == outcomes[Outcome.PASS]


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_ktap_has_the_time_of_all_that_ran(tmp_path: Path, name: str) -> None:
    """The line before a result, of a block the sum; what did not run has none."""
    report = made(tmp_path, name)
    lines = [line.strip() for line in ktap(report, LEDGER).splitlines()]
    results = [at for at, line in enumerate(lines) if re.match(r"(not )?ok \d", line)]
    timed = {lines[at]: float(lines[before][8:-2]) for at in results if (before := time_before(lines, at))}
    untimed = [lines[at] for at in results if not time_before(lines, at)]
    did_not_run = {Outcome.NOT_CLAIMED, Outcome.NOTRUN}
    assert len(untimed) == sum(result.outcome in did_not_run for result in report.results)
    assert all(" # SKIP" in line or " # ERROR" in line for line in untimed)
    (sum_of_bmg,) = (time for line, time in timed.items() if line.split(" # ")[0].endswith(f" {BMG}"))
    assert sum_of_bmg == pytest.approx(sum(r.duration for r in report.results if r.env == BMG), abs=0.001)


def time_before(lines: list[str], at: int) -> int:
    """The diagnostic line with the time of the result in line ``at``; 0 if it has none."""
    before = at - 1
    while lines[before].startswith("# "):
        if lines[before].startswith("# time: "):
            return before
        before -= 1
    return 0


def test_ktap_takes_any_name(tmp_path: Path) -> None:
    assert Tap(ktap(hostile(tmp_path), LEDGER)).counts == {"not ok": 1, "XFAIL": 1}


KUNIT = Path(os.environ.get("KERNEL_SOURCE", "/nowhere")) / "tools/testing/kunit/kunit.py"


@pytest.mark.skipif(not KUNIT.exists(), reason="no kunit.py: set KERNEL_SOURCE to a kernel tree")
@pytest.mark.parametrize("name", [*golden_runs.RUNS, "hostile"])
def test_kunit_reads_it(tmp_path: Path, name: str) -> None:
    report = hostile(tmp_path) if name == "hostile" else made(tmp_path, name)
    done = subprocess.run(
        [sys.executable, KUNIT, "parse"],
        input=ktap(report, LEDGER),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"Ran {len(report.results)} tests" in done.stdout
    bad = {Outcome.FAIL, Outcome.ERROR, Outcome.XPASS, Outcome.NOTRUN}
    failed = sum(result.outcome in bad for result in report.results)
    assert (f"failed: {failed}" in done.stdout) == bool(failed)
    assert "[ERROR] Test" not in done.stdout


# kcidb


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_kcidb_is_valid_and_complete(tmp_path: Path, name: str) -> None:
    report = made(tmp_path, name, waivers=WAIVER)
    document = json.loads(kcidb(report, LEDGER))
    Kcidb.validate(document)
    assert len(document["tests"]) == len(report.results)
    assert len({test["id"] for test in document["tests"]}) == len(report.results)
    assert {test["build_id"] for test in document["tests"]} == {build["id"] for build in document["builds"]}
    assert kcidb(report, LEDGER) == kcidb(report, LEDGER)


def test_kcidb_takes_any_text(tmp_path: Path) -> None:
    Kcidb.validate(json.loads(kcidb(hostile(tmp_path), LEDGER)))


def test_kcidb_has_the_end_of_what_is_too_long_for_it(tmp_path: Path) -> None:
    long = streams.result(outcome="FAIL", longrepr="begin" + "x" * 20_000, transcript="the end")
    path = streams.write(tmp_path / "r.jsonl", streams.run(), long, streams.end())
    document = json.loads(kcidb(merge([read(path)]), LEDGER))
    Kcidb.validate(document)
    assert document["tests"][0]["log_excerpt"].endswith("the end")


def test_a_waiver_is_an_issue_and_what_it_excuses_an_incident(tmp_path: Path) -> None:
    document = json.loads(kcidb(made(tmp_path, "waived", waivers=WAIVER), LEDGER))
    (issue,), (incident,) = document["issues"], document["incidents"]
    (test,) = (test for test in document["tests"] if test["id"] == incident["test_id"])
    assert incident["issue_id"] == issue["id"]
    assert issue["report_url"] == "https://gitlab.example.org/issues/7"
    assert (test["status"], test["misc"]["outcome"]) == ("FAIL", "KNOWN")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("PASS", "PASS"), ("FAIL", "FAIL"), ("ERROR", "ERROR"), ("NOTRUN", "MISS"), ("UNTESTED", "SKIP")],
)
def test_kcidb_has_words_of_its_own(tmp_path: Path, outcome: str, status: str) -> None:
    path = streams.write(tmp_path / "r.jsonl", streams.run(), streams.result(outcome=outcome), streams.end())
    (test,) = json.loads(kcidb(merge([read(path)]), LEDGER))["tests"]
    assert test["status"] == status


def test_the_path_of_a_test() -> None:
    result = Result(BMG, "suites/bind/test_cam.py::TestX::test_a[4K-map@2/3]", Outcome.PASS)
    assert path_of(result) == "svmcts.bind.test_cam.TestX.test_a.4K-map_2_3"


# Texts for people


@pytest.mark.parametrize(
    ("name", "baseline", "waivers"),
    [
        ("good", "good", ""),
        ("failing", "good", ""),
        ("good", "failing", ""),
        ("killed", "good", ""),
        ("waived", "", WAIVER),
    ],
    ids=["same", "regressions", "fixes", "killed", "waived"],
)
@pytest.mark.parametrize("form", [markdown, mail])
def test_what_people_read(
    tmp_path: Path, request: pytest.FixtureRequest, form: Any, name: str, baseline: str, waivers: str
) -> None:
    text = form(digest(made(tmp_path, name, baseline, waivers), golden_runs.ledger()))
    golden = GOLDEN / f"{form.__name__}-{request.node.callspec.id.rpartition('-')[2]}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_nothing_in_a_mail_is_wrapped_that_is_to_be_copied(tmp_path: Path) -> None:
    lines = mail(digest(made(tmp_path, "failing", "good"), LEDGER)).splitlines()
    long = [line for line in lines if len(line) > WIDTH]
    assert all(line.startswith(("    $ pytest", "* suites/")) for line in long)


def test_markdown_obeys_no_text(tmp_path: Path) -> None:
    text = markdown(digest(hostile(tmp_path), LEDGER))
    outside = re.sub(r"(`+).*?\1", "", text)
    assert "<script>" not in outside
    assert "<img" not in outside.replace("\\<", "")


# Allure


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_allure_has_every_test_also_those_whose_process_died(tmp_path: Path, name: str) -> None:
    report = made(tmp_path, name, waivers=WAIVER)
    (tmp_path / "allure").mkdir()
    (tmp_path / "allure" / "old-result.json").touch()
    allure.write(report, tmp_path / "allure", LEDGER)
    results = [json.loads(path.read_text()) for path in (tmp_path / "allure").glob("*-result.json")]
    assert len(results) == len(report.results)
    statuses = Counter(result["status"] for result in results)
    broken = {Outcome.ERROR, Outcome.NOTRUN}
    assert statuses["broken"] == sum(r.outcome in broken for r in report.results)
    assert all(result["stop"] >= result["start"] > 1.7e12 for result in results)
    assert all(any(link["url"].startswith("https://git.kernel.org/") for link in r["links"]) for r in results)
    environment = (tmp_path / "allure" / "environment.properties").read_text()
    assert "mock.bmg.kernel = 7.3\n" in environment
    assert "mock.bmg.gpu0 = 8086:e20b\n" in environment


def test_allure_categories_tell_failures_apart(tmp_path: Path) -> None:
    allure.write(made(tmp_path, "failing"), tmp_path / "allure", LEDGER)
    categories = json.loads((tmp_path / "allure" / "categories.json").read_text())

    def category(message: str) -> str:
        return next(c["name"] for c in categories if re.fullmatch(c["messageRegex"], message))

    results = [json.loads(path.read_text()) for path in (tmp_path / "allure").glob("*-result.json")]
    found = {category(r["statusDetails"]["message"]) for r in results if "statusDetails" in r}
    assert found == {
        "wrong errno",
        "wrong data",
        "vacuous",
        "passed, though a failure was expected",
        "not claimed by the device",
    }
    assert category("ERROR: the process that ran it died") == "process died"
    assert category("FAIL: the kernel complained:\nBUG") == "kernel complained"
    assert category("ERROR: NameError: x") == "error of the suite"
    assert category("FAIL: it is not as it should be") == "other failures"


def test_allure_has_a_level_for_each_folder(tmp_path: Path) -> None:
    events = (
        streams.run(),
        streams.environment(),
        streams.result("suites/bind/test_cam.py::TestX::test_a[4K]"),
        streams.end(),
    )
    report = merge([read(streams.write(tmp_path / "r.jsonl", *events))])
    allure.write(report, tmp_path / "allure", LEDGER)
    (path,) = (tmp_path / "allure").glob("*-result.json")
    result = json.loads(path.read_text())
    assert result["titlePath"] == ["bind", "test_cam.py", "TestX"]


NODE = shutil.which("node")
ASK = """
const { default: config } = await import(process.argv[1]);
const labels = (host) => ({ labels: [{ name: "epic", value: "gc" }, { name: "host", value: host }] });
const of = (host) => Object.entries(config.environments).filter(([, e]) => e.matcher(labels(host))).map(([id]) => id);
const first = (text) => config.categories.find((c) => new RegExp(c.matchers.message).test(text))?.name;
const { hosts, messages } = JSON.parse(process.argv[2]);
console.log(JSON.stringify({ ...config, hosts: hosts.map(of), messages: messages.map(first) }));
"""


def asked(directory: Path, hosts: list[str], messages: list[str]) -> dict[str, Any]:
    """The configuration of Allure 3 as node has it: environments of hosts, categories of messages."""
    arguments = [str(directory / "allurerc.mjs"), json.dumps({"hosts": hosts, "messages": messages})]
    text = subprocess.run(
        [str(NODE), "--input-type=module", "-e", ASK, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    answer: dict[str, Any] = json.loads(text)
    return answer


@pytest.mark.skipif(not NODE, reason="Allure 3 needs node (Debian: nodejs)")
def test_allure_3_has_environments_and_categories(tmp_path: Path) -> None:
    allure.write(made(tmp_path, "failing"), tmp_path / "allure", LEDGER)
    results = [json.loads(path.read_text()) for path in (tmp_path / "allure").glob("*-result.json")]
    said = [r["statusDetails"]["message"] for r in results if "statusDetails" in r]
    categories = json.loads((tmp_path / "allure" / "categories.json").read_text())
    said += ["KNOWN: FAIL: the CPU sees 0x1"]
    found = asked(tmp_path / "allure", [LNL, BMG, "mock/b"], [*said, "PASS"])
    assert found["hosts"] == [["mock-lnl"], ["mock-bmg"], []]
    assert {name: e["name"] for name, e in found["environments"].items()} == {
        "mock-lnl": "mock lnl",
        "mock-bmg": "mock bmg",
    }
    assert found["environments"]["mock-bmg"]["variables"]["gpu0"] == "8086:e20b"
    # Allure 2 puts them where Allure 3 does.
    assert found["messages"] == [
        *(next(c["name"] for c in categories if re.fullmatch(c["messageRegex"], text)) for text in said),
        None,
    ]
    assert found["resultsDir"] == str(tmp_path / "allure")
    assert found["output"] == str(tmp_path / "allure-report")


@pytest.mark.skipif(not NODE, reason="Allure 3 needs node (Debian: nodejs)")
def test_allure_3_takes_any_name(tmp_path: Path) -> None:
    """It refuses two environments of one name, names of more than 64 characters, and a slash in them."""
    names = [HOSTILE, f"x/{'y' * 80}", f"x/{'y' * 80}z", "a/b", "a b", "a@b"]
    environments = [streams.environment(name, kernel=HOSTILE) for name in names]
    run = streams.run(environments=names)
    report = merge([read(streams.write(tmp_path / "r.jsonl", run, *environments, streams.end()))])
    allure.write(report, tmp_path / "allure", LEDGER)
    found = asked(tmp_path / "allure", list(report.environments), [])
    ids = list(found["environments"])
    assert found["hosts"] == [[identifier] for identifier in ids]
    assert len(ids) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", identifier) for identifier in ids)
    shown = [environment["name"] for environment in found["environments"].values()]
    assert len(set(shown)) == len(names)
    assert all(0 < len(name) <= 64 and name == name.strip() for name in shown)
    assert not [name for name in shown if re.search(r"[/\\\x00-\x1f\x7f-\x9f]", name)]


# The command


def test_the_command_writes_everything_of_any_number_of_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(golden_runs.write(name, tmp_path)) for name in ("good", "failing")]
    out = tmp_path / "out"
    assert (
        called(
            command.main,
            f"lab-a={paths[0]}",
            f"lab-b={paths[1]}",
            "-o",
            str(out),
            "--baseline",
            f"lab-a={paths[0]}",
        )
        == 0
    )
    written = {Path(line) for line in capsys.readouterr().out.splitlines()}
    assert {path.name for path in written} == {
        "index.html", "matrix.csv", "matrix.json", "junit.xml",
        "results.ktap", "kcidb.json", "summary.md", "mail.txt", "allure-results",
    }  # fmt: skip
    assert all(path.exists() for path in written)
    described = (ROOT / "docs/reports.md").read_text(encoding="utf-8")
    assert not [
        path.name for path in written if not re.search(rf"^\|.*`{path.name}/?`.* \|", described, re.MULTILINE)
    ]
    page = (out / "index.html").read_text()
    assert page.count('<article class="panel" id="@') == 4
    assert "lab-b:mock/bmg" in page


def test_the_command_says_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(command.main, str(tmp_path / "nowhere"), "-o", str(tmp_path)) == 2
    assert "no such file" in capsys.readouterr().err


def test_an_environment_of_several_runs_is_that_of_the_newest_and_has_a_history(tmp_path: Path) -> None:
    paths = [golden_runs.write(name, tmp_path) for name in ("failing", "good")]
    newer = paths[1].read_text().replace("2026-11-21T05:40:00", "2026-11-22T05:40:00", 1)
    paths[1].write_text(newer)
    report = merge([read(path) for path in reversed(paths)])
    assert [run.path for run in report.runs] == paths
    assert {run.path for run in report.run_of.values()} == {paths[1]}
    (result,) = (r for r in report.results if (r.test, r.env) == (STORE, BMG))
    assert report.pasts[result.env, result.test].outcomes == (Outcome.FAIL, Outcome.PASS)


def test_kcidb_has_origin_commit_and_tree_of_the_user(tmp_path: Path) -> None:
    report = merge([read(golden_runs.write("failing", tmp_path))])
    commit = "0123456789abcdef" * 2 + "01234567"
    document = json.loads(
        kcidb(report, golden_runs.ledger(), submission("lab_x", commit=commit, tree="drm-tip"))
    )
    objects = [o for kind in ("checkouts", "builds", "tests") for o in document[kind]]
    assert {o["origin"] for o in objects} == {"lab_x"}
    assert all(o["id"].startswith("lab_x:") for o in objects)
    assert {(o["git_commit_hash"], o["tree_name"]) for o in document["checkouts"]} == {(commit, "drm-tip")}
    named = json.loads(kcidb(report, golden_runs.ledger(), submission("lab_x", checkout="maestro:1")))
    assert named["checkouts"] == []
    assert {o["checkout_id"] for o in named["builds"]} == {"maestro:1"}
    built = json.loads(kcidb(report, golden_runs.ledger(), submission("lab_x", build="maestro:2")))
    assert built["checkouts"] == built["builds"] == []
    assert {o["build_id"] for o in built["tests"]} == {"maestro:2"}


def test_kcidb_has_the_commit_of_the_kernel_or_of_the_tree(tmp_path: Path) -> None:
    tree = GitTree(tmp_path / "linux")
    commits = [tree.commit("an older one"), tree.commit("HEAD")]
    kernels = {
        "guest/a": f"7.3.4-g{commits[0][:12]}",  # an older commit of the tree
        "guest/b": f"7.3.4-g{commits[0][:12]}-d01234567",  # the same, and changes that no commit has
        "guest/c": "7.3.4-gffffffffffff",  # of another tree
        "guest/d": "7.3.4",
        "mock/e": "7.3",
    }
    backends = {name: "mock" if name == "mock/e" else "driver" for name in kernels}
    environments = [
        streams.environment(name, kernel=kernel, backend=backends[name]) for name, kernel in kernels.items()
    ]
    events = streams.run(environments=list(kernels)), *environments, streams.end()
    report = merge([read(streams.write(tmp_path / "r.jsonl", *events))])
    document = json.loads(kcidb(report, LEDGER, submission(commit=str(tree.path))))
    Kcidb.validate(document)
    hashes = [checkout.get("git_commit_hash") for checkout in document["checkouts"]]
    assert hashes == [commits[0], None, None, commits[1], None]


def test_kcidb_has_no_more_of_a_pass_than_it_needs(tmp_path: Path) -> None:
    """A report of 20 environments has 60,000 of them."""
    report = made(tmp_path, "failing")
    tests = json.loads(kcidb(report, golden_runs.ledger()))["tests"]
    assert {"replay" in test["misc"] for test in tests if test["misc"]["outcome"] == "PASS"} == {False}
    assert {"replay" in test["misc"] for test in tests if test["misc"]["outcome"] != "PASS"} == {True}


@pytest.mark.parametrize(
    "option", ["--origin=Lab X", "--checkout=1", "--build=: 2", "--commit=main", "--commit=0123"]
)
def test_kcidb_takes_no_name_that_it_cannot_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    path = golden_runs.write("good", tmp_path)
    assert called(command.main, path, "-o", tmp_path / "out", option) == 2
    assert option.partition("=")[2] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_matrix_is_a_table_for_spreadsheets_and_programs(tmp_path: Path) -> None:
    verdicts = matrix(merge([read(golden_runs.write("failing", tmp_path))]), golden_runs.ledger())
    rows = list(csv.reader(io.StringIO(as_csv(verdicts), newline="")))
    assert rows[0] == ["area", "behaviour", "title", "kind", "promise", LNL, BMG]
    by_id = {row[1]: row[5:] for row in rows[1:]}
    assert by_id["bind.cam.requires-fault-mode"] == ["FAIL", "FAIL"]
    assert by_id["gc.async"] == ["NOT-CLAIMED", "PASS"]
    document = json.loads(as_json(verdicts))
    assert [environment["name"] for environment in document["environments"]] == [LNL, BMG]
    assert document["environments"][1]["conformance"] == {"passed": 1, "claimed": 4, "all": 4}
    assert {b["id"]: list(b["outcomes"].values()) for b in document["behaviours"]} == by_id


def test_a_spreadsheet_computes_nothing(tmp_path: Path) -> None:
    events = [streams.run(), streams.environment("=mock/bmg"), streams.result(env="=mock/bmg"), streams.end()]
    events[2]["behaviours"] = ['=HYPERLINK("x")']
    verdicts = matrix(merge([read(streams.write(tmp_path / "r.jsonl", *events))]), golden_runs.ledger())
    cells = [cell for row in csv.reader(io.StringIO(as_csv(verdicts), newline="")) for cell in row]
    assert "'=mock/bmg" in cells
    assert not [cell for cell in cells if cell.startswith("=")]
