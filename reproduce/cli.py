# SPDX-License-Identifier: MIT
"""``svmcts reproduce``: a failing test as a C program, and the report to send it with."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from common.answers import NoAnswerError
from common.near import near
from common.text import one_line
from ioctl import xe
from ioctl.compiler import CompileError, find_compiler
from ioctl.facts import digest
from reports.commands.inputs import what_there_is_at
from reports.event import Outcome, Result
from reports.ledger import Ledger
from reports.stream import CUT_OFF, Flaw, Run
from reproduce.bisected import introduced
from reproduce.mail import mail
from reproduce.minimise import minimised
from reproduce.program import Words, program
from reproduce.rate import RUNS, rate
from reproduce.recorded import Course, course
from reproduce.trial import place_of

DESCRIPTION = """\
Writes what a failing test of a run did as one C program: its ioctls, its memory operations, the batches of its queues,
its threads and children, and the check that failed. It needs libc and the uAPI headers, with --self-contained only
libc. The program ends with 1 where the fault is, 0 where it is not, 77 where it cannot tell (no device, no such
capability), 2 where something else went wrong. See docs/reproduce.md.
"""
STATUS = "exit status: 0 written; 2 no answer"
ROOT = Path(__file__).resolve().parent.parent
WRITTEN = (Outcome.FAIL, Outcome.ERROR, Outcome.KNOWN)
"""Outcomes of failed tests whose failure steps can show."""


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, 2 no answer."""
    options = _parser().parse_args(arguments)
    if options.runs is not None and (options.runs < 0 or not options.mail):
        raise NoAnswerError("--runs is a number of runs for --mail")
    run = what_there_is_at(options.run)
    result = result_of(run, options.test, options.env)
    found = course_of(run, result)
    if options.minimise:
        place = place_of(result.replay)
        if place is None:
            raise NoAnswerError(
                f"{result.env} is neither a mock nor a guest: --minimise tries programs in one of these only"
            )
        found, said = minimised(found, words_of(run, result), place, find_compiler())
        print(f"svmcts reproduce: {said}", file=sys.stderr)
    text = program_of(run, result, found, self_contained=options.self_contained)
    if options.mail:
        often = _often(run, result, found, RUNS if options.runs is None else options.runs)
        text = mail(run, result, text, often=often, change=introduced(result.test))
    if options.output is None:
        print(text, end="")
        return 0
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NoAnswerError(f"{options.output}: {error.strerror}") from None
    return 0


def _often(run: Run, result: Result, found: Course, runs: int) -> str:
    """How often the program shows the fault where the test failed, or why that is not known."""
    place = place_of(result.replay)
    if place is None:
        return f"not measured: {result.env} is neither a mock nor a guest"
    if not runs:
        return ""
    try:
        text = program_of(run, result, found, self_contained=True)
        return rate(text, place, find_compiler(), runs)
    except (NoAnswerError, CompileError) as error:
        return f"not measured: {error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("svmcts reproduce", description=DESCRIPTION, epilog=STATUS)
    add = parser.add_argument
    add("run", metavar="RUN", help="a results.jsonl, or the report folder that has one")
    add(
        "test", metavar="TEST", help="the node id of a test that failed in it, in quotes if it has parameters"
    )
    add("-o", "--output", type=Path, metavar="FILE", help="where to write it (default: standard output)")
    add("--env", metavar="NAME", help="the environment, if it failed in several: mock/bmg")
    add("--self-contained", action="store_true", help="define what it needs of the uAPI headers itself")
    add(
        "--minimise",
        action="store_true",
        help="leave out steps and cut sizes while it fails the same, on the mock or in the guest",
    )
    add("--mail", action="store_true", help="write a mail for the list, with the program behind it")
    add(
        "--runs",
        type=int,
        metavar="N",
        help=f"of --mail: run the program N times where the test failed (default: {RUNS}; 0: do not)",
    )
    return parser


