# SPDX-License-Identifier: MIT
"""Programs show the fault where it is, and only there: on broken mocks, and not on sound ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.answers import NoAnswerError
from ioctl import xe
from ioctl.compiler import Compiler, find_compiler
from ioctl.steps import FORMAT, Steps
from ioctl.transcript import Record
from reproduce import minimise
from reproduce.helpers import _helpers, helpers
from reproduce.program import Words, program
from reproduce.recorded import course
from reproduce.structures import definitions
from reproduce.trial import compiled
from tests.reproduce.places import Here
from tests.reproduce.table import Row, rows

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")
WORDS = Words(
    "suites/demo/test_demo.py::test_demo", ("It works. (demo.works; drivers/demo.c)",), "it did not"
)

ON_MOCK = {
    "ignore-munmap": (
        "suites/gc/test_autoreset.py::test_autoreset_after_munmap_restores_defaults[4K]",  # a comparison
        "suites/gc/test_collection.py::test_bo_bind_right_after_munmap_succeeds",  # an errno
        "suites/gc/test_collection.py::test_fault_after_munmap_uses_new_memory[4K]",  # a load
        "suites/gc/test_collection.py::test_vram_is_freed_after_munmap",  # a wait
        "suites/invalidate/test_end.py::test_invalid_range_is_collected_after_munmap[4K]",  # a counter
    ),
}


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    return find_compiler()


def recorded(*steps: dict[str, Any], check: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A test's steps as a result has them."""
    timed = [{"at": number, **step} for number, step in enumerate(steps)]
    return {"format": FORMAT, "steps": timed, "check": {"after": len(steps), **check}, **more}


def mapping(address: int, size: int) -> dict[str, Any]:
    return {
        **{"do": "mmap", "address": address, "size": size, "protection": 3, "flags": 0x32},
        **{"fd": -1, "offset": 0, "result": address},
    }


def load(address: int, value: int) -> dict[str, Any]:
    return {"do": "load", "address": address, "size": 4, "value": value}


AT = 0x1000_0000_0000
FAILED_LOAD = recorded(
    mapping(AT, 4096),
    {"do": "store", "address": AT + 4, "size": 4, "value": 5},
    load(AT + 4, 5),
    check={"check": "load", "size": 4, "seen": 5, "expected": 6},
)


def test_program_without_device_ends_as_the_check_says(tmp_path: Path, compiler: Compiler) -> None:
    def status(expected: int) -> int:
        steps = {**FAILED_LOAD, "check": {**FAILED_LOAD["check"], "expected": expected}}
        binary = compiled(compiler, program(course(steps), WORDS, self_contained=True), tmp_path)
        return subprocess.run([binary], stderr=subprocess.DEVNULL, check=False).returncode

    assert status(6) == 1
    assert status(5) == 0


def test_program_with_device_and_none_there_cannot_tell(tmp_path: Path, compiler: Compiler) -> None:
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/dri/renderD128"},
        *FAILED_LOAD["steps"],
        check=FAILED_LOAD["check"] | {"after": 4},
        needs=["vram"],
    )
    text = program(course(steps), WORDS, self_contained=True)
    binary = compiled(compiler, text, tmp_path)
    assert subprocess.run([binary, "/nowhere"], stderr=subprocess.DEVNULL, check=False).returncode == 77
    assert "claims(fd1, DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM);" in text


def test_comment_cannot_be_ended_by_what_it_quotes(tmp_path: Path, compiler: Compiler) -> None:
    hostile = Words('a */ #error "x"', ("b /* c */",), "*/ int x = ??/", "d")
    compiled(compiler, program(course(FAILED_LOAD), hostile, self_contained=True), tmp_path)


def test_steps_of_threads_and_children_come_in_their_order(tmp_path: Path, compiler: Compiler) -> None:
    """Each waits for its turn, so that the last load sees what the test saw."""
    steps = recorded(
        mapping(AT, 4096) | {"flags": 0x31},
        {"do": "store", "address": AT, "size": 4, "value": 1},
        {"do": "store", "address": AT, "size": 4, "value": 2, "thread": 1},
        {"do": "fork", "child": 1},
        {"do": "reap", "child": 1, "signal": 0, "at": 9, "steps": [
            {"do": "store", "at": 4, "address": AT, "size": 4, "value": 3},
        ]},
        load(AT, 3) | {"at": 10},
        check={"check": "load", "size": 4, "seen": 3, "expected": 4},
    )  # fmt: skip
    found = course(steps)
    assert found.actors == [(0, 0), (0, 1), (1, 0)]
    text = program(found, WORDS, self_contained=True)
    binary = compiled(compiler, text, tmp_path)
    assert subprocess.run([binary], stderr=subprocess.DEVNULL, check=False).returncode == 1
    right = {**steps, "check": {**steps["check"], "expected": 3}}
    binary = compiled(compiler, program(course(right), WORDS, self_contained=True), tmp_path)
    for _ in range(5):
        assert subprocess.run([binary], stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_child_that_finds_the_fault_says_so(tmp_path: Path, compiler: Compiler) -> None:
    steps = recorded(
        mapping(AT, 4096),
        {"do": "fork", "child": 1},
        {"do": "reap", "child": 1, "signal": 0, "steps": [load(AT, 0) | {"at": 1}]},
        check={"check": "load", "size": 4, "seen": 0, "expected": 1, "after": 2, "child": 1},
    )
    binary = compiled(compiler, program(course(steps), WORDS, self_contained=True), tmp_path)
    assert subprocess.run([binary], stderr=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ({}, "the result has no steps"),
        ({**FAILED_LOAD, "format": 0}, "its steps have format 0, this suite reads 1"),
        ({**FAILED_LOAD, "dropped": 7}, "the last 7 of 10 steps are missing"),
        ({**FAILED_LOAD, "obstacle": "it throws dice"}, "it is not a list of steps: it throws dice"),
        ({**FAILED_LOAD, "check": None}, "the steps do not say what failed"),
        ({**FAILED_LOAD, "steps": [{"do": "ioctl", "at": 0}]}, "its steps cannot be read"),
        (
            recorded(*({"do": "store", "address": AT, "size": 4, "value": n, "thread": n % 2} for n in range(99)),
                     check={"check": "errno", "expected": 0}),
            "its threads took turns 98 times",
        ),
    ],
)  # fmt: skip
def test_what_is_no_course_of_steps_is_said_in_one_line(steps: dict[str, Any], says: str) -> None:
    with pytest.raises(NoAnswerError) as said:
        course(steps)
    assert says in str(said.value)
    assert "\n" not in str(said.value)


