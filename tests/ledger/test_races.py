# SPDX-License-Identifier: MIT
"""Races that are left to chance report their overlap; the order of all others is arranged."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from reports.marks import SUITES

CHANCE = {"meanwhile", "together", "in_flight"}
"""Functions that count the act "overlap" (fixtures.overlap)."""
ARRANGED = {
    "Userfault",
    "gate",
    "semaphore_wait",
    "fork_while_a_batch_stores",
    "interruptions",
    "locked",
    "invalidating",
}
NO_RACE = {"race.lock-order"}
"""Tests of the area that are not about two sides."""
"""Functions that hold one side until the other has reached its place."""
THREADS = {"Thread", "Barrier"}
WITH_THREADS = {
    "suites/bind/test_waiting.py": "a userfaultfd holds VM_BIND",
    "suites/fault/test_pointer.py": "a thread that lends its stack",
    "suites/locking_race/test_memory.py": "a userfaultfd holds the GPU's fault",
    "suites/notifier/test_order.py": "munmap is asleep before the gate is opened",
    "suites/pagemap_lifetime/test_lifetime.py": "signals, which are seen to arrive",
    "suites/userptr/test_running.py": "the call is asleep before the batch continues",
    "suites/userptr/test_userptr.py": "pipes order parent and child",
}
"""Suites that start threads by themselves, and what orders those."""


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Each test function, with the file that has it."""
    for path in sorted(SUITES.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield str(path.relative_to(SUITES.parent)), node


def words(node: ast.AST, mark: str) -> set[str]:
    """The words of a mark of a function."""
    return {
        argument.value
        for decorator in getattr(node, "decorator_list", ())
        for call in ast.walk(decorator)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == mark
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


def names(node: ast.FunctionDef) -> set[str]:
    """Names and attributes in the body of a function, and its arguments."""
    used = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    used |= {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    return used | {argument.arg for argument in node.args.args}


def test_races_left_to_chance_declare_their_overlap() -> None:
    found = [f"{file}::{node.name}" for file, node in functions() if "overlap" in words(node, "acts")]
    assert len(found) > 20
    wrong = [
        f"{file}::{node.name}"
        for file, node in functions()
        if bool(CHANCE & names(node)) != ("overlap" in words(node, "acts"))
    ]
    assert not wrong, '@acts("overlap") and what counts it belong together:\n' + "\n".join(wrong)


def test_every_race_is_arranged_or_reports_its_overlap() -> None:
    wrong = [
        f"{file}::{node.name}"
        for file, node in functions()
        if any(one.startswith("race.") for one in words(node, "behaviour") - NO_RACE)
        and not names(node) & (CHANCE | ARRANGED)
    ]
    assert not wrong, "\n".join(wrong)


def test_random_steps_say_which_behaviours_they_met() -> None:
    """Each behaviour of a stateful test is exercised by a step, and only proved then."""
    found = 0
    for file, node in functions():
        if file.startswith("suites/stateful/"):
            found += 1
            marks = {one.id for one in node.decorator_list if isinstance(one, ast.Name)}
            assert "only_if_exercised" in marks, f"{file}::{node.name}"
            code = (SUITES.parent / file).read_text(encoding="utf-8")
            met = code.partition(f"\ndef {node.name}")[0].rpartition("@behaviour(")[0]
            # ids of prefetch of holes are formed from parts
            steps = {word for word in words(node, "behaviour") if word.rpartition(".")[2] in met}
            assert steps == words(node, "behaviour"), f"{file}: {words(node, 'behaviour') - steps}"
    assert found == 2


def test_threads_of_suites_are_ordered() -> None:
    """A thread that nothing orders is one of fixtures.overlap."""
    started = {file for file, node in functions() if THREADS & names(node)}
    others = {
        str(path.relative_to(SUITES.parent))
        for path in SUITES.rglob("*.py")
        if "threading.Thread(" in path.read_text(encoding="utf-8")
    }
    assert started | others == set(WITH_THREADS)
    assert all((Path(SUITES.parent) / file).exists() for file in WITH_THREADS)
