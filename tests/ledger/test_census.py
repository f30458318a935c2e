# SPDX-License-Identifier: MIT
"""Every sentence of the documents that may bind the kernel has behaviours, or a reason why there are none."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from reports import census
from reports.commands.census import main
from reports.ledger import Ledger
from tests.reports.conftest import called

TREE = os.environ.get("KERNEL_SOURCE")
LEDGER = Ledger.load()
TABLES = {document: census.load(document) for document in census.DOCUMENTS}


def problems(document: str, rows: list[census.Row], ledger: Ledger) -> list[str]:
    """Open or wrong lines of a table, one line each."""
    lines = []
    for row in rows:
        where = f"{document}:{row.line}: {row.words}"
        if bool(row.ids) == bool(row.why):
            lines.append(f"{where}: give it the behaviours that have it, or why none has, and not both")
        if row.why and row.why not in census.WHY:
            lines.append(f"{where}: {row.why} is not one of {', '.join(census.WHY)}")
        lines += [f"{where}: {i} is not in behaviours/" for i in row.ids if i not in ledger]
    for identifier, line, words in census.citations(document, ledger):
        found = [row for row in rows if census.has(row, line, words)]
        if not any(identifier in row.ids for row in found) and not _is_code(document, words):
            lines.append(f"{document}:{line}: {identifier} cites it: run svmcts census --record LINUX_TREE")
    return lines


def _is_code(document: str, words: str) -> bool:
    """Whether a line of code is cited: svmcts abi checks those."""
    return document.startswith("include/uapi/") and words.startswith(
        ("#define ", "struct drm_xe_vm_bind_op {")
    )


@pytest.mark.parametrize("document", census.DOCUMENTS)
def test_every_sentence_has_ids_or_a_reason(document: str) -> None:
    found = problems(document, TABLES[document], LEDGER)
    assert not found, "\n" + "\n".join(found)


def test_every_reason_is_used() -> None:
    used = {row.why for rows in TABLES.values() for row in rows}
    assert set(census.WHY) <= used


def seeds() -> dict[str, tuple[set[str], str]]:
    """The table of postings: place to the behaviours that have what it says, and why none has."""
    lines = (census.CENSUS / "seeds.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "place\tids\twhy"
    return {place: (set(ids.split()), why) for place, ids, why in (line.split("\t") for line in lines[1:])}


def test_every_message_of_the_seeds_has_ids_or_a_reason() -> None:
    table = seeds()
    numbers = {
        number for place in table for number in re.findall(r"^seed 002 (?:patch|review R)(\d\d)$", place)
    }
    assert numbers == {f"{number:02}" for number in range(1, 41)}
    assert {place[:8] for place in table} == {f"seed {number:03}" for number in range(5)}
    for place, (ids, why) in table.items():
        assert bool(ids) != bool(why), place
        assert ids <= LEDGER.keys(), place
        assert not why or why in census.WHY, place


def test_every_posting_that_is_cited_has_the_behaviour_in_its_line() -> None:
    table = seeds()
    for behaviour in LEDGER.values():
        for cited in (*behaviour.sources, *(place.at for place in behaviour.promised_by)):
            if cited.startswith("seed "):
                (place,) = (p for p in table if re.match(rf"{re.escape(p)}(?![\w/])", cited))
                assert behaviour.id in table[place][0], (
                    f"behaviours/census/seeds.tsv: {place} lacks {behaviour.id}"
                )


@pytest.mark.skipif(TREE is None, reason="KERNEL_SOURCE names no kernel tree")
@pytest.mark.parametrize("document", census.DOCUMENTS)
def test_the_tables_are_those_of_the_tree(document: str) -> None:
    assert TREE is not None
    difference = census.compare(TABLES[document], census.read(document, Path(TREE), LEDGER))
    assert not difference.new
    assert not difference.changed
    assert not difference.gone


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with two documents, and an empty folder of tables."""
    monkeypatch.setattr(census, "DOCUMENTS", ("mm/a.rst", "mm/b.c"))
    monkeypatch.setattr(census, "CENSUS", tmp_path / "census")
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm/a.rst").write_text("Title\n=====\n\nIt must do it. It does it.\nIt\nnever fails.\n")
    (tmp_path / "mm/b.c").write_text("/**\n * f() - f\n * @a: MBZ\n *\n * Returns: 0 or 1\n */\n/* must */\n")
    return tmp_path


