# SPDX-License-Identifier: MIT
"""The table of failing tests as programs: its rows, and what they are chosen from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mock.defects import defects
from reports.stream import area_of
from sensitivity import catalogue
from tests.controls import claims as lists
from tests.controls.inventory import ROOT
from tests.reproduce.seeded import FAULTS
from tests.reproduce.table import Row, chosen, load, of_mock, save, summary, table

ON_MOCK = {
    "ignore-munmap": (
        "suites/gc/test_autoreset.py::test_autoreset_after_munmap_restores_defaults[4K]",  # a comparison
        "suites/gc/test_collection.py::test_bo_bind_right_after_munmap_succeeds",  # an errno
        "suites/gc/test_collection.py::test_fault_after_munmap_uses_new_memory[4K]",  # a load
        "suites/gc/test_collection.py::test_vram_is_freed_after_munmap",  # a wait
        "suites/invalidate/test_end.py::test_invalid_range_is_collected_after_munmap[4K]",  # a counter
    ),
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")
@pytest.mark.parametrize("defect", ON_MOCK)
def test_programs_of_broken_mock_fail_there_only(defect: str, tmp_path: Path) -> None:
    found = list(of_mock(defect, [test.partition("[")[0] for test in ON_MOCK[defect]], tmp_path))
    assert len(found) == len(ON_MOCK[defect])
    wrong = [str(row) for row in found if not row.right]
    assert not wrong, "\n".join(wrong)


ROW = Row("gpu-idle", "mock", "suites/bind/test_a.py::test_x[a|b]", "mock-0", 1, 0, lines=100)


@pytest.mark.parametrize(
    ("ends", "right"),
    [
        ((1, 0, -1), True),
        ((1, 0, 0), True),
        ((1, 1, 0), False),
        ((0, 0, 0), False),
        ((1, 0, 1), False),
        ((1, 0, 77), False),
    ],
)
def test_row_is_right_if_the_fault_shows_only_where_it_is(ends: tuple[int, int, int], right: bool) -> None:
    row = replace(ROW, failing=ends[0], mock=ends[1], guest=ends[2])
    assert row.right == right
    assert str(row).startswith("ok" if right else "BAD")


def test_rows_are_kept_and_shown(tmp_path: Path) -> None:
    rows = [
        ROW,
        Row("x", "driver", "suites/gc/test_b.py::test_y", why="suites/gc/test_b.py::test_y: no steps"),
    ]
    save(tmp_path, rows)
    assert load(tmp_path) == rows
    text = table(rows)
    assert "| bind | `test_x[a\\|b]` | `gpu-idle` | 1 | 0 |  | 100 |  |" in text
    assert "| gc | `test_y` | `x` |  |  |  | no steps |  |" in text
    assert summary(rows) == "2 tests: 1 programs, 1 right, 1 areas, 1 without one"


def test_each_defect_and_each_area_is_chosen() -> None:
    claims = {name: lists.read(name).tests for name in defects()}
    picked = chosen(claims)
    assert picked.keys() == claims.keys()
    assert {area_of(test) for tests in picked.values() for test in tests} == {
        area_of(test) for tests in claims.values() for test in tests
    }
    assert sum(map(len, picked.values())) >= 30


def test_seeded_faults_and_their_tests_are_there() -> None:
    assert FAULTS.keys() <= {fault.id for fault in catalogue.load()}
    assert [file for files in FAULTS.values() for file in files if not (ROOT / file).exists()] == []
