# SPDX-License-Identifier: MIT
"""A control: tests in the list of a defect must not pass under it, and tests that a rule requires are in the list."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from inspect import getdoc

from mock.defects import find
from tests.controls import claims
from tests.controls.claims import Claims
from tests.controls.inventory import Test
from tests.controls.rules import RULES
from tests.controls.trial import Result, run

_OF_A_FILE = 3
"""Tests of a file that are listed for a defect without a rule."""

RECORD = "python -m tests.controls --record"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Result of a control."""

    problems: list[str]
    """Problems, one line each."""
    not_run: str = ""
    """Reason why this machine could run none of the tests; then the control showed nothing."""


def check(defect: str, tests: Collection[Test]) -> Verdict:
    """Run the control of a defect."""
    listed = claims.read(defect)
    problems = gaps(defect, listed, tests)
    selected = [test for test in tests if listed.covers(test)]
    try:
        results = run(defect, selected)
    except RuntimeError as error:
        return Verdict([*problems, f"{defect}: {error}"])
    untested = {result.reason for result in results.values() if result.outcome == "UNTESTED"}
    nothing_ran = all(result.outcome == "UNTESTED" for result in results.values())
    return Verdict(problems + verdicts(defect, results), ", ".join(sorted(untested)) if nothing_ran else "")


def gaps(defect: str, listed: Claims, tests: Collection[Test]) -> list[str]:
    """Missing and surplus entries of a list."""
    problems = [
        f"{claims.path_of(defect).name}: no such test: {name} ({RECORD} {defect})"
        for name in listed.unknown(tests)
    ]
    if not any(listed.covers(test) for test in tests):
        problems.append(
            f"{claims.path_of(defect).name}: no test notices that {means(defect)} ({RECORD} {defect})"
        )
    rule = RULES.get(defect)
    for test in tests:
        why = rule(test) if rule else ""
        if why and not listed.covers(test) and listed.reason(test) is None:
            problems.append(
                f"{claims.path_of(defect).name}: {test.id} is not in the list, though {why} "
                f"({RECORD} {defect}, or an exception with its reason)"
            )
    return problems


def verdicts(defect: str, results: Mapping[str, Result]) -> list[str]:
    """Tests of the list that did not notice the defect, except those that the machine cannot run."""
    failings: dict[tuple[str, str], list[str]] = {}
    for test, result in results.items():
        if not result.noticed and result.outcome != "UNTESTED":
            function, bracket, case = test.partition("[")
            failings.setdefault((function, _failing(result)), []).append(bracket + case)
    return [
        f"{defect}: {function}{' '.join(cases)} {failing} that {means(defect)}"
        for (function, failing), cases in failings.items()
    ]


def _failing(result: Result) -> str:
    if result.outcome == "PASS":
        return "passes although it claims to notice"
    if result.reason:
        return f"was not run ({result.reason}), which shows nothing,"
    return (
        f"ended as {result.outcome}{f' ({result.message})' if result.message else ''}, which shows nothing,"
    )


def record(defect: str, tests: Collection[Test]) -> list[str]:
    """Rewrite the list of a defect, for review. Returns the tests that a rule requires and that did not notice
    the defect: they are left out, and must be strengthened, or excepted with a reason.

    Exceptions that were made by hand stay, as do tests that this machine cannot run. Raises RuntimeError if a
    run could not be completed.
    """
    old = claims.read(defect)
    rule, kept = RULES.get(defect), old.by_hand()
    wanted = [test for test in tests if rule is None or rule(test)]
    candidates = [test for test in wanted if kept.reason(test) is None]
    results = run(defect, candidates)
    noticing = [
        test
        for test in candidates
        if results[test.id].noticed or (results[test.id].outcome == "UNTESTED" and old.covers(test))
    ]
    if rule is None:
        noticing = _dependable(defect, noticing, results)
    # A case that no platform here can run does not keep its function out of the list.
    ran = [test for test in tests if test.id not in results or not results[test.id].elsewhere]
    names = claims.collapse({test.id for test in noticing}, ran)
    gone = set(kept.unknown(tests))
    exceptions = {name: why for name, why in kept.exceptions.items() if name not in gone}
    for test in candidates:
        if rule and test not in noticing and (why := _cannot_show(results[test.id])):
            exceptions[test.id] = f"[{why}]"
    claims.write(defect, _head(defect), Claims(tuple(names), exceptions))
    if rule is None:
        return [] if noticing else [f"no test notices that {means(defect)}"]
    return [
        f"{test.id} does not notice that {means(defect)}, though {rule(test)}"
        for test in candidates
        if test not in noticing and test.id not in exceptions
    ]


def _dependable(defect: str, noticing: list[Test], results: Mapping[str, Result]) -> list[Test]:
    """A few tests of each file that noticed a defect, both in a run of all tests and in a separate run.

    So leftovers of earlier tests are not the reason. Tests that only timed out are left out if there are others,
    as each would take its whole deadline in the control.
    """
    functions: dict[str, list[str]] = {}
    for test in [test for test in noticing if not results[test.id].waited] or noticing:
        of_file = functions.setdefault(test.file, [])
        if test.function not in of_file:
            of_file.append(test.function)
    few = {function for of_file in functions.values() for function in of_file[:_OF_A_FILE]}
    chosen = [test for test in noticing if test.function in few]
    again = run(defect, chosen) if chosen else {}
    return [test for test in chosen if again[test.id].noticed]


def _cannot_show(result: Result) -> str:
    """Reason why a test can show nothing on this machine, or an empty string."""
    if result.outcome in ("KNOWN", "XPASS"):
        return "KNOWN: it fails on the intact mock"
    if result.outcome == "NOT-CLAIMED":
        return f"{result.reason}: no platform of the mock runs it"
    if result.outcome == "UNTESTED":
        return f"{result.reason}: not runnable where this was recorded"
    return ""


def means(defect: str) -> str:
    """Problem under a defect, as the end of a sentence."""
    text = (getdoc(find(defect)) or "").strip().partition("\n\n")[0].replace("\n", " ").rstrip(".")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _head(defect: str) -> str:
    who = (
        "Tests that must not pass: all that tests/controls/rules.py requires."
        if defect in RULES
        else "Tests that notice it."
    )
    return f"{defect}: {(getdoc(find(defect)) or '').strip()}\n{who}\nWritten by {RECORD} {defect}"
