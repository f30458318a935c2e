# SPDX-License-Identifier: MIT
"""The seeded faults: each is well-formed, breaks known behaviours and fits the driver's source."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reports import seeded
from reports.ledger import Ledger
from sensitivity import catalogue
from sensitivity.__main__ import main
from sensitivity.catalogue import CatalogueError, Fault
from sensitivity.source import Edit, EditError, body

TREE = os.environ.get("KERNEL_SOURCE")
FAULTS = catalogue.load()
SOURCE = """\
int stop(int a);

#define again(a) ({\t\\
\tif (a < 0)\t\\
\t\tstop(a);\t\\
})

static int
start(int (*run)(int), int a)
{
\tif (a <
\t    0)
\t\treturn stop(a);
\treturn run(a) + stop(a);
}

int stop(int a)
{
\treturn a < 0;
}
"""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault_breaks_known_behaviours(fault: Fault) -> None:
    assert set(fault.breaks) <= set(Ledger.load())


def test_recorded_results_are_of_faults_that_tests_have_to_notice() -> None:
    owed = {fault.id for fault in FAULTS if not fault.excepted}
    assert {row.fault for row in seeded.read()} <= owed


@pytest.mark.skipif(TREE is None, reason="KERNEL_SOURCE names no kernel tree")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault_fits_the_driver(fault: Fault, tmp_path: Path) -> None:
    assert TREE is not None
    for file in {edit.file for edit in fault.edits}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text((Path(TREE) / file).read_text())
    assert main([fault.id, str(tmp_path)]) == 0
    for edit in fault.edits:
        assert (tmp_path / edit.file).read_text() != (Path(TREE) / edit.file).read_text()


@pytest.mark.parametrize(
    ("name", "begins", "ends"),
    [
        ("again", "#define again", "\n})"),
        ("start", "start(int", "stop(a);\n}"),
        ("stop", "stop(int", "0;\n}"),
    ],
)
def test_function_is_found_by_its_name(name: str, begins: str, ends: str) -> None:
    start, end = body(SOURCE, name)
    assert SOURCE[start:end].startswith(begins)
    assert SOURCE[start:end].endswith(ends)


def test_only_the_function_is_edited() -> None:
    edited = Edit("x.c", "start", "if (a < 0)", "if (a <= 0)").apply(SOURCE)
    assert "\tif (a <= 0)\n\t\treturn stop(a);" in edited
    assert "if (a < 0)	\\" in edited
    assert Edit("x.c", "start", "stop(a)", "a", times=2).apply(SOURCE).count("stop(a)") == 1


@pytest.mark.parametrize(
    ("function", "find", "times", "why"),
    [
        ("begin", "a", 1, "no function is named begin"),
        ("stop", "b", 1, "stop has 0 times, not 1, the text 'b'"),
        ("start", "stop(a)", 1, "start has 2 times, not 1, the text 'stop\\(a\\)'"),
        ("stop", "a < 0", 2, "stop has 1 times, not 2"),
    ],
)
def test_edit_that_does_not_fit_says_why(function: str, find: str, times: int, why: str) -> None:
    with pytest.raises(EditError, match=why):
        Edit("x.c", function, find, "", times).apply(SOURCE)


ENTRY = """
- id: a-b
  title: t
  edits: [{file: x.c, function: stop, find: a < 0, put: a > 0}, {file: x.c, function: start, find: run(a), put: a}]
  breaks: [x.y]
  shown_by: tests
"""


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("title: t", "name: t", "'title'"),
        ("put:", "with:", "unexpected keyword argument 'with'"),
        ("shown_by: tests", "shown_by: luck", "its id, edits, breaks or shown_by is invalid"),
        ("id: a-b", "id: A B", "its id, edits, breaks or shown_by is invalid"),
        (
            "shown_by: tests",
            "shown_by: tests\n  takes: luck",
            "takes is one of media, occupied, ptl, two-gpus, far-gpus, faults, lockdep",
        ),
        ("breaks: [x.y]", "breaks: []", "its id, edits, breaks or shown_by is invalid"),
        ("shown_by: tests\n", "shown_by: tests\n" + ENTRY, "a-b is there twice"),
    ],
)
def test_entry_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(ENTRY)
    assert [fault.id for fault in catalogue.load(path)] == ["a-b"]
    path.write_text(ENTRY.replace(old, new))
    with pytest.raises(CatalogueError, match=why):
        catalogue.load(path)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "faults.yaml").write_text(ENTRY)
    monkeypatch.setattr(catalogue, "find", lambda _: catalogue.load(tmp_path / "faults.yaml")[0])
    return tmp_path


def test_all_edits_of_a_fault_are_made(tree: Path) -> None:
    (tree / "x.c").write_text(SOURCE)
    assert main(["a-b", str(tree)]) == 0
    edited = (tree / "x.c").read_text()
    assert "return a > 0;" in edited
    assert "return a + stop(a);" in edited


def test_tree_stays_as_it_was_when_an_edit_does_not_fit(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "x.c").write_text(broken := SOURCE.replace("run(a) +", "run(a+1) +"))
    assert main(["a-b", str(tree)]) == 2
    assert (tree / "x.c").read_text() == broken
    assert capsys.readouterr().err == "sensitivity: x.c: start has 0 times, not 1, the text 'run(a)'\n"


def test_tree_without_the_file_is_no_answer(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a-b", str(tree)]) == 2
    assert "No such file" in capsys.readouterr().err


def test_faults_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [fault.id for fault in FAULTS]


def test_unknown_fault_is_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such", "."]) == 2
    assert "no seeded fault is named no-such" in capsys.readouterr().err
