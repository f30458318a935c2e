# SPDX-License-Identifier: MIT
"""Campaigns with a simulated builder and guest: each verdict, the control, and resumed campaigns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sensitivity.build import BuildError
from sensitivity.campaign import Campaign, LostError, Plan, Result, Store, sampled
from sensitivity.catalogue import Fault
from sensitivity.source import Edit

TEST, OTHER = "suites/a/test_a.py::test_one", "suites/a/test_a.py::test_two"
Script = list[dict[str, Any] | Exception]
ENDS: dict[str, Any] = {"end": "tests", "code": 0, "tainted": "0"}
CONTROL_ENDS = dict(ENDS)


def ran(test: str, outcome: str, why: str = "") -> Script:
    return [{"begins": test}, {"test": test, "outcome": outcome, "why": why}]


class PlayedBuilder:
    def edited(self, edits: Iterable[Edit]) -> dict[str, str]:
        return {edit.file: edit.put for edit in edits}

    def build(self, files: Mapping[str, str], out: Path) -> dict[str, Path]:
        if "broken" in files.values():
            raise BuildError("x.c:1: error: broken")
        return {"xe": out / "xe.ko"}


class PlayedGuest:
    """Answers orders from a list of scripts; of the driver without a fault, as ``control`` says."""

    def __init__(self, scripts: list[Script], control: str, kills: str = "") -> None:
        self.scripts, self.control, self.kills = scripts, control, kills
        self.orders: list[Mapping[str, Any]] = []
        self.closed = 0

    def order(self, order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self.orders.append(order)
        only: Script = []
        for test in order.get("only", ()):
            only += [{"begins": test}, LostError("hung")] if test == self.kills else ran(test, self.control)
        stock = order["modules"]["xe"] == "stock/xe.ko"
        for step in [*only, CONTROL_ENDS] if stock and "only" in order else self.scripts.pop(0):
            if isinstance(step, Exception):
                raise step
            yield step

    def close(self) -> None:
        self.closed += 1


def fault(name: str = "a", put: str = "x", file: str = "x.c") -> Fault:
    return Fault(name, "t", (Edit(file, "f", "a", put),), ("a.b",), "tests")


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., tuple[Store, PlayedGuest, list[str]]]:
    def judge(
        *scripts: Script, control: str = "passed", put: str = "x", count: int = 1
    ) -> tuple[Store, PlayedGuest, list[str]]:
        guest = PlayedGuest(list(scripts), control)
        plan = Plan({}, 100, 1, lambda _: ["suites/a/test_a.py"])
        store = Store.open(tmp_path / "results.jsonl")
        stock = {"xe": Path("stock/xe.ko"), "drm_gpusvm_helper": Path("stock/h.ko")}
        lots = Campaign(plan, PlayedBuilder(), lambda: guest, store, stock, tmp_path / "work")
        said: list[str] = []
        faults = [fault(f"f{number}", put) for number in range(count)]
        lots.run([(one, {"a.b": 0}) for one in faults], said.append, time.monotonic() + 1000)
        return store, guest, said

    return judge


@pytest.mark.parametrize(
    ("script", "verdict", "by", "after", "how"),
    [
        ([*ran(OTHER, "passed"), *ran(TEST, "failed", "assert 1"), ENDS], "found", TEST, 2, "assert 1"),
        ([*ran(OTHER, "passed"), *ran(TEST, "skipped"), ENDS], "missed", "", 2, "1 of 2 tests passed"),
        ([*ran(TEST, "skipped"), ENDS], "no-answer", "", 1, "no test passed"),
        ([ENDS], "no-answer", "", 0, "no test passed"),
        ([*ran(OTHER, "passed"), {"begins": TEST}, LostError("hung")], "found", TEST, 2, "hung"),
        ([{"begins": TEST}, {**ENDS, "code": -11}], "found", TEST, 1, "process died"),
        ([{"end": "remove", "why": "EBUSY", "tainted": "0"}], "no-answer", "", 0, "stays: EBUSY"),
    ],
    ids=["failed", "passed", "skipped", "none", "lost", "died", "remove"],
)
def test_verdict(judged: Any, script: Script, verdict: str, by: str, after: int, how: str) -> None:
    result = judged(script)[0].results["f0"]
    assert (result.verdict, result.by, result.after) == (verdict, by, after)
    assert how in result.how


def test_fault_that_does_not_compile_is_not_built(judged: Any) -> None:
    store, guest, _ = judged(put="broken")
    assert store.results["f0"].verdict == "not-built"
    assert not guest.orders


def test_modules_of_fault_and_of_control_are_loaded(judged: Any) -> None:
    _, guest, _ = judged([*ran(TEST, "failed"), ENDS])
    first, control = guest.orders
    assert first["modules"]["xe"].endswith("work/1/xe.ko")
    assert list(first["modules"]) == ["drm_gpusvm_helper", "xe"]
    assert control["modules"]["xe"] == "stock/xe.ko"
    assert control["only"] == [TEST]


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_test_that_the_driver_fails_without_a_fault_is_no_answer(judged: Any, outcome: str) -> None:
    store, _, _ = judged([*ran(TEST, "failed"), ENDS], control=outcome)
    assert store.verdict("f0") == "no-answer"


def test_guest_lost_in_the_control_costs_one_test(tmp_path: Path) -> None:
    guest = PlayedGuest([], "passed", kills=TEST)
    plan = Plan({}, 100, 1, lambda _: ["suites/a/test_a.py"])
    store = Store.open(tmp_path / "results.jsonl")
    for name, by in (("a", TEST), ("b", OTHER)):
        store.add(Result(name, "found", by=by))
    stock = {"xe": Path("stock/xe.ko"), "drm_gpusvm_helper": Path("stock/h.ko")}
    campaign = Campaign(plan, PlayedBuilder(), lambda: guest, store, stock, tmp_path)
    said: list[str] = []
    campaign.check(said.append)
    assert store.control == {TEST: "lost", OTHER: "passed"}
    assert said[1:] == [f"control: {TEST}: hung"]


def test_found_needs_the_control(tmp_path: Path) -> None:
    store = Store(tmp_path / "r")
    store.add(Result("a", "found", by=TEST))
    assert store.verdict("a") == "no-answer"
    store.add_control(TEST, "passed")
    assert store.verdict("a") == "found"
    assert store.verdict("b") is None


@pytest.mark.parametrize(
    ("tainted", "guests"), [(0, 1), (1 << 9, 1), (1 << 7, 2)], ids=["no", "warned", "oops"]
)
def test_guest_is_kept_unless_its_kernel_had_an_oops(judged: Any, tainted: int, guests: int) -> None:
    first: Script = [*ran(TEST, "passed"), {**ENDS, "tainted": str(tainted)}]
    assert judged(first, [*ran(TEST, "passed"), ENDS], count=2)[1].closed == guests


@pytest.mark.parametrize(("control", "closed"), [("passed", 1), ("known", 1), ("failed", 3), ("skipped", 3)])
def test_guest_is_used_again_if_the_driver_passes_the_test_in_it(
    judged: Any, control: str, closed: int
) -> None:
    """Else there is one guest for each fault, and one for the control."""
    found = [*ran(TEST, "failed"), ENDS]
    store, guest, _ = judged(found, found, count=2, control=control)
    assert guest.closed == closed
    assert store.control == {TEST: control}
    assert [order["modules"]["xe"] for order in guest.orders][1] == "stock/xe.ko"


def test_guest_whose_kernel_had_an_oops_in_the_control_is_not_used_again(
    judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [*ran(TEST, "failed"), ENDS]
    monkeypatch.setitem(CONTROL_ENDS, "tainted", str(1 << 7))
    assert judged(found, found, count=2)[1].closed == 2


DOES_NOT_LOAD: Script = [{"step": "load"}, {"end": "load", "why": "EINVAL", "tainted": "0"}]


@pytest.mark.parametrize(
    "script",
    [DOES_NOT_LOAD, [LostError("lost")], [{"step": "load"}, LostError("hung")]],
    ids=["load", "start", "hung"],
)
@pytest.mark.parametrize(
    ("without", "verdict"),
    [([ENDS], "found"), (DOES_NOT_LOAD, "no-answer"), ([LostError("lost")], "no-answer")],
    ids=["loads", "does-not-load", "lost"],
)
def test_module_that_does_not_load_is_found_if_the_one_without_a_fault_loads(
    judged: Any, script: Script, without: Script, verdict: str
) -> None:
    store, guest, _ = judged(script, without)
    assert store.verdict("f0") == verdict
    assert guest.orders[1]["modules"]["xe"] == "stock/xe.ko"


def test_driver_that_stays_is_not_held_against_the_next_fault(judged: Any) -> None:
    first: Script = [*ran(TEST, "passed"), ENDS]
    stays: Script = [{"end": "remove", "why": "EAGAIN", "tainted": "0"}]
    store, guest, _ = judged(first, stays, [*ran(OTHER, "failed"), ENDS], count=2)
    assert (store.verdict("f0"), store.verdict("f1")) == ("missed", "found")
    assert guest.orders[1] == guest.orders[2]


@pytest.mark.parametrize(("again", "verdict"), [("failed", "found"), ("passed", "no-answer")])
@pytest.mark.parametrize(
    "why", ["Failed: timed out after 4 s waiting for the fence", "Failed: the test did not end within 20 s"]
)
def test_test_that_timed_out_has_to_do_so_twice(judged: Any, why: str, again: str, verdict: str) -> None:
    store, guest, _ = judged(
        [*ran(OTHER, "passed"), *ran(TEST, "failed", why), ENDS], [*ran(TEST, again), ENDS]
    )
    assert store.verdict("f0") == verdict
    assert guest.orders[1]["only"] == [TEST]
    assert guest.orders[1]["modules"] == guest.orders[0]["modules"]


def test_results_are_read_again_without_a_line_that_was_cut_off(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.jsonl")
    store.add(Result("a", "found", by=TEST, after=3))
    store.add_control(TEST, "passed")
    with store.path.open("a") as file:
        file.write('{"fault": "b", "verd')
    again = Store.open(store.path)
    assert again.results == {"a": Result("a", "found", by=TEST, after=3)}
    assert again.control == {TEST: "passed"}


def test_no_time_no_fault(tmp_path: Path) -> None:
    guest = PlayedGuest([], "passed")
    store = Store(tmp_path / "r")
    lots = Campaign(Plan({}, 1, 1, lambda _: []), PlayedBuilder(), lambda: guest, store, {}, tmp_path)
    said: list[str] = []
    lots.run([(fault(), {})], said.append, time.monotonic() - 1)
    assert said == ["out of time: 1 faults are left"]
    assert not store.results


def test_sample_is_even_and_the_same_for_a_seed() -> None:
    faults = [fault(f"{file}{number}", file=f"{file}.c") for file in "ab" for number in range(5)]
    chosen = sampled(faults, 4, 1)
    assert sorted(one.edits[0].file for one in chosen) == ["a.c", "a.c", "b.c", "b.c"]
    assert chosen == sampled(faults, 4, 1)
