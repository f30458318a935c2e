# SPDX-License-Identifier: MIT
"""Behaviours, and tests, that a fault is tried with."""

from __future__ import annotations

import pytest

from reports import affected
from reports.affected import BY_EXECUTION, BY_FILE, BY_SYMBOL
from reports.ledger import Ledger
from sensitivity import breaks
from sensitivity.breaks import LISTED, Breaks, files_of
from sensitivity.catalogue import Fault
from sensitivity.source import Edit
from tests.reports.conftest import entry

FILE = "drivers/gpu/drm/xe/xe_vm.c"
OTHER = "drivers/gpu/drm/xe/xe_pt.c"
SOURCES = {
    FILE: """\
int helper(int a)
{
\treturn a;
}

static int between(int a)
{
\treturn helper(a);
}

int xe_vm_bind_ioctl(int a)
{
\treturn between(a);
}
""",
    OTHER: """\
int far(int a)
{
\treturn xe_vm_bind_ioctl(a);
}
""",
}


@pytest.fixture
def of(monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> Breaks:
    """Breaks of a kernel of two files; a behaviour cites ``xe_vm_bind_ioctl``, as all in tests/reports do."""
    monkeypatch.setattr(breaks, "FILES", tuple(SOURCES))
    monkeypatch.setattr(affected, "executing", lambda changes: {})
    return Breaks(ledger, SOURCES.__getitem__)


@pytest.fixture
def ledger() -> Ledger:
    one = entry("bind.one")
    return Ledger([one, entry("bind.two")], Ledger.load().vocabulary, [])


def fault(function: str, *broken: str, file: str = FILE) -> Fault:
    return Fault("a", "t", (Edit(file, function, "a", "b"),), broken, "tests")


def test_function_that_behaviours_cite_is_theirs(of: Breaks) -> None:
    assert of.ranks(fault("xe_vm_bind_ioctl")) == {"bind.one": BY_SYMBOL, "bind.two": BY_SYMBOL}


def test_helper_counts_for_its_nearest_caller_that_is_cited(of: Breaks) -> None:
    assert of.ranks(fault("helper")) == {"bind.one": BY_SYMBOL, "bind.two": BY_SYMBOL}


def test_function_that_nothing_cited_calls_has_none(of: Breaks) -> None:
    assert of.ranks(fault("far", file=OTHER)) == {}


def test_listed_behaviours_come_before_those_of_the_file(of: Breaks) -> None:
    assert of.ranks(fault("helper", "bind.two")) == {"bind.one": BY_FILE, "bind.two": LISTED}


def test_tests_that_execute_the_function_come_between(of: Breaks, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = {f"{FILE}:helper": ["suites/a/test_a.py::test_one"]}
    monkeypatch.setattr(affected, "executing", lambda changes: tests)
    ranks = of.ranks(fault("helper", "bind.two"))
    assert ranks["suites/a/test_a.py::test_one"] == BY_EXECUTION
    assert sorted(ranks, key=ranks.__getitem__) == ["bind.two", "suites/a/test_a.py::test_one", "bind.one"]


def test_files_are_those_of_the_nearest_tests() -> None:
    tests = {
        "a.one": ["suites/a/test_a.py::test_one", "suites/negative/test_a.py:72"],
        "a.two": ["suites/b.py::t"],
    }
    ranks = {"a.two": BY_FILE, "suites/c.py::test_c": BY_EXECUTION, "a.one": LISTED, "a.untested": BY_SYMBOL}
    assert files_of(ranks, tests, 10) == [
        "suites/a/test_a.py",
        "suites/b.py",
        "suites/c.py",
        "suites/negative/test_a.py",
    ]
    assert files_of(ranks, tests, 3) == ["suites/a/test_a.py", "suites/c.py", "suites/negative/test_a.py"]
