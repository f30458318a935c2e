# SPDX-License-Identifier: MIT
"""Sources of the ledger exist in a kernel tree: KERNEL_SOURCE=/path/to/linux pytest tests/ledger/test_sources.py

A new kernel that renamed a function is found by this; without a tree the test is skipped.
"""

import os
import re
from pathlib import Path

import pytest

from reports.ledger import Ledger, Place
from reports.sentences import sentences

TREE = os.environ.get("KERNEL_SOURCE")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def missing(source: str, tree: Path) -> str | None:
    """What of a source is not in the tree, or None; seeds and stable patches are not in trees."""
    if source.startswith(("seed ", "stable ")):
        return None
    name, _, what = source.partition(":")
    path = tree / name
    if not path.is_file():
        return f"no file {name}"
    identifier = IDENTIFIER.match(what)
    if (
        identifier
        and "_" in identifier[0]
        and identifier[0] not in path.read_text(encoding="utf-8", errors="replace")
    ):
        return f"no {identifier[0]} in {name}"
    return None


# A stable update may move a sentence by some lines.
NEAR = 10


def unwritten(place: Place, tree: Path) -> str | None:
    """Why a document does not promise what it is cited for, or None; postings are not in trees."""
    if place.document is None:
        return None
    name, line = place.document
    try:
        text = (tree / name).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return f"no file {name}"
    begins = [s.line for s in sentences(name, text) if s.text.startswith(str(place.words))]
    if not begins:
        return f"no sentence in {name} begins with {place.words!r}"
    nearest = min(begins, key=lambda begin: abs(begin - line))
    return None if abs(nearest - line) <= NEAR else f"{place.at}: {place.words!r} is on line {nearest}"


@pytest.mark.skipif(TREE is None, reason="KERNEL_SOURCE names no kernel tree")
def test_every_promise_is_a_sentence_of_the_tree() -> None:
    assert TREE is not None
    wrong = [
        f"{behaviour.id}: {lack}"
        for behaviour in Ledger.load().values()
        for place in behaviour.promised_by
        if (lack := unwritten(place, Path(TREE)))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.skipif(TREE is None, reason="KERNEL_SOURCE names no kernel tree")
def test_every_cited_file_and_function_is_in_the_tree() -> None:
    assert TREE is not None
    wrong = [
        f"{behaviour.id}: {lack}"
        for behaviour in Ledger.load().values()
        for source in behaviour.sources
        if (lack := missing(source, Path(TREE)))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "hmm.c").write_text("int hmm_range_fault(void);\n")
    assert missing("mm/hmm.c:hmm_range_fault", tmp_path) is None
    assert missing("mm/hmm.c:DOC of it", tmp_path) is None
    assert missing("seed 002 patch 07", tmp_path) is None
    assert missing("mm/hmm.c:hmm_gone", tmp_path) == "no hmm_gone in mm/hmm.c"
    assert missing("mm/gone.c:hmm_gone", tmp_path) == "no file mm/gone.c"


def test_a_promise_that_is_not_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "mm").mkdir()
    (tmp_path / "mm" / "hmm.c").write_text(
        "/**\n * hmm() - does it\n *\n * It does. It does\n * it twice.\n */\nint hmm(void); /* plain words */\n"
        + "\n" * 20
        + "/** DOC: far\n */\n"
    )

    def why(line: int, words: str, name: str = "mm/hmm.c") -> str | None:
        return unwritten(Place(f"{name}:{line}", words), tmp_path)

    assert why(4, "It does it twice") is None
    assert why(14, "It does it") is None
    assert why(15, "It does it") == "mm/hmm.c:15: 'It does it' is on line 4"
    assert why(28, "DOC: far") is None
    assert why(7, "plain words") == "no sentence in mm/hmm.c begins with 'plain words'"
    assert why(4, "does it twice") == "no sentence in mm/hmm.c begins with 'does it twice'"
    assert why(1, "It", "mm/gone.c") == "no file mm/gone.c"
    assert unwritten(Place("seed 002 patch 06"), tmp_path) is None
