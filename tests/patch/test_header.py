# SPDX-License-Identifier: MIT
"""Patches of xe_drm.h: breakage of programs, and additions without a behaviour."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guest.sources import GitTree as Source
from reports.ledger import Ledger
from reports.patch.changes import find
from reports.patch.header import HEADER, Answer, check
from tests.git_tree import GitTree
from tests.patch.conftest import changed

BEFORE = """\
#define DRM_XE_VM_BIND_FLAG_READONLY (1 << 0)
struct drm_xe_ext {
\t__u32 name;
\t__u32 pad;
};
"""

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


@pytest.fixture
def tree(linux: GitTree) -> GitTree:
    """A kernel with a small header, tagged base."""
    linux.write(HEADER, BEFORE)
    linux.commit("uapi")
    linux.git("tag", "-f", "base")
    return linux


def answer(tree: GitTree, folder: Path, old: str, new: str) -> Answer:
    changed(tree, HEADER, old, new)
    tree.commit("drm/xe/uapi: something")
    _, (change,) = find(tree.path, "base..HEAD", None, each=False)
    return check(Source.find(tree.path, "base").show(HEADER), change, folder, Ledger.load())


def test_new_flag_is_described_by_nothing(tree: GitTree, tmp_path: Path) -> None:
    flag = "#define DRM_XE_VM_BIND_FLAG_MIRROR_ALL (1 << 9)\n"
    said = answer(tree, tmp_path, "struct drm_xe_ext", f"{flag}struct drm_xe_ext")
    assert not said.breaks
    assert "no behaviour describes DRM_XE_VM_BIND_FLAG_MIRROR_ALL" in said.lines


def test_new_value_breaks_programs(tree: GitTree, tmp_path: Path) -> None:
    said = answer(tree, tmp_path, "(1 << 0)", "(1 << 1)")
    assert said.breaks
    assert any("DRM_XE_VM_BIND_FLAG_READONLY" in line for line in said.lines)
    assert not any(line.startswith("no behaviour") for line in said.lines)
