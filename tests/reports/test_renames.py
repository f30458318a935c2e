# SPDX-License-Identifier: MIT
"""Node ids of the past: the table is right, and what was written with old names is read with the new ones."""

from __future__ import annotations

import ast
import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports import renames
from reports.compare import compare
from reports.event import Outcome, Result
from reports.stream import read
from reports.waivers import apply, load
from tests.reports import streams

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "suites/race/test_vm.py::test_the_old", "suites/locking_race/test_vm.py::test_new"
TABLE = (
    f"{OLD}\t{NEW}\nsuites/a.py::test_gone\t{NEW}[4K]\nsuites/a.py::test_f[False]\tsuites/a.py::test_f[no]\n"
)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A table of three rows instead of the project's."""
    path = tmp_path / "renames.tsv"
    path.write_text(TABLE, encoding="utf-8")
    monkeypatch.setattr(renames, "TABLE", path)
    forget()
    yield
    forget()


def forget() -> None:
    renames._current.cache_clear()
    renames._former.cache_clear()


def functions() -> set[str]:
    """Node ids of all functions in suites/, without parameters."""
    return {
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in (ROOT / "suites").rglob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_each_new_name_is_a_test_and_no_old_one_is() -> None:
    rows = renames.parse(renames.TABLE.read_text(encoding="utf-8"), "renames.tsv")
    tests = functions()
    assert len(rows) > 500
    assert not {new for new in rows.values() if new.partition("[")[0] not in tests}
    assert not {old for old in rows if old in tests}
    assert not rows.keys() & set(rows.values()), "give the old name the newest one at once"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b\n", "t.tsv:1: write the old node id, a tab, and the new one"),
        ("a\tb\tc\n", "t.tsv:1: write the old node id, a tab, and the new one"),
        ("a\tb\n\tc\n", "t.tsv:2: write the old node id, a tab, and the new one"),
        ("a\tb\na\tc\n", "t.tsv:2: a has a new name already: remove one of the lines"),
    ],
)
def test_bad_row_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        renames.parse(text, "t.tsv")


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("test", "now"),
    [
        (OLD, NEW),
        (f"{OLD}[4K-a[b]]", f"{NEW}[4K-a[b]]"),
        (f"{OLD}er", f"{OLD}er"),
        ("suites/a.py::test_gone", f"{NEW}[4K]"),
        ("suites/a.py::test_f[False]", "suites/a.py::test_f[no]"),
        ("suites/a.py::test_f[True]", "suites/a.py::test_f[True]"),
        (NEW, NEW),
        ("", ""),
    ],
)
def test_current_name_keeps_parameters(test: str, now: str) -> None:
    assert renames.current(test) == now


@pytest.mark.usefixtures("table")
def test_names_are_the_present_one_and_the_former_ones() -> None:
    assert renames.names(NEW) == (NEW, OLD)
    assert renames.names(f"{NEW}[4K]") == (f"{NEW}[4K]", "suites/a.py::test_gone", f"{OLD}[4K]")
    assert renames.names(f"{NEW}[2M]") == (f"{NEW}[2M]", f"{OLD}[2M]")
    assert renames.names("suites/a.py::test_f[no]") == (
        "suites/a.py::test_f[no]",
        "suites/a.py::test_f[False]",
    )
    assert renames.names("suites/b.py::test_x") == ("suites/b.py::test_x",)


@pytest.mark.usefixtures("table")
def test_old_stream_is_read_with_new_names(tmp_path: Path) -> None:
    start = {"event": "start", "env": "mock/bmg", "test": f"{OLD}[2M]", "time": 1}
    replay = f"pytest --platform bmg --seed 1 '{OLD}[4K]'"
    old = streams.result(f"{OLD}[4K]", "FAIL", message="no", replay=replay)
    run = read(streams.write(tmp_path / "old.jsonl", streams.run(), start, old))
    assert [(r.test, r.outcome) for r in run.results] == [
        (f"{NEW}[4K]", Outcome.FAIL),
        (f"{NEW}[2M]", Outcome.ERROR),
    ]
    assert run.results[0].replay == replay.replace(OLD, NEW)
    now = streams.result(f"{NEW}[4K]", "FAIL", message="no")
    new = read(streams.write(tmp_path / "new.jsonl", streams.run(), now, streams.end()))
    comparison = compare(dataclasses.replace(run, results=run.results[:1]), new)
    assert not comparison.changes
    assert not comparison.renamed


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("subject", [OLD, f"{OLD}*", "suites/race/*", NEW, f"{NEW}[4K]"])
def test_waiver_may_have_the_old_name(tmp_path: Path, subject: str) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(
        f'[[waiver]]\ntest = "{subject}"\nsignature = "no"\nowner = "o"\nlink = "l"\nreason = "r"\n'
        "expires = 2027-01-31\n",
        encoding="utf-8",
    )
    results = [Result("mock/bmg", test, Outcome.FAIL, message="no") for test in (NEW, f"{NEW}[4K]")]
    run = read(streams.write(tmp_path / "r.jsonl", streams.run(), streams.environment()))
    waived = apply(load(path), results, dict(run.environments), datetime.date(2026, 12, 1))
    known = {result.test for result in waived.results if result.outcome is Outcome.KNOWN}
    both = {NEW, f"{NEW}[4K]"}
    assert known == {
        OLD: {NEW},
        NEW: {NEW},
        f"{NEW}[4K]": {f"{NEW}[4K]"},
    }.get(subject, both)
