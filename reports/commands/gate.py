# SPDX-License-Identifier: MIT
"""``svmcts gate RUN``: accept or refuse a run."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from common import as_json, lab
from reports.commands.inputs import RUN, run_at, today, waivers_at
from reports.event import Outcome, counted
from reports.gate import Requirement, Verdict, judge
from reports.ledger import Ledger
from reports.said import said_once
from reports.stream import environments_of, label
from reports.verdict import DRIVER, failures

DESCRIPTION = """\
Refuses a run that did not finish, a failure that no waiver excuses, a vacuous test, an unexpected pass, a waiver that
expired or excuses nothing, a required capability that is missing; and, against a baseline, an environment that is
missing and a test without a verdict. Each refusal names file and line, and says what to do. Behaviours that the run did
not cover are listed, too. A failure of driver behaviour, which no document and no posting promises, is a regression of
the driver: it is listed, and refused with --promise driver.
"""
SOON = 14
"""Days before a waiver's last one in which it is mentioned."""
STATUS = "exit status: 0 accepted, 1 refused, 2 no answer"


def _requirement(text: str) -> Requirement:
    try:
        return Requirement.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(arguments: list[str]) -> int:
    """Exit status: 0 accepted, 1 refused, 2 no answer."""
    parser = argparse.ArgumentParser("svmcts gate", description=DESCRIPTION, epilog=STATUS)
    parser.add_argument("run", metavar="RUN", help=RUN)
    parser.add_argument("--baseline", metavar="RUN", help="a run that was accepted")
    parser.add_argument(
        "--waivers", metavar="FILE.toml", type=Path, help="failures that are known and accepted"
    )
    parser.add_argument(
        "--require",
        metavar="CAPABILITY",
        type=_requirement,
        action="append",
        default=[],
        help="refuse skips for lack of this capability: vram, or vram@mock/bmg* for some environments; "
        "may be repeated",
    )
    parser.add_argument(
        "--complete",
        action="store_true",
        help="refuse a run that left something out: behaviours that did not run, or could not be exercised",
    )
    parser.add_argument(
        "--promise",
        choices=[DRIVER],
        help="refuse regressions of driver behaviour, as well as failures of conformance",
    )
    lab.add_option(parser)
    as_json.add_option(parser)
    options = parser.parse_args(arguments)
    here = lab.find(options.lab)
    baseline, waivers = options.baseline or here.file("baseline"), options.waivers or here.file("waivers")
    verdict = judge(
        run_at(options.run),
        baseline=run_at(baseline) if baseline else None,
        waivers=waivers_at(waivers),
        require=options.require,
        today=today(),
        ledger=Ledger.load(),
        complete=options.complete,
        driver=options.promise == DRIVER,
    )
    status = int(bool(verdict.refusals))
    if options.json:
        return as_json.print_answer("gate", status, answer(verdict))
    print("\n".join(text(verdict)))
    return status


def text(verdict: Verdict) -> list[str]:
    """The verdict for a terminal."""
    lines = [str(refusal) for refusal in verdict.refusals]
    lines += _notes(verdict)
    for group in failures(verdict.regressions):
        where = f"{label(group)} ({environments_of(group)})"
        lines.append(f"driver: {group[0].outcome.value} {where}: {group[0].line or 'no message'}")
    left_out = dict.fromkeys(verdict.run.environments, ()) | {
        one.environment.name: one.lines for one in verdict.unseen
    }
    lines += [f"not seen: {said.where}: {said.text}" for said in said_once(left_out)]
    for name, standing in verdict.standings.items():
        both = f"conformance {standing.conformance}, {DRIVER} {standing.driver}"
        lines.append(f"passed / claimed / all: {name}: {both}")
    counts = Counter(result.outcome for result in verdict.run.results)
    said = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
    number = len(verdict.refusals)
    end = f"REFUSED for {number} reason{'s' * (number != 1)}" if number else "accepted"
    if spared := len(verdict.regressions):
        end += f", {spared} regression{'s' * (spared != 1)} of the driver not judged"
    return [*lines, f"{verdict.run.path}: {end} ({said or 'no results'})"]


def _notes(verdict: Verdict) -> list[str]:
    lines = []
    used = Counter(verdict.waived.by.values())
    for waiver, number in used.items():
        left = (waiver.expires - today()).days
        soon = f", {left} days left" if left <= SOON else ""
        results = f"{number} result{'s' * (number != 1)}"
        lines.append(
            f"note: {waiver.where} excuses {results} of {waiver.subject} until {waiver.expires}{soon}"
        )
    for environment in verdict.run.environments.values():
        lines += [f"note: {environment.name}: {line}" for line in environment.unexpected.values()]
    for waiver in verdict.waived.unused:
        lines.append(f"note: {waiver.where}: no test of {waiver.subject} is in this run, where it holds")
    return lines


def answer(verdict: Verdict) -> as_json.Row:
    """The verdict for programs."""
    used = Counter(verdict.waived.by.values())
    return {
        "run": verdict.run.path,
        "accepted": not verdict.refusals,
        "counts": counted(result.outcome for result in verdict.run.results),
        "scores": as_json.rows(
            {"environment": name, **standing.numbers} for name, standing in verdict.standings.items()
        ),
        "refusals": as_json.rows(
            {"file": r.path, "line": r.line, "what": r.what, "details": r.details, "todo": r.todo}
            for r in verdict.refusals
        ),
        "driver": as_json.rows(
            {"environment": r.env, "test": r.test, "outcome": r.outcome, "message": r.line or None}
            for r in verdict.regressions
        ),
        "waivers": as_json.rows(
            {
                "file": waiver.path,
                "line": waiver.line,
                "subject": waiver.subject,
                "excuses": used[waiver],
                "expires": waiver.expires,
            }
            for waiver in {*used, *verdict.waived.unused}
        ),
        "unexpected": as_json.rows(
            {"environment": environment.name, "capability": name, "why": line}
            for environment in verdict.run.environments.values()
            for name, line in environment.unexpected.items()
        ),
        "not_seen": as_json.rows(
            {
                "environment": one.environment.name,
                "behaviours": one.total,
                "not_run": dict(sorted(one.not_run.items())),
                "not_exercised": sorted(one.untested),
                "reduced": sorted(one.environment.reductions),
            }
            for one in verdict.unseen
        ),
    }
