# SPDX-License-Identifier: MIT
"""Decoding of gcov's counts, with a program that the compiler builds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from common.answers import NoAnswerError
from guest import coverage

SOURCE = """\
static int twice(int number)
{
	if (number > 5)
		return 0;
	return number * 2;
}

int unused(void)
{
	return 1;
}

int main(void)
{
	return twice(2) - 4;
}
"""


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    """A folder with the notes and counts of a program that has run."""
    (tmp_path / "xe_svm.c").write_text(SOURCE)
    command = ["gcc", "-O0", "--coverage", "-c", "xe_svm.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run(["gcc", "--coverage", "xe_svm.o", "-o", "program"], cwd=tmp_path, check=True)
    subprocess.run(["./program"], cwd=tmp_path, check=True)
    return tmp_path


def test_lines_branches_and_functions(counts: Path) -> None:
    (found,) = coverage.measure(counts, counts)
    assert (found.lines, found.branches, found.functions) == ((5, 8), (1, 2), (2, 3))
    assert found.unexecuted == ("unused",)


def test_table(counts: Path) -> None:
    _, row, rest = coverage.table(coverage.measure(counts, counts))
    assert " ".join(row.split()) == "xe_svm.c 5 of 8, 62 % 1 of 2, 50 % 2 of 3, 66 %"
    assert rest == "xe_svm.c: not executed: unused"


def test_counts_of_another_build_are_refused(counts: Path) -> None:
    (counts / "xe_svm.c").write_text(SOURCE.replace("return 1", "return twice(3)"))
    subprocess.run(["gcc", "-O0", "--coverage", "-c", "xe_svm.c"], cwd=counts, check=True)
    with pytest.raises(NoAnswerError, match="mismatch"):
        coverage.measure(counts, counts)


def test_no_counts(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match=r"no \.gcda"):
        coverage.measure(tmp_path, tmp_path)


def test_unknown_kernel(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match="no kernel nowhere"):
        coverage.main(["nowhere", str(tmp_path)])
