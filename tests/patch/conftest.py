# SPDX-License-Identifier: MIT
"""A small git tree of a kernel, and a separate cache for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.git_tree import GitTree

MAKEFILE = "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n"
MADVISE = "drivers/gpu/drm/xe/xe_vm_madvise.c"
SOURCE = """\
static void madvise_pat_index(struct xe_vm *vm)
{
\tint pat = 1;
}

int xe_vm_madvise_ioctl(void)
{
\treturn 0;
}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVMCTS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def linux(tmp_path: Path) -> GitTree:
    """A kernel with one driver, whose first commit is tagged base."""
    tree = GitTree(tmp_path / "linux")
    tree.write("Makefile", MAKEFILE)
    tree.write(MADVISE, SOURCE)
    tree.write("mm/hmm.c", "int hmm;\n")
    tree.commit("Linux 7.3.4")
    tree.git("tag", "base")
    return tree


def changed(tree: GitTree, file: str, old: str, new: str) -> None:
    """Change a file of the work tree."""
    text = (tree.path / file).read_text()
    assert old in text
    tree.write(file, text.replace(old, new))
