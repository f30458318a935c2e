# SPDX-License-Identifier: MIT
"""The generator of faults: its edits, its exclusions, and equal draws for equal seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensitivity import catalogue
from sensitivity.generate import KINDS, Mutant, choose, functions, mutants, why_equivalent

FILE = "drivers/x.c"
SOURCE = """\
static const struct ops table = {
\t.run = run,
};

static int take(struct a *a, u64 start, u64 end)
{
\tu64 at = 0;
\tint err;

\t/* if (never) */
\tif (start >= end && !a->open)
\t\treturn -EINVAL;

\tvm_dbg("if (x)", start);
\tlock(a);
\terr = walk(a, start, end);
\tif (err)
\t\tgoto out;
\ta->at = start + 1;
\tif (err)
\t\tfree_it(a);
out:
\tunlock(a);
\treturn err;
}

int
give(struct a *a)
{
\treturn take(a, a->start,
\t\t    a->end);
}
"""


def made(kind: str, function: str = "take") -> list[Mutant]:
    return [one for one in mutants(FILE, SOURCE) if one.kind == kind and one.edit.function == function]


def test_functions_are_found() -> None:
    assert functions(SOURCE) == ["take", "give"]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("negate", ["if (!(start >= end && !a->open))", "if (!(err))", "if (!(err))"]),
        ("clause", ["if (start >= end)", "if (!a->open)"]),
        ("swap", ["walk(start, a, end)", "walk(a, end, start)"]),
        ("errno", ["return -EPERM"]),
        ("constant", ["a->at = start + 2", "if (start >", "u64 at = 1"]),
    ],
)
def test_each_kind_changes_what_it_is_for(kind: str, texts: list[str]) -> None:
    assert sorted(" ".join(one.edit.put.split()) for one in made(kind)) == sorted(texts)


def test_statements_are_dropped_but_not_those_that_only_log() -> None:
    dropped = [one.edit.find for one in made("drop")]
    assert "lock(a);" in dropped
    assert "a->at = start + 1;" in dropped
    assert "unlock(a);" in dropped
    assert not any("vm_dbg" in text or text.startswith("return") or "u64 at" in text for text in dropped)


def test_second_of_two_equal_texts_is_the_one_that_changes() -> None:
    second = made("negate")[2].edit
    assert (second.times, second.nth) == (2, 2)
    edited = second.apply(SOURCE)
    assert edited.index("if (!(err))") > edited.index("a->at")


def test_every_fault_changes_the_source_in_its_function_only() -> None:
    every = list(mutants(FILE, SOURCE))
    assert len({one.id for one in every}) == len(every)
    head = SOURCE[: SOURCE.index("static int take")]
    for one in every:
        edited = one.edit.apply(SOURCE)
        assert edited != SOURCE
        assert edited.startswith(head)
    assert made("swap", "give")[0].edit.apply(SOURCE).count("take(a->start, a,") == 1


def test_seed_draws_the_same_and_another_draws_others() -> None:
    first = [one.id for one in choose([(FILE, SOURCE)], 8, 1)]
    assert first == [one.id for one in choose([(FILE, SOURCE)], 8, 1)]
    assert len(first) == 8
    assert any(first != [one.id for one in choose([(FILE, SOURCE)], 8, seed)] for seed in range(2, 6))


def test_draw_is_even_and_takes_what_builds() -> None:
    assert {one.kind for one in choose([(FILE, SOURCE)], 6, 1)} == set(KINDS)
    assert not any(
        one.kind == "swap" for one in choose([(FILE, SOURCE)], 9, 1, lambda one: one.kind != "swap")
    )


def test_equivalent_text_has_a_reason() -> None:
    assert why_equivalent('range_debug(range, "x");') == "it is logged, nothing else"
    assert why_equivalent("lock(a);") is None


def test_recorded_faults_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue.record(choose([(FILE, SOURCE)], 3, 1), tmp_path / "g.yaml")
    monkeypatch.setattr(catalogue, "CATALOGUE", tmp_path / "f.yaml")
    (tmp_path / "f.yaml").write_text("[]")
    read = catalogue.load(tmp_path / "f.yaml", tmp_path / "g.yaml")
    assert [(fault.id, fault.edits[0]) for fault in read] == [
        (one.id, one.edit) for one in choose([(FILE, SOURCE)], 3, 1)
    ]
    assert all(fault.edits[0].apply(SOURCE) != SOURCE for fault in read)
