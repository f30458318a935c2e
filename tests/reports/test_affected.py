# SPDX-License-Identifier: MIT
"""Parts of the kernel that a patch touches, and behaviours that it may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.answers import NoAnswerError
from reports.affected import BY_FILE, BY_SYMBOL, affected, patch_of, touched
from reports.commands.affected import main
from reports.ledger import Ledger
from tests.git_tree import GitTree

SVM = "drivers/gpu/drm/xe/xe_svm.c"
GPUSVM = "drivers/gpu/drm/drm_gpusvm.c"
HEADER = "include/uapi/drm/xe_drm.h"
OTHER = "drivers/net/dummy.c"
SOURCE = """\
static int first(struct xe_vm *vm)
{
\tint err = 0;

\treturn err;
}

/**
 * second() - of two lines
 */
static int
second(struct xe_vm *vm,
       u64 addr)
{
\treturn 0;
}
EXPORT_SYMBOL_GPL(second);

struct third {
\tint a;
\tint b;
};
"""


class Tree(GitTree):
    """A git tree with SOURCE in four files."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for file in (SVM, GPUSVM, HEADER, OTHER):
            self.write(file, SOURCE)
        self.commit("first")

    def edit(self, old: str, new: str, file: str = SVM) -> str:
        """Replace a line of the file; what git says of it."""
        text = (self.path / file).read_text()
        assert text.count(old) == 1
        self.write(file, text.replace(old, new))
        return self.git("diff", "--", file)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "linux")


@pytest.mark.parametrize(
    ("old", "new", "symbols"),
    [
        ("int err = 0;", "int err = 1;", {"first"}),
        ("static int first(", "int first(", {"first"}),
        ("of two lines", "of several lines", {"second"}),
        ("\treturn 0;", "\treturn 1;", {"second"}),
        ("       u64 addr", "       u32 addr", {"second"}),
        ("\tint b;", "\tlong b;", {"third"}),
        ("EXPORT_SYMBOL_GPL(second);", "", {"third"}),
    ],
    ids=["body", "head", "comment", "body-of-second", "arguments", "structure", "between"],
)
def test_symbol_is_the_one_whose_lines_change(tree: Tree, old: str, new: str, symbols: set[str]) -> None:
    assert touched(tree.edit(old, new)) == {SVM: symbols}


def test_words_of_header_count_too(tree: Tree) -> None:
    """A uAPI header is cited by field and flag."""
    change = tree.edit("\tint b;", "\t__u32 purge_state_val;", HEADER)
    assert touched(change) == {HEADER: {"third", "int", "b", "__u32", "purge_state_val"}}


def test_series_touches_what_its_patches_touch(tree: Tree) -> None:
    tree.edit("int err = 0;", "int err = 1;")
    tree.commit("a change")
    tree.edit("\tint b;", "\tlong b;", GPUSVM)
    tree.commit("a change")
    series = tree.git("format-patch", "--stdout", "HEAD~2")
    assert touched(series) == {SVM: {"first"}, GPUSVM: {"third"}}


@pytest.mark.parametrize("text", ["", "no patch\n", "--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n-cut"])
def test_text_that_is_no_patch_is_refused(text: str) -> None:
    with pytest.raises(NoAnswerError, match=r"^mail\.patch: (changes no file|not a patch)"):
        touched(text, "mail.patch")


def test_behaviours_of_function_come_before_those_of_file() -> None:
    found = affected({SVM: {"xe_svm_invalidate"}}, Ledger.load())
    assert [one.rank for one in found] == sorted(one.rank for one in found)
    ranks = {one.behaviour.id: one for one in found}
    assert ranks["notifier.multi-range"].rank == BY_SYMBOL
    assert ranks["notifier.multi-range"].why == f"{SVM}:xe_svm_invalidate"
    assert ranks["gc.async"].rank == BY_FILE
    assert "bind.cam.map-only" not in ranks


def test_range_of_commits_is_read_from_tree(tree: Tree) -> None:
    tree.edit("err = 0", "err = 1")
    tree.commit("a change")
    assert touched(patch_of("HEAD^..HEAD", tree.path)) == {SVM: {"first"}}


@pytest.mark.parametrize(
    ("name", "tree", "why"),
    [
        ("nothing.patch", None, "nothing.patch: no such patch: name a file, or BASE..HEAD of --tree LINUX"),
        ("v1..v2", None, "v1..v2: commits of which tree? add --tree LINUX"),
    ],
)
def test_patch_that_is_not_there_is_one_line(name: str, tree: Path | None, why: str) -> None:
    with pytest.raises(NoAnswerError) as refused:
        patch_of(name, tree)
    assert str(refused.value) == why


def test_commits_that_are_not_there_are_named_by_git(tree: Tree) -> None:
    with pytest.raises(NoAnswerError, match=r"^v1\.\.v2 in .*: fatal: .*v1\.\.v2"):
        patch_of("v1..v2", tree.path)


def test_command_lists_tests_and_says_when_there_are_none(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    near, far = tmp_path / "near.patch", tmp_path / "far.patch"
    near.write_text(tree.edit("static int first(", "static int xe_svm_invalidate("))
    far.write_text(tree.edit("int err = 0;", "int err = 1;", OTHER))
    assert main([str(near)]) == 0
    listed = capsys.readouterr().out
    assert f"  notifier.multi-range  ({SVM}:xe_svm_invalidate)\n      suites/notifier/" in listed
    assert listed.startswith("of the functions and types that it touches: ")
    assert "\nof the files that it touches: " in listed
    assert main([str(far)]) == 1
    assert capsys.readouterr().out == f"{far}: no behaviour cites drivers/net/dummy.c\n"
