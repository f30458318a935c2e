# SPDX-License-Identifier: MIT
"""The lists, the rules and the verdicts, with invented tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from mock.defects import defects
from tests.controls import claims, control
from tests.controls.claims import Claims, collapse, parse
from tests.controls.control import gaps, means, record, verdicts
from tests.controls.inventory import Test
from tests.controls.rules import RULES
from tests.controls.trial import Result

FELL, PASSED, ABSENT = Result("FAIL", "it saw 0"), Result("PASS"), Result("NOT-CLAIMED", reason="NEEDS:pxp")
SWAPLESS = Result("UNTESTED", reason="NEEDS:swap")


def case(name: str, *acts: str, about: str = "bind.x", source: str = "") -> Test:
    return Test(f"suites/a/test_a.py::{name}", frozenset(acts), (about,), source)


def of(*names: str) -> tuple[str, ...]:
    return tuple(f"suites/a/test_a.py::{name}" for name in names)


def test_a_function_stands_for_its_cases_only_if_all_are_there() -> None:
    tests = [case("test_f[1]"), case("test_f[2]"), case("test_g[1]"), case("test_g[2]"), case("test_h")]
    assert collapse(of("test_f[1]", "test_f[2]", "test_g[2]", "test_h"), tests) == [
        *of("test_f", "test_g[2]", "test_h")
    ]


def test_an_exception_takes_a_case_out_of_its_function() -> None:
    listed = parse(
        "# note\n\nsuites/a/test_a.py::test_f\nexcept suites/a/test_a.py::test_f[2]: it is odd\n", "x"
    )
    assert listed.covers(case("test_f[1]"))
    assert not listed.covers(case("test_f[2]"))
    assert listed.reason(case("test_f[2]")) == "it is odd"


def test_an_exception_may_be_for_all_cases_with_something_in_their_name() -> None:
    listed = parse(
        "suites/a/test_a.py::test_f\nexcept suites/a/test_a.py::test_f[*-shared]: the same page\n", "x"
    )
    assert listed.covers(case("test_f[left-private]"))
    assert not listed.covers(case("test_f[left-shared]"))
    assert listed.unknown([case("test_f[left-private]")]) == ["suites/a/test_a.py::test_f[*-shared]"]
    assert not listed.unknown([case("test_f[left-shared]")])


@pytest.mark.parametrize("line", ["except a::b", "except a::b:", "except a::b: "])
def test_an_exception_needs_a_reason(line: str) -> None:
    with pytest.raises(ValueError, match=r"x\.txt: no reason for an exception: except a::b"):
        parse(line, "x.txt")


@pytest.mark.parametrize(
    ("defect", "test", "why"),
    [
        ("gpu-idle", case("t", "store", "load"), "it declares load, store"),
        ("gpu-idle", case("t", "ioctl", "refusal"), ""),
        ("copies-zero", case("t", "cpu-fault"), "it declares cpu-fault"),
        ("copies-zero", case("t", "load", about="migrate.x"), "it is about migrate"),
        ("copies-zero", case("t", "query", about="migrate.x"), ""),
        ("copies-zero", case("t", "load", about="fault.x"), ""),
        ("ioctls-succeed", case("t", "query", "ioctl"), "it declares ioctl"),
        ("ioctls-succeed", case("t", "query"), ""),
        ("refusals-succeed", case("t", "refusal"), "it declares refusal"),
        ("refusals-succeed", case("t", "ioctl"), ""),
        ("ignore-munmap", case("t", "load", about="gc.x"), "it is about gc"),
        ("ignore-munmap", case("t", "load", source="buffer.munmap(0)"), "it calls munmap"),
        (
            "ignore-munmap",
            case("t", "load", source="b.madvise(mmap.MADV_DONTNEED)"),
            "it calls MADV_DONTNEED",
        ),
        ("ignore-munmap", case("t", "load", source="a munmap may come"), ""),
        ("ignore-mremap", case("t", "load", source="buffer.mremap(size)"), "it calls mremap"),
        ("ignore-mremap", case("t", "load", about="gc.x"), ""),
    ],
)
def test_a_rule_says_what_makes_the_claim(defect: str, test: Test, why: str) -> None:
    assert RULES[defect](test) == why


def test_a_test_that_makes_a_claim_has_to_be_listed_or_excepted() -> None:
    tests = [
        case("test_listed", "store"),
        case("test_excepted", "store"),
        case("test_new", "store"),
        case("test_no"),
    ]
    listed = Claims(of("test_listed"), {of("test_excepted")[0]: "because"})
    (problem,) = gaps("gpu-idle", listed, tests)
    assert problem.startswith(
        "gpu-idle.txt: suites/a/test_a.py::test_new is not in the list, though it declares store"
    )


def test_a_name_that_no_test_has_is_told() -> None:
    (problem,) = gaps("no-gc", Claims(of("test_gone", "test_f")), [case("test_f[1]")])
    assert problem.startswith("no-gc.txt: no such test: suites/a/test_a.py::test_gone")


def test_a_list_without_tests_is_no_control() -> None:
    (problem,) = gaps("no-gc", Claims(), [case("test_f")])
    assert problem.startswith("no-gc.txt: no test notices that ranges of memory that was unmapped")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (Result("FAIL", "it saw 0"), None),
        (Result("ERROR", "vacuous: it did nothing"), None),
        (Result("PASS"), "passes although it claims to notice"),
        (Result("NOT-CLAIMED", reason="NEEDS:vram"), "was not run (NEEDS:vram), which shows nothing,"),
        (
            Result("ERROR", "vram is expected", reason="EXPECTED:vram"),
            "was not run (EXPECTED:vram), which shows nothing,",
        ),
        (Result("ERROR", "backend: KeyError"), "ended as ERROR (backend: KeyError), which shows nothing,"),
        (Result("UNTESTED", reason="NEEDS:swap"), None),
        (Result("KNOWN", "a finding"), "ended as KNOWN (a finding), which shows nothing,"),
    ],
)
def test_a_verdict_names_test_and_defect(result: Result, said: str | None) -> None:
    expected = (
        [f"no-gc: a::b {said} that ranges of memory that was unmapped are never collected"] if said else []
    )
    assert verdicts("no-gc", {"a::b": result}) == expected


def test_a_verdict_names_cases_together() -> None:
    results = {
        "a::b[1]": Result("PASS"),
        "a::b[2]": FELL,
        "a::b[x y]": Result("PASS"),
        "a::c": Result("PASS"),
    }
    said = "passes although it claims to notice that ranges of memory that was unmapped are never collected"
    assert verdicts("no-gc", results) == [f"no-gc: a::b[1] [x y] {said}", f"no-gc: a::c {said}"]


@pytest.mark.parametrize("defect", defects())
def test_a_defect_says_what_it_breaks(defect: str) -> None:
    assert len(means(defect)) > 10
    assert "\n" not in means(defect)


class _Runs:
    """Replaces ``trial.run``: invented results, for each run in turn."""

    def __init__(self, *results: dict[str, Result]) -> None:
        self.results = list(results)
        self.asked: list[list[str]] = []

    def __call__(self, defect: str, tests: list[Test]) -> dict[str, Result]:
        self.asked.append([test.id.rpartition(":")[2] for test in tests])
        known = self.results.pop(0)
        return {test.id: known[test.id.rpartition(":")[2]] for test in tests}


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for lists that is not claims/."""
    monkeypatch.setattr(claims, "DIRECTORY", tmp_path)
    return tmp_path