def test_a_tree_is_recorded_and_compared(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(main, small, "--record") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("4 sentences: 4 new")
    assert called(main, small) == 0
    assert capsys.readouterr().out == "4 sentences: 0 new, 0 changed, 0 gone, 0 of the rest on another line\n"
    rows = census.load("mm/a.rst")
    assert [(row.line, row.words) for row in rows] == [(4, "It must do it."), (5, "It never fails.")]
    assert [(row.line, row.words) for row in census.load("mm/b.c")] == [
        (3, "@a: MBZ"),
        (5, "Returns: 0 or 1"),
    ]


def test_what_differs_is_named(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "mm/a.rst").write_text("It must do what was said of it here.\n\nIt shall stay. It must go.\n")
    called(main, small, "--record")
    rows = census.load("mm/a.rst")
    census.save("mm/a.rst", [census.Row(r.line, r.digest, r.words, ("gc.async",)) for r in rows])
    (small / "mm/a.rst").write_text("\nIt must do what was said of it there.\nIt shall stay. It may come.\n")
    capsys.readouterr()
    assert called(main, small) == 1
    assert capsys.readouterr().out.splitlines() == [
        "mm/a.rst:3: new: It may come. ...",
        "mm/a.rst:2: changed: It must do what was said of ... (gc.async)",
        "mm/a.rst: gone, was line 3: It must go. ... (gc.async)",
        "5 sentences: 1 new, 1 changed, 1 gone, 0 of the rest on another line",
    ]
    assert called(main, small, "--record") == 0
    kept = [(row.line, row.ids) for row in census.load("mm/a.rst")]
    assert kept == [(2, ("gc.async",)), (3, ("gc.async",)), (3, ())]
    (line,) = problems("mm/a.rst", census.load("mm/a.rst"), LEDGER)
    (small / "mm/a.rst").write_text(
        "It must do what was said of it there.\n\nIt has to. It may come. It shall stay.\n"
    )
    assert called(main, small, "--record") == 0
    capsys.readouterr()
    assert called(main, small) == 0, "sentences of one line keep their order"
    assert line.startswith("mm/a.rst:3: It may come.: give it the behaviours that have it")


def test_a_sentence_on_another_line_is_the_same(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called(main, small, "--record")
    (small / "mm/a.rst").write_text("\n\n" + (small / "mm/a.rst").read_text())
    capsys.readouterr()
    assert called(main, small) == 0
    assert capsys.readouterr().out == "4 sentences: 0 new, 0 changed, 0 gone, 2 of the rest on another line\n"


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("mm/a.rst", None, "mm/a.rst: No such file or directory: name the top of a kernel tree"),
        ("census/a.rst.tsv", None, "a.rst.tsv: missing: svmcts census --record writes it"),
        (
            "census/a.rst.tsv",
            "line\twords\n",
            "a.rst.tsv:1: the columns have to be line, digest, words, ids, why",
        ),
        (
            "census/a.rst.tsv",
            "line\tdigest\twords\tids\twhy\nx\t\t\t\t\n",
            "a.rst.tsv:2: has to be a line number",
        ),
    ],
)
def test_what_cannot_be_read_is_no_answer(
    small: Path, capsys: pytest.CaptureFixture[str], file: str, text: str | None, complaint: str
) -> None:
    called(main, small, "--record")
    if text is None:
        (small / file).unlink()
    else:
        (small / file).write_text(text)
    capsys.readouterr()
    assert called(main, small) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert complaint in said.err
    assert not said.out


def test_a_table_without_a_decision_is_named() -> None:
    def found(ids: tuple[str, ...], why: str) -> list[str]:
        return problems("mm/a.rst", [census.Row(1, "0", "It must", ids, why)], LEDGER)

    assert found(("gc.async",), "") == []
    assert found((), "inside") == []
    assert len(found((), "")) == 1
    assert len(found(("gc.async",), "inside")) == 1
    assert found((), "because")[0].endswith(f"because is not one of {', '.join(census.WHY)}")
    assert found(("gc.asinc",), "")[0].endswith("gc.asinc is not in behaviours/")
