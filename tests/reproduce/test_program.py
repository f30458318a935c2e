# SPDX-License-Identifier: MIT
"""Programs show the fault where it is, and only there: on broken mocks, and not on sound ones."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from common.answers import NoAnswerError
from ioctl import xe
from ioctl.compiler import Compiler, find_compiler
from ioctl.record import Record
from ioctl.steps import FORMAT, Steps
from reproduce import minimise
from reproduce.helpers import _helpers, helpers
from reproduce.program import Words, program
from reproduce.recorded import course
from reproduce.structures import definitions
from reproduce.trial import Runner, compiled
from tests.reproduce.places import Here

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="takes a C compiler")
WORDS = Words(
    "suites/demo/test_demo.py::test_demo", ("It works. (demo.works; drivers/demo.c)",), "it did not"
)


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


@pytest.mark.parametrize(
    ("need", "check"), [("small-bar", "small_bar(fd1);"), ("uncleared-memory", "uncleared();")]
)
def test_program_looks_first_whether_the_device_and_the_kernel_can_show_it(
    need: str, check: str, tmp_path: Path, compiler: Compiler
) -> None:
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/dri/renderD128"},
        {"do": "open", "fd": 6, "path": "/dev/dri/renderD129"},
        *FAILED_LOAD["steps"],
        check=FAILED_LOAD["check"] | {"after": 5},
        needs=[need],
    )
    text = program(course(steps), WORDS, self_contained=True)
    main = text.partition("int main(")[2]
    assert main.count(check) == 1
    assert main.index("fd1 = ") < main.index(check) < main.index("fd2 = ")
    compiled(compiler, text, tmp_path)


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
        (
            recorded({"do": "fork", "child": 1}, *FAILED_LOAD["steps"], check=FAILED_LOAD["check"] | {"after": 4}),
            "it failed while a child of it ran",
        ),
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


@pytest.mark.parametrize(("expected", "ends"), [(6, 2), (5, 0)], ids=["fault", "sound"])
@pytest.mark.parametrize(
    ("request_name", "argument", "said"),
    [
        (
            "DRM_IOCTL_XE_WAIT_USER_FENCE",
            xe.drm_xe_wait_user_fence(addr=AT, value=1, timeout=1),
            "the wait gave errno 25",
        ),
        (
            "DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY",
            xe.drm_xe_exec_queue_get_property(exec_queue_id=7),
            "DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY gave errno 25",
        ),
    ],
    ids=["wait", "question"],
)
def test_fault_after_a_call_that_went_otherwise_is_none(
    request_name: str, argument: Any, said: str, expected: int, ends: int, tmp_path: Path, compiler: Compiler
) -> None:
    """A sound device may refuse an access that the test saw succeed: no fault, and good if the check holds."""
    call = {"do": "ioctl", "request": request_name, "fd": 5, "before": bytes(argument).hex()}
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/null"},
        mapping(AT, 4096),
        {"do": "store", "address": AT + 4, "size": 4, "value": 5},
        call,
        load(AT + 4, 5),
        check={"check": "load", "size": 4, "seen": 5, "expected": expected},
    )
    binary = compiled(compiler, program(course(steps), WORDS, self_contained=True), tmp_path)
    done = subprocess.run([binary], capture_output=True, text=True, check=False)
    assert done.returncode == ends
    assert said in done.stderr


def test_files_get_back_what_they_had(tmp_path: Path, compiler: Compiler) -> None:
    had = {"empty": "", "number": "7\n", "choice": "always [madvise] never\n", "twice": "1\n"}
    paths = {name: tmp_path / name for name in had}
    for name, path in paths.items():
        path.write_text(had[name])
    puts = [{"do": "put", "path": str(paths[name]), "text": "99"} for name in (*had, "twice")]
    steps = recorded(*puts, *FAILED_LOAD["steps"], check=FAILED_LOAD["check"] | {"after": 8})
    binary = compiled(compiler, program(course(steps), WORDS, self_contained=True), tmp_path)
    assert subprocess.run([binary], stderr=subprocess.DEVNULL, check=False).returncode == 1
    left = {name: path.read_text() for name, path in paths.items()}
    assert left == {"empty": "\n", "number": "7\n", "choice": "madvise", "twice": "1\n"}


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
    assert re.match(
        r"7 steps became 3, \d+ lines \d+, in \d+ trials; none was tried where the fault is not$", said
    )


def test_id_that_the_test_never_made_is_no_obstacle(compiler: Compiler) -> None:
    argument = bytes(xe.drm_xe_exec_queue_get_property(exec_queue_id=7)).hex()
    call = {"do": "ioctl", "request": "DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY", "fd": 5, "before": argument}
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/null"}, call, check={"check": "errno", "expected": 2}
    )
    fewer, _ = minimise.minimised(course(steps), WORDS, Here(), compiler)
    assert [step.do for step in fewer.steps] == ["open", "ioctl"]


def test_nothing_is_tried_after_the_time_for_it(compiler: Compiler) -> None:
    with Runner(Here()) as here:
        fewer, said = minimise.smallest(course(NOISE), WORDS, here, None, compiler, "here", budget=-1)
    assert len(fewer.steps) == 7
    assert " in 1 trials" in said


def test_program_that_shows_no_fault_cannot_be_minimised(compiler: Compiler) -> None:
    good = {**NOISE, "check": {**NOISE["check"], "expected": 5}}
    with pytest.raises(NoAnswerError, match="does not show the fault"):
        minimise.minimised(course(good), WORDS, Here(), compiler)


@pytest.mark.parametrize(("code", "kept"), [(4, False), (11, True)], ids=["EINTR", "EAGAIN"])
def test_call_that_a_signal_interrupted_is_no_step(code: int, kept: bool) -> None:
    argument = bytes(xe.drm_xe_vm_create(flags=2)).hex()
    call = {"do": "ioctl", "request": "DRM_IOCTL_XE_VM_CREATE", "fd": 5, "before": argument, "errno": code}
    steps = recorded(call, *FAILED_LOAD["steps"], check=FAILED_LOAD["check"] | {"after": 4})
    assert ("ioctl" in [step.do for step in course(steps).steps]) == kept


@pytest.mark.parametrize("check", ["load", "answer"])
def test_fence_that_a_wait_vouched_for_is_no_fault_without_the_wait(
    check: str, tmp_path: Path, compiler: Compiler
) -> None:
    """The test saw that the wait succeeded and the fence is not 1; where the wait fails it is not that fault."""
    argument = xe.drm_xe_wait_user_fence(addr=AT, value=1, timeout=1)
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/null"},
        mapping(AT, 4096),
        {"do": "ioctl", "request": "DRM_IOCTL_XE_WAIT_USER_FENCE", "fd": 5, "before": bytes(argument).hex()},
        load(AT, 0),
        check={"check": check, "size": 4, "seen": 0, "expected": 1},
    )
    binary = compiled(compiler, program(course(steps), WORDS, self_contained=True), tmp_path)
    assert subprocess.run([binary], capture_output=True, check=False).returncode == 0


def test_child_may_open_a_device(tmp_path: Path, compiler: Compiler) -> None:
    steps = recorded(
        mapping(AT, 4096) | {"flags": 0x31},
        {"do": "fork", "child": 1},
        {"do": "reap", "child": 1, "signal": 0, "steps": [
            {"do": "open", "at": 1, "fd": 5, "path": "/dev/dri/renderD129"},
            {"do": "store", "at": 2, "address": AT, "size": 4, "value": 3},
        ]},
        load(AT, 3),
        check={"check": "load", "size": 4, "seen": 3, "expected": 4},
    )  # fmt: skip
    binary = compiled(compiler, program(course(steps), WORDS, self_contained=True), tmp_path)
    status = [
        subprocess.run([binary, *node], check=False).returncode for node in (["/dev/null"], ["/nowhere"])
    ]
    assert status == [1, 77]


def test_value_of_a_spare_field_is_not_what_was_compared() -> None:
    """The message has the name of the field; the answer has its value in other places, too."""
    regions = [xe.drm_xe_mem_region(mem_class=number, total_size=1 << 30) for number in (0, 1)]
    answer = bytes(xe.drm_xe_query_mem_regions(num_mem_regions=2)) + b"".join(map(bytes, regions))
    argument = xe.drm_xe_device_query(
        query=xe.DRM_XE_DEVICE_QUERY_MEM_REGIONS, size=len(answer), data=0x70000000
    )
    step = {
        **{"do": "ioctl", "request": "DRM_IOCTL_XE_DEVICE_QUERY", "fd": 5, "before": bytes(argument).hex()},
        "nested": [
            {
                "field": "data",
                "kind": "Pointer",
                "address": 0x70000000,
                "size": len(answer),
                "after": answer.hex(),
            }
        ],
    }
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/dri/renderD128"},
        step,
        check={"check": "compare", "op": ">", "left": 0, "right": 9},
    )
    text = program(course(steps, "assert devices[1].vram_used() > 9: 0 > 9"), WORDS)
    assert "mem_regions[1].used;" in text
    assert "reserved" not in text.partition("int main")[2]


@pytest.mark.parametrize(
    ("sides", "times", "written"),
    [
        ({"left": [], "right": [3]}, 2, True),
        ({"left": None, "right": None}, 2, False),
        ({"left": None, "right": None}, 1, True),
        ({}, 2, False),
        ({}, 1, True),
    ],
)
def test_unchanged_answer_to_a_question_asked_before_is_not_what_failed(
    sides: dict[str, Any], times: int, written: bool
) -> None:
    """A test that compares what it worked out from many calls did not fail by the last of them."""
    argument = bytes(xe.drm_xe_exec_queue_get_property(exec_queue_id=7)).hex()
    call = {"do": "ioctl", "request": "DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY", "fd": 5, "before": argument}
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/dri/renderD128"},
        *[call | {"after": argument}] * times,
        check={"check": "compare" if sides else "answer", "op": "==", **sides},
    )
    if written:
        assert "answered as in the test" in program(course(steps), WORDS)
    else:
        with pytest.raises(NoAnswerError, match="its check is not of anything that the kernel answered"):
            program(course(steps), WORDS)


def test_whether_something_holds_is_no_number_of_an_answer() -> None:
    """``assert passed == expected`` with truth values: the call that succeeded is the fault, not a 0 in it."""
    argument = bytes(xe.drm_xe_wait_user_fence(addr=AT, mask=1)).hex()
    fence = {
        "field": "addr",
        "kind": "Pointer",
        "address": AT,
        "size": 8,
        "before": "00" * 8,
        "after": "00" * 8,
    }
    call = {
        "do": "ioctl",
        "request": "DRM_IOCTL_XE_WAIT_USER_FENCE",
        "fd": 5,
        "before": argument,
        "nested": [fence],
    }
    steps = recorded(
        {"do": "open", "fd": 5, "path": "/dev/dri/renderD128"},
        call,
        check={"check": "compare", "op": "==", "left": False, "right": True},
    )
    text = program(course(steps), WORDS)
    assert "not True" not in text
    assert 'end(GOOD, "DRM_IOCTL_XE_WAIT_USER_FENCE gave errno' in text
    assert "DRM_IOCTL_XE_WAIT_USER_FENCE answered as in the test" in text


def test_wait_that_succeeds_without_an_answer_is_the_fault() -> None:
    argument = bytes(xe.drm_xe_wait_user_fence(addr=AT, value=1, mask=1)).hex()
    call = {"do": "ioctl", "request": "DRM_IOCTL_XE_WAIT_USER_FENCE", "fd": 5, "before": argument}
    steps = recorded({"do": "open", "fd": 5, "path": "/dev/dri/renderD128"}, call, check={"check": "answer"})
    text = program(course(steps), WORDS)
    assert "DRM_IOCTL_XE_WAIT_USER_FENCE answered as in the test" in text


def test_object_that_is_made_without_an_id_is_the_fault() -> None:
    argument = bytes(xe.drm_xe_vm_create()).hex()
    call = {"do": "ioctl", "request": "DRM_IOCTL_XE_VM_CREATE", "fd": 5, "before": argument}
    steps = recorded({"do": "open", "fd": 5, "path": "/dev/dri/renderD128"}, call, check={"check": "answer"})
    text = program(course(steps), WORDS)
    assert "vm_create1.vm_id == 0" in text
    assert "DRM_IOCTL_XE_VM_CREATE answered as in the test" in text