def test_recording_lists_who_notices_and_tells_who_does_not(
    lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lists / "gpu-idle.txt").write_text(
        "except suites/a/test_a.py::test_kept: a person said so\n"
        "except suites/a/test_a.py::test_f[1]: [KNOWN: it did fail once]\n"
        "except suites/a/test_a.py::test_gone: it was removed\n"
        "suites/a/test_a.py::test_swap\n"
    )
    tests = [
        *(case(f"test_f[{n}]", "store") for n in (1, 2, 3)),
        *(
            case(name, "store")
            for name in ("test_weak", "test_kept", "test_absent", "test_swap", "test_swap_2")
        ),
        case("test_of_something_else", "ioctl"),
    ]
    runs = _Runs(
        {
            "test_f[1]": FELL,
            "test_f[2]": FELL,
            "test_f[3]": ABSENT,
            "test_weak": PASSED,
            "test_absent": ABSENT,
            "test_swap": SWAPLESS,
            "test_swap_2": SWAPLESS,
        }
    )
    monkeypatch.setattr(control, "run", runs)
    (weak,) = record("gpu-idle", tests)
    assert weak.startswith("suites/a/test_a.py::test_weak does not notice that the GPU executes nothing")
    assert weak.endswith("though it declares store")
    written = claims.read("gpu-idle")
    assert written.tests == of("test_f", "test_swap")
    assert written.exceptions == {
        of("test_kept")[0]: "a person said so",
        of("test_f[3]")[0]: "[NEEDS:pxp: no platform of the mock runs it]",
        of("test_absent")[0]: "[NEEDS:pxp: no platform of the mock runs it]",
        of("test_swap_2")[0]: "[NEEDS:swap: not runnable where this was recorded]",
    }


def test_without_a_rule_only_those_count_that_notice_it_again_and_soon(
    lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = [
        case(f"test_{name}") for name in ("good", "slow", "by_chance", "blind", "b[1]", "b[2]", "c", "d")
    ]
    late = Result("FAIL", "timed out after 5 s waiting for the release of VRAM")
    first = {test.function.rpartition(":")[2]: FELL for test in tests} | {
        "test_b[1]": FELL,
        "test_b[2]": FELL,
    }
    runs = _Runs(
        {**first, "test_slow": late, "test_blind": PASSED},
        {**first, "test_by_chance": PASSED},
    )
    monkeypatch.setattr(control, "run", runs)
    assert record("no-gc", tests) == []
    assert runs.asked[1] == ["test_good", "test_by_chance", "test_b[1]", "test_b[2]"], "three, with all cases"
    assert claims.read("no-gc").tests == of("test_good", "test_b")


@pytest.mark.parametrize(
    ("results", "not_run"),
    [({"test_f": SWAPLESS, "test_g": SWAPLESS}, "NEEDS:swap"), ({"test_f": SWAPLESS, "test_g": FELL}, "")],
    ids=["none", "some"],
)
def test_a_control_that_the_machine_cannot_run_says_so(
    lists: Path, monkeypatch: pytest.MonkeyPatch, results: dict[str, Result], not_run: str
) -> None:
    (lists / "no-gc.txt").write_text("".join(f"{name}\n" for name in of("test_f", "test_g")))
    monkeypatch.setattr(control, "run", _Runs(results))
    verdict = control.check("no-gc", [case("test_f"), case("test_g")])
    assert (verdict.problems, verdict.not_run) == ([], not_run)
