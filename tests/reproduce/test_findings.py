# SPDX-License-Identifier: MIT
"""Each finding has a program, or a reason why it has none; on the mock each shows its fault where the mock plays it."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from ioctl.compiler import find_compiler
from reproduce.trial import Mock, Runner
from tests.reproduce.findings import FOLDER, GUESTS, UNKNOWN, compiled, headings, kernels_of, name_of, wrong

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")
TABLE = (FOLDER / "README.md").read_text(encoding="utf-8")
LATER = {
    "a-readonly-mirror-makes-its-neighbours-read-only",
    "a-mirror-in-an-array-of-binds-lets-memory-in-use-be-unbound",
    "an-autoreset-of-a-whole-area-warns-and-loses-the-pat-index-of-the-bind",
}
"""Faults that came with 7.0."""
EARLIER = {"an-array-of-binds-that-fails-leaves-a-mirror-split"}
"""Faults that went before 7.3."""

NOT_PLAYED = {
    "after-fork-the-gpu-of-the-parent-stores-into-memory-of-the-child",
    "madvise-of-a-part-of-a-bo-leaves-stale-translations-behind",
}
"""Faults that the mock does not have."""

ELSEWHERE = frozenset(GUESTS)
"""Programs that cannot tell on the mock: it shows the CPU all VRAM, and this machine's kernel may clear memory."""


def test_each_finding_has_a_program_or_a_reason() -> None:
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", TABLE, re.MULTILINE))
    assert [heading for heading in headings() if heading not in rows] == []
    for heading in headings():
        program = FOLDER / name_of(heading)
        assert program.exists() == (f"`{program.name}`" in rows[heading]), heading


def test_each_program_is_of_a_finding_and_says_of_which() -> None:
    names = {name_of(heading): heading for heading in headings()}
    programs = sorted(FOLDER.glob("*.c"))
    assert len(programs) > 10
    for program in programs:
        text = program.read_text(encoding="utf-8")
        assert text.startswith("// SPDX-License-Identifier: MIT\n")
        assert " ".join(names[program.name].split()) in " ".join(text.replace("\n * ", " ").split())


def test_programs_show_the_fault_on_the_kernels_that_have_it(tmp_path: Path) -> None:
    programs = list(compiled(find_compiler(), tmp_path))
    assert len(programs) == len(list(FOLDER.glob("*.c")))
    ended: dict[str, dict[str, int]] = {}
    for level in ("7.3", "6.18"):
        with Runner(Mock("bmg2", level)) as runner:
            ended[level] = {program.name: runner.status(program)[0] for program in programs}
    assert {name for name, status in ended["7.3"].items() if status != 1} == EARLIER | NOT_PLAYED | ELSEWHERE
    assert all(ends[name] in (0, UNKNOWN) for ends in ended.values() for name in ELSEWHERE)
    assert {name: ended["7.3"][name] for name in EARLIER} == dict.fromkeys(EARLIER, 0)
    assert {name: ended["7.3"][name] for name in NOT_PLAYED} == dict.fromkeys(NOT_PLAYED, 0)
    assert {name: ended["6.18"][name] for name in LATER} == dict.fromkeys(LATER, 0)
    assert all(ended["6.18"][name] == 1 for name in EARLIER)


def test_each_program_has_kernels_and_other_ends_are_named() -> None:
    marked = kernels_of()
    assert [program.stem for program in sorted(FOLDER.glob("*.c")) if program.stem not in marked] == []
    split, scratch = (
        "an-array-of-binds-that-fails-leaves-a-mirror-split",
        "a-mirror-does-not-replace-scratch-pages",
    )
    assert wrong({split: 0, scratch: 1}, "7.3") == []
    assert wrong({split: 1, scratch: 1}, "6.18.15") == []
    assert wrong({split: 1, scratch: 0}, "7.3") == [
        f"{split}: 1, and Linux 7.3 does not have the fault",
        f"{scratch}: 0, and Linux 7.3 has the fault",
    ]


@pytest.mark.parametrize("name", GUESTS)
def test_program_that_takes_a_guest_of_its_own_may_say_so_elsewhere_only(name: str) -> None:
    assert wrong({name: 77}, "7.3") == []
    assert wrong({name: 0}, "7.3") == [f"{name}: 0, and Linux 7.3 has the fault"]
    assert wrong({name: 77}, "7.3", GUESTS[name]) == [f"{name}: 77, and Linux 7.3 has the fault"]
    assert wrong({name: 1}, "7.3", GUESTS[name]) == []
    assert f"`{name}.c` | `{shlex.join(GUESTS[name])}`" in TABLE.replace("\n", " ")
