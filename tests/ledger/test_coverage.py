# SPDX-License-Identifier: MIT
"""Every behaviour has a test or a reason why there is none, and every test names existing behaviours."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

from reports.ledger import DIRECTORY, UNTESTED, Behaviour, Ledger, Untested, Vocabulary
from reports.marks import Mark, marks
from tests.ledger.prune import prune, text

ROOT = Path(__file__).resolve().parents[2]


def problems(ledger: Ledger, found: list[Mark]) -> list[str]:
    """Disagreements between the ledger and the marks, one line each with what to do."""
    lines = []
    tested = set()
    for mark in found:
        if mark.identifier is None:
            lines.append(
                f"{mark.where}: write the id as a literal, so that it can be checked without running the test"
            )
        elif mark.identifier not in ledger:
            lines.append(
                f"{mark.where}: {mark.identifier} is not in behaviours/: correct it, or add the entry"
            )
        elif ledger[mark.identifier].kind == "model-only":
            lines.append(
                f"{mark.where}: {mark.identifier} is model-only: no program can see it, so no test can"
            )
        else:
            tested.add(mark.identifier)
    for entry in ledger.untested:
        for pattern in entry.ids:
            covered = [b.id for b in ledger.matching(pattern) if b.kind != "model-only"]
            stale = [identifier for identifier in covered if identifier in tested]
            if not covered:
                lines.append(f"untested.yaml: {pattern} matches no behaviour: remove it")
            elif stale:
                lines.append(
                    f"untested.yaml: {pattern} is stale, there is a test of {', '.join(stale[:3])}: "
                    "run python -m tests.ledger.prune"
                )
    for behaviour in ledger.values():
        if (
            behaviour.kind != "model-only"
            and behaviour.id not in tested
            and not ledger.why_untested(behaviour.id)
        ):
            lines.append(f"{behaviour.id} has no test: write one, or say why in behaviours/untested.yaml")
    return lines


def test_every_behaviour_has_a_test_or_a_reason_and_no_reason_is_stale() -> None:
    found = problems(Ledger.load(), marks(ROOT / "suites"))
    assert not found, "\n" + "\n".join(found)


def test_each_reason_says_what_is_planned() -> None:
    for entry in Ledger.load().untested:
        assert entry.reason.strip(), entry
        assert entry.planned.strip(), entry


def small(*ids: str, untested: tuple[str, ...] = (), model: str = "") -> Ledger:
    def one(identifier: str, kind: str) -> Behaviour:
        reason = "inside" if kind == "model-only" else None
        return Behaviour(identifier, "t", "a", kind, "s", ("x",), "6.15", None, ("errno",), (), reason, None)

    entries = [one(identifier, "must") for identifier in ids] + ([one(model, "model-only")] if model else [])
    listed = [Untested(untested, "later", "never")] if untested else []
    return Ledger(entries, Vocabulary({"a": ""}, {}, {}, {}), listed)


@pytest.mark.parametrize(
    ("ledger", "named", "complaint"),
    [
        (small("a.x"), ["a.x"], None),
        (small("a.x", "a.y", untested=("a.y",)), ["a.x"], None),
        (small("a.x", model="a.m"), ["a.x"], None),
        (small("a.x"), [], "a.x has no test"),
        (small("a.x"), ["a.x", "a.z"], "a.z is not in behaviours/"),
        (small("a.x"), ["a.x", None], "as a literal"),
        (small("a.x", model="a.m"), ["a.x", "a.m"], "model-only"),
        (small("a.x", untested=("a.x",)), ["a.x"], "stale"),
        (small("a.x", "a.y", untested=("a.*",)), ["a.x"], "stale"),
        (small("a.x", untested=("b.*",)), ["a.x"], "matches no behaviour"),
    ],
)
def test_the_check_itself(ledger: Ledger, named: list[str | None], complaint: str | None) -> None:
    found = problems(ledger, [Mark(identifier, "suites/a/test_a.py:1") for identifier in named])
    if complaint is None:
        assert not found
    else:
        assert len(found) == 1
        assert fnmatch.fnmatch(found[0], f"*{complaint}*")


def test_pruning_leaves_nothing_stale_and_every_reason_of_the_rest() -> None:
    ledger = small("a.x", "a.y", "b.x", "b.y", "c.x", untested=("a.*", "b.*", "c.x"))
    (entry,) = pruned = prune(ledger, {"a.x", "c.x"})
    assert entry.ids == ("a.y", "b.*")
    assert text(pruned, "# c\n") == "# c\n- ids:\n    - a.y\n    - b.*\n  reason: later\n  planned: never\n"
    assert prune(ledger, {"a.x", "a.y", "b.x", "b.y", "c.x"}) == []


def test_pruning_leaves_the_lines_of_the_rest_as_they_are() -> None:
    """The file is written from scratch, so that a diff shows removed entries."""
    path = DIRECTORY / f"{UNTESTED}.yaml"
    written = path.read_text(encoding="utf-8")
    comment = "".join(line for line in written.splitlines(keepends=True) if line.startswith("#"))
    assert text(Ledger.load().untested, comment) == written


def test_marks_are_found_in_every_form(tmp_path: Path) -> None:
    suites = tmp_path / "suites"
    (suites / "a").mkdir(parents=True)
    (suites / "a" / "test_a.py").write_text(
        "import pytest\nfrom fixtures import behaviour\n"
        "pytestmark = pytest.mark.behaviour('a.1')\n"
        "@behaviour('a.2', 'a.3')\ndef test_x(): ...\n"
        "@pytest.mark.parametrize('c', [pytest.param(1, marks=behaviour('a.4'))])\ndef test_y(c): ...\n"
        "@behaviour(NAME)\ndef test_z(): ...\n"
    )
    found = {(mark.identifier, mark.where) for mark in marks(suites)}
    here = "suites/a/test_a.py:"
    assert found == {
        ("a.1", f"{here}3"),
        ("a.2", f"{here}4"),
        ("a.3", f"{here}4"),
        ("a.4", f"{here}6"),
        (None, f"{here}8"),
    }
