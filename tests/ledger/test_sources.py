# SPDX-License-Identifier: MIT
"""Sources of the ledger exist in a kernel tree: KERNEL_SOURCE=/path/to/linux pytest tests/ledger/test_sources.py

A new kernel that renamed a function is found by this; without a tree the test is skipped.
"""

from __future__ import annotations

import ast
import fnmatch
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from ioctl import history
from mock.driver.lib.fault_inject import INJECTABLE
from reports.ledger import Ledger, Place
from reports.sentences import sentences

TREE = os.environ.get("KERNEL_SOURCE")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def defines(name: str, text: str) -> bool:
    """Whether C source defines ``name``: a function, macro, type, constant, object, member or debugfs file.

    A call of a function is not enough.
    """
    return bool(
        re.search(
            rf"^(?:[A-Za-z_]\w*[ \t*]+)*\*?{name}\("  # a function, the type on its line or on the one before
            rf"|^[ \t]*#\s*define\s+{name}\b"
            rf"|^[ \t]*(?:static |const |typedef )*(?:struct|enum|union)\s+{name}\b"
            rf"|^\s+\.?{name}\s*(?:,|=[^=]|:)"  # a constant of an enum, an initialised member, a label
            rf"|^[A-Za-z_\s][\w \t*]*[ \t*]{name}(?:\[[^\]]*\])?\s*(?:=[^=]|;|:\d)"  # an object or member
            rf"|\(\*{name}\)\(|^\w+\({name}\b|\"{name}\"",  # a callback, DEFINE_EVENT and similar, a file
            text,
            re.MULTILINE,
        )
    )


def missing(source: str, tree: Path) -> str | None:
    """The part of a source that is missing in the tree, or None; seeds and stable patches are not in trees."""
    if source.startswith(("seed ", "stable ")):
        return None
    name, _, what = source.partition(":")
    path = tree / name
    if not path.is_file():
        return f"no file {name}"
    identifier = IDENTIFIER.match(what)
    if not identifier or "_" not in identifier[0]:
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    if identifier[0] not in text:
        return f"no {identifier[0]} in {name}"
    if (
        name.endswith((".c", ".h"))
        and not name.startswith("include/uapi/")
        and not defines(identifier[0], text)
    ):
        return f"{name} does not define {identifier[0]}, it only names it"
    return None


UAPI = "include/uapi/drm/xe_drm.h:"


def unrecorded(source: str) -> str | None:
    """The part of a uAPI source that the newest recorded header lacks, or None; needs no tree."""
    found = re.match(r"(?:DRM_|drm_xe_)?\w+_\w+\*?", source.removeprefix(UAPI))
    if not source.startswith(UAPI) or not found:
        return None
    word = found[0]
    names = history.recorded().table(history.recorded().names[-1])
    if any(
        fnmatch.fnmatchcase(name, pattern) for name in names for pattern in (word, f"*_{word}", f"*.{word}")
    ):
        return None
    return f"no {word} in the recorded header of {history.recorded().names[-1]}"


def test_every_name_of_the_uapi_is_in_the_recorded_header() -> None:
    wrong = [
        f"{behaviour.id}: {lack}"
        for behaviour in Ledger.load().values()
        for source in behaviour.sources
        if (lack := unrecorded(source))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


# A stable update may move a sentence by some lines.
NEAR = 10


def unwritten(place: Place, tree: Path) -> str | None:
    """Reason why a document does not have the cited promise, or None; postings are not in trees."""
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


STEPS_DIRECTORY = "drivers/gpu/drm/xe"


def not_injectable(names: Iterable[str], tree: Path) -> list[str]:
    """Functions that the driver of a tree does not let fail: a test of them would be UNTESTED, not an error."""
    text = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((tree / STEPS_DIRECTORY).rglob("*.c"))
    )
    return [name for name in names if f"ALLOW_ERROR_INJECTION({name}, ERRNO)" not in text]


def test_steps_that_tests_make_fail_are_those_of_the_mock() -> None:
    suites = Path(__file__).resolve().parents[2] / "suites"
    used = {
        node.value
        for path in suites.rglob("*.py")
        if "refused_at" in (source := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and re.fullmatch(r"(xe|vm_bind)_[a-z_]+", str(node.value))
    }
    assert used == {*INJECTABLE}


@pytest.mark.skipif(TREE is None, reason="KERNEL_SOURCE names no kernel tree")
def test_steps_that_tests_make_fail_are_injectable_in_the_tree() -> None:
    assert TREE is not None
    assert not not_injectable(INJECTABLE, Path(TREE))


def test_step_that_was_renamed_is_named(tmp_path: Path) -> None:
    source = tmp_path / STEPS_DIRECTORY / "xe_pt.c"
    source.parent.mkdir(parents=True)
    source.write_text("int xe_pt_create(void);\nALLOW_ERROR_INJECTION(xe_pt_make, ERRNO);\n")
    assert not_injectable(["xe_pt_make", "xe_pt_create"], tmp_path) == ["xe_pt_create"]


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
    (tmp_path / "mm" / "hmm.c").write_text("int f(void)\n{\n\treturn hmm_range_fault();\n}\n")
    assert (
        missing("mm/hmm.c:hmm_range_fault", tmp_path)
        == "mm/hmm.c does not define hmm_range_fault, it only names it"
    )


@pytest.mark.parametrize(
    "text",
    [
        "static int a_b(int c)\n{",
        "struct x *\na_b(int c)\n{",
        "#define a_b 1",
        "struct a_b {",
        "enum x {\n\ta_b,\n};",
        "struct x {\n\tunsigned int a_b;\n};",
        "struct x {\n\tu8 a_b:1;\n};",
        "struct x {\n\tint (*a_b)(int);\n};",
        "static const char *a_b[] = {",
        "static const struct x y = {\n\t.a_b = 1,\n};",
        "DEFINE_EVENT(x, y);\nTRACE_EVENT(a_b,",
        'debugfs_create_file("a_b", 0600);',
    ],
)
def test_what_defines_a_name(text: str) -> None:
    assert defines("a_b", text)
    assert not defines("a_c", text)


def test_a_name_that_no_header_has_is_named() -> None:
    assert unrecorded(f"{UAPI}DRM_XE_VM_BIND_FLAG_NULL") is None
    assert unrecorded(f"{UAPI}MADVISE_AUTORESET text") is None
    assert unrecorded(f"{UAPI}drm_xe_sync.addr") is None
    assert unrecorded(f"{UAPI}region_instance") is None
    assert unrecorded(f"{UAPI}flags") is None
    assert str(unrecorded(f"{UAPI}DRM_XE_VM_BIND_FLAG_VOID")).startswith(
        "no DRM_XE_VM_BIND_FLAG_VOID in the recorded"
    )
    assert unrecorded("mm/hmm.c:no_such") is None


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