def test_check_of_nothing_that_the_steps_have_is_said() -> None:
    steps = recorded(mapping(AT, 4096), check={"check": "answer"})
    with pytest.raises(NoAnswerError, match="its check cannot be written"):
        program(course(steps), WORDS)


def test_each_helper_is_there_once_and_used_ones_only() -> None:
    assert {"end", "call", "map", "load"} <= set(_helpers())
    source, headers = helpers("SAW(load32(a), 1);")
    assert "static uint32_t load32" in source
    assert "load64" not in source
    assert "mmap" not in source
    assert "stdio.h" in headers


def test_definitions_have_the_layout_of_the_suite(tmp_path: Path, compiler: Compiler) -> None:
    """A C compiler measures each structure as ctypes does, and each request has its number."""
    structs = {
        n: v
        for n, v in vars(xe).items()
        if isinstance(v, type) and v.__module__ == "ioctl.xe" and n[0] == "d"
    }
    requests = {request.name: request for request in xe.REQUESTS}
    import ctypes

    checks = [
        *(
            f'_Static_assert(sizeof(struct {n}) == {ctypes.sizeof(kind)}, "{n}");'
            for n, kind in structs.items()
        ),
        *(f'_Static_assert({n} == {request.number:#x}, "{n}");' for n, request in requests.items()),
    ]
    assert len(checks) > 50
    text = "#include <linux/types.h>\n#include <linux/ioctl.h>\n" + definitions({*structs, *requests})
    (tmp_path / "a.c").write_text("\n".join([text, *checks]) + "\n")
    compiler.run(tmp_path, "-Wall", "-Wextra", "-Werror", "-c", "-o", "a.o", "a.c")


def test_record_of_call_is_exported_with_its_structures() -> None:
    record = Record(5, xe.DRM_IOCTL_XE_VM_CREATE, bytes(xe.drm_xe_vm_create(flags=2)))
    record.after, record.result = bytes(xe.drm_xe_vm_create(flags=2, vm_id=7)), 0
    steps = Steps()
    steps.add("open", 5, "/dev/dri/renderD128")
    steps.add("ioctl", record)
    steps.failed("errno", expected=22)
    text = program(course(steps.export() or {}), WORDS)
    assert "#include <drm/xe_drm.h>" in text
    assert ".flags = DRM_XE_VM_CREATE_FLAG_LR_MODE," in text
    assert "vm1 = vm_create1.vm_id;" in text
    assert "if (code != EINVAL)" in text


@pytest.mark.parametrize("defect", ON_MOCK)
def test_programs_of_broken_mock_fail_there_only(defect: str, tmp_path: Path) -> None:
    found = list(rows(defect, [test.partition("[")[0] for test in ON_MOCK[defect]], tmp_path))
    assert len(found) == len(ON_MOCK[defect])
    wrong = [str(row) for row in found if not row.right]
    assert not wrong, "\n".join(wrong)


NOISE = recorded(
    mapping(AT + (1 << 30), 4096),
    mapping(AT, 16 * 4096),
    {"do": "store", "address": AT + (1 << 30), "size": 4, "value": 1},
    {"do": "store", "address": AT + 4, "size": 4, "value": 5},
    load(AT + 8, 0),
    {"do": "madvise", "address": AT + 4096, "size": 4096, "advice": 4},
    load(AT + 4, 5),
    check={"check": "load", "size": 4, "seen": 5, "expected": 6},
)


def test_minimised_program_has_what_the_fault_takes(compiler: Compiler) -> None:
    """The rest: a page, the store and the load, which reads the value that the test read."""
    fewer, said = minimise.minimised(course(NOISE), WORDS, Here(), compiler)
    assert [step.do for step in fewer.steps] == ["mmap", "store", "load"]
    assert fewer.steps[0].fields["size"] == 4096
    assert re.match(r"7 steps became 3, \d+ lines \d+, in \d+ trials$", said)


def test_program_that_shows_no_fault_cannot_be_minimised(compiler: Compiler) -> None:
    good = {**NOISE, "check": {**NOISE["check"], "expected": 5}}
    with pytest.raises(NoAnswerError, match="does not show the fault"):
        minimise.minimised(course(good), WORDS, Here(), compiler)


def test_row_that_is_wrong_is_shown() -> None:
    row = Row("gpu-idle", "test_x", True, 1, 1, 100)
    assert not row.right
    assert str(row).startswith("BAD")
    assert not replace(row, failing=0, sound=0).right
