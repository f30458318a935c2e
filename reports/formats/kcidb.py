# SPDX-License-Identifier: MIT
"""KCIDB, the report database of KernelCI: I/O schema 5.3, to be sent with its own client.

A kernel is a checkout and a build, a test in an environment a test, a waiver an issue with an incident for each failure
that it excuses. Data without a field in the schema is under ``misc``.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reports import tested
from reports.event import Environment, Outcome, Result
from reports.ledger import Ledger
from reports.merge import Report
from reports.stream import Run
from reports.tested import NOT_KNOWN, Commit
from reports.verdict import Standing, matrix, nobody_promises
from reports.waivers import Waiver

VERSION = {"major": 5, "minor": 3}
ORIGIN = "svmcts"
MAX_EXCERPT = 16384

_STATUS = {
    Outcome.PASS: "PASS",
    Outcome.FAIL: "FAIL",
    Outcome.KNOWN: "FAIL",
    Outcome.XPASS: "PASS",
    Outcome.ERROR: "ERROR",
    Outcome.NOTRUN: "MISS",
    Outcome.UNTESTED: "SKIP",
    Outcome.NOT_CLAIMED: "SKIP",
}


@dataclass(frozen=True, slots=True)
class Submission:
    """Options about the sender and the tested kernel."""

    origin: str = ORIGIN
    """Name of the submitting system, as agreed with KernelCI."""
    checkout: str = ""
    """Id of the checkout, if it was reported elsewhere; its origin is before the colon."""
    build: str = ""
    """Id of the build, likewise."""
    commit: Commit = NOT_KNOWN
    """The commit that was tested."""
    tree: str = ""
    """Name of the tree of the commit, for example mainline."""


_NOTHING_KNOWN = Submission()
_IDENTIFIER = re.compile(r"[a-z0-9_]+:.+")


def submission(
    origin: str = "", checkout: str = "", build: str = "", commit: str = "", tree: str = ""
) -> Submission:
    """Check the user's options; raises ValueError with what to write instead."""
    if not re.fullmatch(r"[a-z0-9_]+", origin or ORIGIN):
        raise ValueError(f"origin {origin!r} has to be lower-case letters, digits and underscores")
    for name, value in (("checkout", checkout), ("build", build)):
        if value and not _IDENTIFIER.fullmatch(value):
            raise ValueError(f"{name} {value!r} has to be ORIGIN:ID, as KCIDB has it")
    return Submission(origin or ORIGIN, checkout, build, tested.commit(commit), tree)