def result_of(run: Run, test: str, env: str | None = None) -> Result:
    """The result of a test that failed; raises NoAnswerError, one line, if there is not exactly one to take."""
    named = [result for result in run.results if result.test == test]
    if env is not None and not any(result.env == env for result in run.results):
        known = ", ".join(sorted({result.env for result in run.results}))
        raise NoAnswerError(f"--env {env}: the run has {known}")
    if not named:
        raise NoAnswerError(_no_test(run, test))
    bad = [result for result in named if result.outcome in WRITTEN and env in (None, result.env)]
    if not bad:
        outcomes = ", ".join(f"{result.outcome.value} in {result.env}" for result in named)
        raise NoAnswerError(f"{test} did not fail: {outcomes}")
    if len({result.env for result in bad}) > 1:
        raise NoAnswerError(
            f"{test} failed in {', '.join(result.env for result in bad)}: choose one with --env"
        )
    return bad[-1]


def _no_test(run: Run, test: str) -> str:
    """Reason why a test cannot be found, with what to do."""
    damage = run.flaw(Flaw.DAMAGE, Flaw.CUT)
    rest = f"; {damage}" if damage else ""
    same = sorted({result.test for result in run.results if result.function == test.partition("[")[0]})
    failed = sorted({r.test for r in run.results if r.outcome in WRITTEN and r.test in same}) or same
    if not same:
        return f"the run has no test {test}{near(test, {one.function for one in run.results})}{rest}"
    if "[" not in test or any(one.split()[0] == test for one in same):
        return f"{test} has parameters: {shlex.quote(failed[0])}{_more(failed)}"
    return f"the run has no test {test}, but {shlex.quote(failed[0])}{_more(failed)}{rest}"


def _more(tests: Sequence[str]) -> str:
    return f" and {len(tests) - 1} more" if len(tests) > 1 else ""


def course_of(run: Run, result: Result) -> Course:
    """The steps of a result; raises NoAnswerError with the test's name."""
    try:
        return course(
            result.steps,
            result.message,
            header=run.suite.get("header", ""),
            own=digest(xe),
            cut=_cut(run, result),
        )
    except NoAnswerError as error:
        raise NoAnswerError(f"{result.test}: {error}") from None


def program_of(run: Run, result: Result, found: Course | None = None, *, self_contained: bool) -> str:
    """The program of a result, or of the steps that are left of it; raises NoAnswerError with the test's name."""
    found = found or course_of(run, result)
    try:
        return program(found, words_of(run, result), self_contained=self_contained)
    except NoAnswerError as error:
        raise NoAnswerError(f"{result.test}: {error}") from None


def _cut(run: Run, result: Result) -> str:
    """The missing part of a result, or the problem with its line; empty if there is none."""
    if result.message == CUT_OFF:
        return str(run.flaw(Flaw.DAMAGE, Flaw.CUT) or CUT_OFF)
    return next((str(problem) for problem in run.problems if problem.line == result.at and result.at), "")


def words_of(run: Run, result: Result) -> Words:
    """Comment of a program about a result."""
    ledger = Ledger.load()
    paragraphs = []
    for identifier in result.behaviours:
        if identifier in ledger:
            behaviour = ledger[identifier]
            where = ", ".join(behaviour.sources)
            paragraphs.append(f"{behaviour.statement.strip()} ({identifier}; {where})")
    environment = run.environments.get(result.env)
    kernel = environment.fields.get("kernel", "") if environment else ""
    return Words(
        title=result.test,
        behaviours=tuple(one_line(paragraph) for paragraph in paragraphs),
        seen=one_line(result.message) or "nothing",
        where=", ".join(filter(None, (result.env, f"Linux {kernel}" if kernel else ""))),
    )


def file_name(result: Result) -> str:
    """A name for the program of a result, from its test and environment."""
    function, _, parameters = result.test.partition("[")
    parts = [function.rpartition("/")[2].replace(".py::", "-"), parameters.removesuffix("]"), result.env]
    return re.sub(r"[^\w.-]+", "-", "-".join(filter(None, parts))).strip("-")[:120]
