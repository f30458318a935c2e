# SPDX-License-Identifier: MIT
"""Failures by a message of the kernel become programs that read its log; those that no program sees have no program."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.answers import NoAnswerError
from ioctl.compiler import find_compiler
from reproduce.complaint import words_of_complaint
from reproduce.program import program
from reproduce.recorded import course
from reproduce.trial import compiled
from tests.reproduce.test_program import AT, WORDS, mapping, recorded

WARNING = """\
the kernel complained:
[  216.375462] ------------[ cut here ]------------
[  216.375651] WARNING: drivers/gpu/drm/xe/xe_vm.c:4782 at xe_vm_alloc_vma+0x28f/0x3b0 [xe], CPU#0: kworker/u9:2/150
[  216.377592] Modules linked in: xe"""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (WARNING, ("WARNING: ", "xe_vm_alloc_vma+0x")),
        (
            "the kernel complained:\n[    5.0] BUG: KASAN: slab-use-after-free in xe_a_b+0x1/0x2 [xe]",
            ("BUG: ", "xe_a_b+0x"),
        ),
        (
            "the kernel complained:\n[   12.5] xe 0000:01:00.0: [drm] GT0: TLB invalidation fence timeout, seqno=4",
            ("", "TLB invalidation fence timeout,"),
        ),
        (
            "the kernel complained:\n[   12.5] WARNING: possible circular locking dependency detected",
            ("WARNING: ", "WARNING: possible circular locking dependency detected"),
        ),
        (
            "the kernel complained:\n[   12.5] INFO: task kworker/1:2:77 blocked for more than 60 seconds.",
            ("INFO: ", "blocked for more than"),
        ),
        (
            "the kernel complained:\n[   12.5] refcount_t: underflow; use-after-free.",
            ("refcount_t: ", "refcount_t: underflow; use-after-free."),
        ),
    ],
)
def test_words_are_those_of_every_run(said: str, words: tuple[str, str]) -> None:
    assert words_of_complaint(said) == words


@pytest.mark.parametrize(
    "said", ["the emulated GPU reports gpu0: stale-owner: x\ny", "the kernel was tainted: oops"]
)
def test_what_no_program_sees_has_none(said: str) -> None:
    steps = recorded(mapping(AT, 4096), check={"check": "complaint", "said": said})
    with pytest.raises(NoAnswerError, match="no program sees why it failed: the ") as error:
        program(course(steps), WORDS)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")
def test_program_reads_the_log_from_its_start_on(tmp_path: Path) -> None:
    steps = recorded(mapping(AT, 4096), check={"check": "complaint", "said": WARNING})
    text = program(course(steps), WORDS, self_contained=True)
    main = text.partition("int main(")[2]
    assert main.index("watch_log();") < main.index("map(memory1") < main.index("complained(")
    assert 'complained("WARNING: ", "xe_vm_alloc_vma+0x", 5000000000LL);' in main
    compiled(find_compiler(), text, tmp_path)
