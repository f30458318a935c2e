# SPDX-License-Identifier: MIT
"""The gate before a merge. Every refusal has file and line, the problem, and what to do."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.near import near_glob, near_or_all
from common.place import resume_command
from reports.compare import Comparison, Kind, compare
from reports.event import Outcome, Result
from reports.ledger import Ledger
from reports.stream import CUT_OFF, STREAM, Run, label
from reports.unseen import Unseen, unseen
from reports.verdict import Standing, is_regression, matrix
from reports.waivers import Waived, Waiver, apply, matches, speaks

STATUS_OF_VERDICTS = 1
"""pytest's exit status when tests failed; higher ones mean that the run did not complete."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason to refuse."""

    path: Path
    line: int
    what: str
    todo: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.path}:{self.line}: {self.what}", *(f"    {detail}" for detail in self.details)]
        return "\n".join([*lines, f"    to do: {self.todo}"])


@dataclass(frozen=True, slots=True)
class Verdict:
    """Answer of the gate."""

    refusals: tuple[Refusal, ...]
    run: Run
    """The run, with waived results as KNOWN."""
    waived: Waived
    comparison: Comparison | None
    unseen: tuple[Unseen, ...] = ()
    """Parts that the run did not cover."""
    regressions: tuple[Result, ...] = ()
    """Failures of driver behaviour, which were not judged."""
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """The scores of each environment, by its name."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A capability that no test may lack, in environments whose name matches: ``vram``, ``vram@mock/bmg*``."""

    capability: str
    environments: str

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Raises ValueError."""
        capability, _, environments = text.partition("@")
        if not capability:
            raise ValueError(f"{text!r} names no capability: write vram, or vram@mock/bmg*")
        return cls(capability, environments or "*")


def judge(
    run: Run,
    *,
    baseline: Run | None = None,
    waivers: Sequence[Waiver] = (),
    require: Iterable[Requirement] = (),
    today: datetime.date,
    ledger: Ledger | None = None,
    complete: bool = False,
    driver: bool = False,
) -> Verdict:
    """Judge a finished run. With a ledger, behaviours that it did not cover are listed, and refused with ``complete``.

    The ledger also separates conformance from driver behaviour, whose failures are refused with ``driver``.
    """
    waived = apply(waivers, run.results, dict(run.environments), today)
    judged = replace(run, results=waived.results)
    comparison = compare(baseline, judged) if baseline is not None else None

    def spared(result: Result) -> bool:
        return ledger is not None and not driver and is_regression(result, ledger)

    gated = replace(judged, results=tuple(r for r in judged.results if not spared(r)))
    refusals = [
        *_unfinished(run),
        *_lacking(run),
        *_failures(gated, waived, today),
        *_waivers(waivers, waived, today),
        *(refusal for requirement in require for refusal in _required(judged, requirement)),
        *(_against(judged, baseline, comparison) if baseline is not None and comparison is not None else ()),
    ]
    verdicts = matrix(judged, ledger) if ledger is not None else None
    left_out = unseen(verdicts) if verdicts is not None else []
    if complete:
        refusals += [refusal for one in left_out for refusal in _incomplete(run, one)]
    return Verdict(
        tuple(refusals),
        judged,
        waived,
        comparison,
        tuple(left_out),
        tuple(filter(spared, judged.results)),
        verdicts.standings if verdicts is not None else {},
    )


def _unfinished(run: Run) -> Iterable[Refusal]:
    """An incomplete run proves nothing about the rest."""
    again = f"finish it: {resume_command(_folder(run))}"
    if not run.lines:
        yield Refusal(run.path, 1, "the stream is empty: no test ran", "run the suite")
        return
    for problem in run.problems:
        yield Refusal(run.path, problem.line or run.lines, problem.what, again)
    if run.exit is not None and not 0 <= run.exit <= STATUS_OF_VERDICTS:
        yield Refusal(run.path, run.lines, f"the run {ending(run.exit)}", again)
    lacking = any(environment.missing for environment in run.environments.values())
    failed = lacking or any(_fails(result) for result in run.results)
    if run.exit == STATUS_OF_VERDICTS and run.results and not failed:
        what = "the run ended with exit status 1, and no result says why"
        yield Refusal(run.path, run.lines, what, "run it again and read what pytest prints at its end")
    if not run.results and run.exit is not None:
        yield Refusal(run.path, run.lines, "the run has no result of any test", "run the suite")
    not_run = [result for result in run.results if result.outcome is Outcome.NOTRUN]
    for env, results in _by_environment(not_run).items():
        what = f"{env}: {_tests(len(results))} did not run, the first is {results[0].test}"
        yield Refusal(run.path, results[0].at, what, again)


def ending(status: int) -> str:
    """How a run ended, from pytest's exit status."""
    meaning = {2: "it was interrupted", 3: "an internal error", 4: "a usage error", 5: "no test ran"}
    return f"ended with exit status {status}: {meaning.get(status, 'not a status of pytest')}"


