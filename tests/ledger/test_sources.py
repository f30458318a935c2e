# SPDX-License-Identifier: MIT
"""Sources of the ledger exist in a kernel tree: KERNEL_SOURCE=/path/to/linux pytest tests/ledger/test_sources.py

A new kernel that renamed a function is found by this; without a tree the test is skipped.
"""

import os
import re
from pathlib import Path

import pytest

from reports.ledger import Ledger

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
