# SPDX-License-Identifier: MIT
"""docs/findings.md and the @known marks say the same: each mark has an entry, each entry its tests or a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.findings import SHOWN, entries, named_in
from reports.spec.tests import constants
from reports.waivers import speaks

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/findings.md").read_text(encoding="utf-8")
NO_MARK = "No `@known`: "


def marks() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, heading, call) of each @known in suites/."""
    for path in sorted((ROOT / "suites").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "known":
                (finding,) = node.args
                heading = str(
                    named[finding.id] if isinstance(finding, ast.Name) else ast.literal_eval(finding)
                )
                yield str(path.relative_to(ROOT)), heading, node


MARKS = list(marks())
ENTRIES = entries(TEXT)


def test_there_are_some() -> None:
    assert len(MARKS) >= 15
    assert len(ENTRIES) >= 15


@pytest.mark.parametrize(
    ("file", "heading", "call"), MARKS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_mark_has_an_entry_and_a_signature(file: str, heading: str, call: ast.Call) -> None:
    assert heading in ENTRIES, f"{file}:{call.lineno}: docs/findings.md has no such entry"
    assert file in {named for named, _ in named_in(ENTRIES[heading])}, f"the entry does not name {file}"
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert speaks(given["signature"])


@pytest.mark.parametrize("heading", ENTRIES)
def test_entry_has_its_tests_or_says_why_not(heading: str) -> None:
    entry = ENTRIES[heading]
    named = named_in(entry)
    for file, function in named:
        assert (ROOT / file).is_file(), file
        assert f"def {function}" in (ROOT / file).read_text(), function
    marked = {file for file, marked_heading, _ in MARKS if marked_heading == heading}
    if NO_MARK in entry:
        assert not marked
    else:
        assert marked == {file for file, _ in named}
        assert marked


def test_a_difference_is_seen() -> None:
    text = (
        f"{SHOWN}\n### A\n\n- Test: `suites/bind/test_a.py::\n  test_b` and `::test_c`\n\n"
        "### B\n\n- x\n\n## Other\n\n### C\n"
    )
    assert list(entries(text)) == ["A", "B"]
    assert named_in(entries(text)["A"]) == [
        ("suites/bind/test_a.py", "test_b"),
        ("suites/bind/test_a.py", "test_c"),
    ]