def _lacking(run: Run) -> Iterable[Refusal]:
    """Expected capabilities that an environment lacks: no waiver excuses that."""
    for environment in run.environments.values():
        for name, line in environment.missing.items():
            tests = [r.test for r in run.results if r.env == environment.name and r.lacking == name]
            details = (f"{_tests(len(tests))} could not run, the first is {tests[0]}",) if tests else ()
            todo = "find out what lost it; if it is meant to be gone, say so in a file for pytest --expect"
            yield Refusal(run.path, environment.at or 1, f"ERROR {environment.name}: {line}", todo, details)


def _fails(result: Result) -> bool:
    return result.outcome.bad or result.outcome is Outcome.NOTRUN or result.vacuous


def _failures(run: Run, waived: Waived, today: datetime.date) -> Iterable[Refusal]:
    """Failures; parameters of a test that fail alike in an environment are one refusal."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in run.results:
        if result.lacking in run.environments[result.env].missing:
            continue
        if result.vacuous or result.outcome in (Outcome.FAIL, Outcome.ERROR, Outcome.XPASS):
            near = waived.near.get((result.env, result.test))
            groups.setdefault((result.env, result.function, result.signature, near), []).append(result)
    for group in groups.values():
        first = group[0]
        details = []
        if len(group) > 1:
            details.append(f"and in lines {', '.join(str(result.at) for result in group[1:])}")
        if first.about:
            details.append(f"behaviour: {', '.join(first.about)}")
        if first.replay:
            details.append(f"again: {first.replay}")
        what, todo = _failure(first, f"{first.env} {label(group)}", waived, today)
        yield Refusal(run.path, first.at, what, todo, tuple(details))


def _failure(result: Result, where: str, waived: Waived, today: datetime.date) -> tuple[str, str]:
    """The problem, and what to do."""
    if result.vacuous:
        return (
            f"vacuous: {where} did not do what it declares ({', '.join(_missing(result))})",
            "repair the test: no waiver excuses a test that does not act",
        )
    if result.outcome is Outcome.XPASS:
        return (
            f"unexpected pass: {where}: {result.line or 'it is marked as failing'}",
            "remove the expectation (@known or xfail) from the test, and its entry in docs/findings.md",
        )
    return (
        f"{result.outcome.value} {where}: {result.line or 'no message'}",
        _about(result, waived.near.get((result.env, result.test)), today),
    )


def _missing(result: Result) -> list[str]:
    return [kind for kind in result.declared if not result.acts.get(kind)] or ["nothing was declared"]


def _about(result: Result, waiver: Waiver | None, today: datetime.date) -> str:
    if result.message == CUT_OFF:
        return "finish the run, which does it again; if it ends the run again, fix it"
    if waiver is None:
        if not speaks(result.line):
            return (
                "fix it: its message says too little for a waiver, give it one that names what was compared"
            )
        # A string of JSON is one of TOML.
        signature = json.dumps(result.signature.partition(": ")[2], ensure_ascii=False)
        return f"fix it, or waive it with signature = {signature}"
    if waiver.expired(today) and waiver.excuses(result):
        return (
            f"fix it: its waiver {waiver.where} expired on {waiver.expires} ({waiver.owner}, {waiver.link})"
        )
    return f'fix it: the waiver {waiver.where} is for another failure, "{waiver.signature}"'


def _waivers(waivers: Iterable[Waiver], waived: Waived, today: datetime.date) -> Iterable[Refusal]:
    for waiver in waivers:
        about = f"the waiver of {waiver.subject}"
        if waiver in waived.stale:
            what = f"{about} excuses nothing: every test that it is about passes here"
            yield Refusal(waiver.path, waiver.line, what, "delete it")
        elif waiver.expired(today):
            what = f"{about} expired on {waiver.expires}"
            todo = f"fix what it excuses and delete it, or agree on another day with {waiver.owner} ({waiver.link})"
            yield Refusal(waiver.path, waiver.line, what, todo)


def _required(run: Run, requirement: Requirement) -> Iterable[Refusal]:
    name = requirement.capability
    environments = [e for e in run.environments.values() if matches(requirement.environments, e.name)]
    if not environments:
        what = f"no environment is called {requirement.environments}, of which {name} is required"
        meant = near_glob(requirement.environments, run.environments)
        yield Refusal(run.path, run.lines or 1, what, f"run it, or correct --require{meant}")
    codes = {f"NEEDS:{name}", f"REQUIRED:{name}"}
    for environment in environments:
        skipped = [
            result
            for result in run.results
            if result.env == environment.name
            and result.reason_code in codes
            and result.outcome in (Outcome.NOT_CLAIMED, Outcome.UNTESTED)
        ]
        if skipped:
            first = skipped[0]
            what = f"{environment.name}: {_tests(len(skipped))} skipped for lack of {name}: {first.reason}"
            yield Refusal(run.path, first.at, what, f"run it with {name}, or do not require it")
        elif environment.lacks(name):
            why = environment.absent.get(name, "the environment lacks it")
            what = f"{environment.name} has no {name}: {why}"
            yield Refusal(run.path, environment.at or 1, what, f"run it with {name}, or do not require it")
        elif name not in environment.capabilities:
            meant = near_or_all(name, environment.capabilities)
            what = f"{environment.name} does not say whether it has {name}"
            yield Refusal(run.path, environment.at or 1, what, f"correct --require{meant}")


def _against(run: Run, baseline: Run, comparison: Comparison) -> Iterable[Refusal]:
    """Results that the baseline has and the run lacks; its failures are judged already."""
    for name in comparison.missing:
        what = f"environment {name} of the baseline is missing"
        at = baseline.environments[name].at or 1
        yield Refusal(baseline.path, at, what, f"run it too, or take a baseline without {name}")
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for change in comparison.of(Kind.UNTESTED):
        new = change.new
        why = f"{new.outcome.value} {new.line}" if new else "the test is gone"
        if new is None or new.outcome is not Outcome.NOTRUN:
            groups.setdefault((change.result.env, why, "new" if new else "base"), []).append(change.result)
    for (env, why, side), results in groups.items():
        what = f"{env}: {_tests(len(results))} judged in the baseline, but not here: {why}"
        path = run.path if side == "new" else baseline.path
        details = tuple(result.test for result in results[:5])
        more = (f"and {len(results) - 5} more",) if len(results) > 5 else ()
        todo = "find out why, and run them; if that is meant, take this run for the baseline"
        yield Refusal(path, results[0].at, what, todo, (*details, *more))


def _incomplete(run: Run, left_out: Unseen) -> Iterable[Refusal]:
    for line in left_out.lines:
        what = f"{left_out.environment.name}: {line}"
        todo = "run all of the suite where nothing is reduced, or leave --complete out"
        yield Refusal(run.path, left_out.environment.at or 1, what, todo)


def _by_environment(results: Iterable[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.env, []).append(result)
    return found


def _tests(number: int) -> str:
    return f"{number} test{'s' * (number != 1)}"


def _folder(run: Run) -> Path:
    return run.path.parent if run.path.name == STREAM else run.path
