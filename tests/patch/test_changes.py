# SPDX-License-Identifier: MIT
"""Changes that svmcts try accepts: commits, the work tree, patches in a file; nothing is written into the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.answers import NoAnswerError
from guest import GuestError
from guest.sources import GitTree as Source
from reports.patch.changes import find
from tests.git_tree import GitTree
from tests.patch.conftest import MADVISE, changed


@pytest.fixture
def two(linux: GitTree) -> GitTree:
    """Two commits on top of base."""
    changed(linux, MADVISE, "int pat = 1", "int pat = 2")
    linux.commit("drm/xe: the second PAT index")
    changed(linux, MADVISE, "return 0", "return -22")
    linux.commit("drm/xe: refuse all advice")
    return linux


def series(tree: GitTree, path: Path) -> Path:
    """Both commits as mails, and the tree back at base."""
    path.write_text(tree.git("format-patch", "--stdout", "--cover-letter", "base..HEAD"))
    tree.git("checkout", "-q", "base")
    return path


def text_of(source: Source) -> str:
    return source.show(MADVISE)


def test_commits_are_one_change(two: GitTree) -> None:
    base, (change,) = find(two.path, "base..HEAD", None, each=False)
    assert "pat = 1" in text_of(base)
    assert change.title == "drm/xe: refuse all advice"
    assert "+\tint pat = 2;" in change.patch
    assert "+\treturn -22;" in change.patch


def test_merge_is_tried_as_a_whole(two: GitTree) -> None:
    """The last change is what HEAD is, also where that is a merge."""
    two.git("checkout", "-q", "-b", "side", "base")
    changed(two, "mm/hmm.c", "hmm", "hmmm")
    two.commit("mm: another name")
    two.git("merge", "-q", "--no-ff", "-m", "Merge drm", "main")
    _, changes = find(two.path, "base..HEAD", None, each=True)
    assert changes[-1].title == "Merge drm"
    assert "-22" in changes[-1].patch
    assert "hmmm" in changes[-1].patch


def test_head_may_be_left_out(two: GitTree) -> None:
    assert find(two.path, "base..", None, each=False) == find(two.path, "base..HEAD", None, each=False)


def test_each_commit_is_a_change(two: GitTree) -> None:
    _, changes = find(two.path, "base..HEAD", None, each=True)
    assert [change.title for change in changes] == [
        "drm/xe: the second PAT index",
        "drm/xe: refuse all advice",
    ]
    assert "-22" not in changes[0].patch
    assert "-22" in changes[1].patch


def test_work_tree_is_a_change_to_its_commit(linux: GitTree) -> None:
    changed(linux, MADVISE, "return 0", "return -22")
    base, (change,) = find(linux.path, None, None, each=False)
    assert "return 0" in text_of(base)
    assert "return -22" in text_of(change.source)
    assert "+\treturn -22;" in change.patch


def test_mails_are_changes_to_what_is_checked_out(two: GitTree, tmp_path: Path) -> None:
    """A cover letter has no patch; the tree stays as it is."""
    mails = series(two, tmp_path / "series.mbox")
    _, changes = find(two.path, None, mails, each=True)
    assert [change.title for change in changes] == [
        "drm/xe: the second PAT index",
        "drm/xe: refuse all advice",
    ]
    assert "return 0" in text_of(changes[0].source)
    assert "return -22" in text_of(changes[1].source)
    assert not two.git("status", "--porcelain")
    assert two.git("rev-parse", "HEAD") == two.git("rev-parse", "base")


def test_diff_is_a_change(two: GitTree, tmp_path: Path) -> None:
    (tmp_path / "fix.diff").write_text(two.git("diff", "base..HEAD"))
    two.git("checkout", "-q", "base")
    _, (change,) = find(two.path, None, tmp_path / "fix.diff", each=False)
    assert change.title == "fix.diff"
    assert "return -22" in text_of(change.source)


def test_patch_that_does_not_apply_is_named(two: GitTree, tmp_path: Path) -> None:
    mails = series(two, tmp_path / "series.mbox")
    changed(two, MADVISE, "return 0", "return 1")
    two.commit("other")
    with pytest.raises(GuestError, match=r"patch 2 of 2, 'drm/xe: refuse all advice', does not apply"):
        find(two.path, None, mails, each=False)


@pytest.mark.parametrize(
    ("commits", "why"),
    [
        (None, "nothing is changed in the work tree: give BASE..HEAD, or a patch with --am FILE"),
        ("base", "base: write BASE..HEAD"),
        ("base...HEAD", "write BASE..HEAD"),
        ("base..base", "has no commit that"),
    ],
)
def test_no_change_is_refused(linux: GitTree, commits: str | None, why: str) -> None:
    with pytest.raises(NoAnswerError, match=why):
        find(linux.path, commits, None, each=False)


def test_commits_that_undo_each_other_are_refused(linux: GitTree) -> None:
    changed(linux, MADVISE, "return 0", "return 1")
    linux.commit("one")
    changed(linux, MADVISE, "return 1", "return 0")
    linux.commit("back")
    with pytest.raises(NoAnswerError, match="changes nothing from"):
        find(linux.path, "base..HEAD", None, each=False)


@pytest.mark.parametrize(
    ("text", "why"), [("From: x\n\nno patch\n", "no patch in it"), (None, "No such file")]
)
def test_file_without_a_patch_is_refused(linux: GitTree, tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "empty.mbox"
    if text is not None:
        file.write_text(text)
    with pytest.raises(GuestError, match=why):
        find(linux.path, None, file, each=False)