def kcidb(report: Report, ledger: Ledger, about: Submission = _NOTHING_KNOWN) -> str:
    """The whole document, as JSON; an object a line, as there are many."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    checkouts: list[str] = []
    builds: list[str] = []
    tests: list[str] = []
    incidents: list[str] = []
    waivers: dict[Waiver, None] = {}
    standings = matrix(report, ledger).standings
    for name, environment in report.environments.items():
        run = report.run_of[name]
        checkout, build = _kernel(environment, run, standings[name], about)
        if not (about.checkout or about.build):
            checkouts.append(encode(checkout))
        if not about.build:
            builds.append(encode(build))
        for number, result in enumerate(r for r in report.listed if r.env == name):
            test = _test(result, environment, run, about.build or build["id"], number, ledger, about.origin)
            tests.append(encode(test))
            waiver = report.waived.by.get((result.env, result.test))
            if waiver is not None:
                waivers[waiver] = None
                incidents.append(encode(_incident(waiver, test["id"], about.origin)))
    document = {"checkouts": checkouts, "builds": builds, "tests": tests}
    if waivers:
        issues = [encode(_issue(waiver, about.origin)) for waiver in waivers]
        document |= {"issues": issues, "incidents": incidents}
    parts = [f'"version":{encode(VERSION)}']
    parts += [f'"{name}":[\n' + ",\n".join(objects) + "\n]" for name, objects in document.items()]
    return "{" + ",\n".join(parts) + "}\n"


def _kernel(
    environment: Environment, run: Run, standing: Standing, about: Submission
) -> tuple[dict[str, Any], dict[str, Any]]:
    release = environment.fields.get("kernel", "unknown")
    identifier = _id(about.origin, run.start, environment.name, release)
    checkout = {
        "id": identifier,
        "origin": about.origin,
        "tree_name": about.tree or _tree(environment),
        **({"git_commit_hash": commit} if (commit := about.commit.of(environment)) else {}),
        "git_commit_name": release,
        "comment": f"kernel {release} as run by svm-cts in {environment.name}",
        "valid": True,
    }
    build = {
        "id": identifier,
        "checkout_id": about.checkout or identifier,
        "origin": about.origin,
        "architecture": "x86_64",
        "status": "PASS",
        "comment": environment.name,
        "misc": {
            "environment": dict(environment.fields),
            "capabilities": dict(environment.capabilities),
            "devices": [dict(device) for device in environment.devices],
            "suite": dict(run.suite),
            "seed": run.seed,
            "command": list(run.command),
            "behaviours": standing.numbers,
        },
    }
    return checkout, build


def _tree(environment: Environment) -> str:
    backend = environment.fields.get("backend", "unknown")
    return "mock" if backend == "mock" else environment.fields.get("machine", "unknown")


def _test(
    result: Result, environment: Environment, run: Run, build: str, number: int, ledger: Ledger, origin: str
) -> dict[str, Any]:
    test: dict[str, Any] = {
        "id": _id(origin, run.start, result.env, result.test, str(number)),
        "build_id": build,
        "origin": origin,
        "path": path_of(result),
        "status": _STATUS[result.outcome],
        "duration": result.duration,
        "environment": {"comment": environment.name},
        "misc": {
            "outcome": result.outcome.value,
            "node": result.test,
            "behaviours": list(result.behaviours),
            "conformance": not nobody_promises(result, ledger),
            "acts": dict(result.acts),
            # Not for tens of thousands of plain passes, which command and seed of the build can repeat.
            **({"replay": result.replay} if result.outcome is not Outcome.PASS else {}),
        },
    }
    if _is_time(result.time or run.start):
        test["start_time"] = result.started or run.start
    titles = [ledger[i].title for i in result.behaviours if i in ledger]
    if comment := "; ".join(filter(None, (result.line, result.known_as))) or "; ".join(titles):
        test["comment"] = comment
    if excerpt := _excerpt(result):
        test["log_excerpt"] = excerpt
    return test


def path_of(result: Result) -> str:
    """The dot path of a test: ``svmcts.bind.test_cam.test_map.4K``."""
    path, _, rest = result.test.partition("::")
    words = [*path.removeprefix("suites/").removesuffix(".py").split("/"), *re.split(r"::|[\[\]]", rest)]
    return ".".join(["svmcts", *(re.sub(r"[^a-zA-Z0-9_-]+", "_", word) for word in words if word)])


def _excerpt(result: Result) -> str:
    """The end of what is known: there the failure is."""
    if result.outcome in (Outcome.PASS, Outcome.NOT_CLAIMED):
        return ""
    parts = [result.longrepr, result.transcript, result.kernel_log]
    text = "\n\n".join(part for part in parts if part)
    return text[-MAX_EXCERPT:]


def _issue(waiver: Waiver, origin: str) -> dict[str, Any]:
    issue: dict[str, Any] = {
        "id": _issue_id(waiver, origin),
        "version": int(waiver.expires.strftime("%Y%m%d")),
        "origin": origin,
        "report_subject": waiver.reason,
        "culprit": {"code": True, "tool": False, "harness": False},
        "comment": f"{waiver.subject}: {waiver.signature}",
        "misc": {
            "owner": waiver.owner,
            "expires": waiver.expires.isoformat(),
            "environment": waiver.environment,
            "kernels": waiver.kernels_text,
        },
    }
    if re.match(r"[a-z][a-z0-9+.-]*://\S+$", waiver.link):
        issue["report_url"] = waiver.link
    return issue


def _incident(waiver: Waiver, test: str, origin: str) -> dict[str, Any]:
    return {
        "id": _id(origin, _issue_id(waiver, origin), test),
        "origin": origin,
        "issue_id": _issue_id(waiver, origin),
        "issue_version": int(waiver.expires.strftime("%Y%m%d")),
        "test_id": test,
        "present": True,
    }


def _issue_id(waiver: Waiver, origin: str) -> str:
    return _id(origin, waiver.subject, waiver.environment, waiver.signature)


def _id(origin: str, *parts: str) -> str:
    """The same for the same object, whenever the report is made."""
    return f"{origin}:{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
