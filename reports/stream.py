# SPDX-License-Identifier: MIT
"""Reader of the results stream (results.jsonl), the only source of every report.

The stream is written line by line while a run goes on, so it may stop anywhere: a last line without its end,
a test that began and has no result, no end event. All of that is read, and said; nothing of it is an
exception. The fields are documented in reports/README.md.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from reports.renames import renamed
from common.kernels import Version

SCHEMA = 1
STREAM = "results.jsonl"
"""Name of the stream in a folder of reports."""


MOST_PARAMETERS = 12
"""Parameters of a function that are named; more are a number."""

CUT_OFF = "began and has no result: the run ended in it"
"""Message of a test that the run ended in."""


class Outcome(Enum):
    """The eight verdicts of a test or a cell; the order is from worst to best."""

    FAIL = "FAIL"
    ERROR = "ERROR"
    XPASS = "XPASS"
    NOTRUN = "NOTRUN"
    UNTESTED = "UNTESTED"
    KNOWN = "KNOWN"
    PASS = "PASS"
    NOT_CLAIMED = "NOT-CLAIMED"

    @property
    def bad(self) -> bool:
        """Whether somebody has to look: the kernel, the test or the waiver is wrong."""
        return self in (Outcome.FAIL, Outcome.ERROR, Outcome.XPASS)

    @property
    def rank(self) -> int:
        """Position from worst (0) to best."""
        return _RANK[self]


_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The verdict of several tests together; one that is not claimed does not spoil one that passed."""
    return min(outcomes, key=lambda outcome: outcome.rank)


@dataclass(frozen=True, slots=True)
class Environment:
    """One column: a machine, a backend, a platform and a kernel."""

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """machine, backend, platform, level, kernel, python, header: those the stream gave, as text."""
    capabilities: Mapping[str, bool | str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    """Why a capability is absent, for those that are."""
    reductions: tuple[str, ...] = ()
    devices: tuple[Mapping[str, str], ...] = ()
    planned: int = 0
    """Tests that were to run; 0 if the stream does not say."""
    at: int = 0
    """Line of the stream; 0 for an environment that only results tell of."""

    @property
    def kernel(self) -> Version:
        """Version of the kernel whose uAPI answers, as far as it is known."""
        for name in ("kernel", "level"):
            try:
                return Version.parse(self.fields.get(name, ""))
            except ValueError:
                continue
        return Version()

    def lacks(self, capability: str) -> bool:
        """Whether the environment says no to the capability; one it never heard of is not lacking."""
        return self.capabilities.get(capability) is False


@dataclass(frozen=True, slots=True)
class Result:
    """One test in one environment."""

    env: str
    test: str
    outcome: Outcome
    area: str = ""
    behaviours: tuple[str, ...] = ()
    acts: Mapping[str, int] = field(default_factory=dict)
    declared: tuple[str, ...] = ()
    reason_code: str = ""
    reason: str = ""
    duration: float = 0.0
    """Seconds."""
    message: str = ""
    longrepr: str = ""
    transcript: str = ""
    kernel_log: str = ""
    seed: str = ""
    replay: str = ""
    time: str = ""
    """When it ended."""
    at: int = 0
    """Line of the stream that says so."""

    @property
    def started(self) -> str:
        """When it began, as far as it is known."""
        try:
            return (datetime.fromisoformat(self.time) - timedelta(seconds=self.duration)).isoformat()
        except ValueError:
            return ""

    @property
    def function(self) -> str:
        """The node id without parameters."""
        return self.test.partition("[")[0]

    @property
    def line(self) -> str:
        """One line that says why the outcome is what it is; empty for a plain pass."""
        return " ".join((self.message or self.reason or self.reason_code).split())

    @property
    def signature(self) -> str:
        """Outcome and line without what differs from run to run: two failures with one signature are one."""
        return f"{self.outcome.value}: {normalised(self.line)}"

    @property
    def vacuous(self) -> bool:
        """Whether the test did not do what it declares, whatever its outcome says."""
        if self.outcome is Outcome.PASS:
            return any(not self.acts.get(kind) for kind in self.declared)
        return self.outcome is Outcome.ERROR and self.message.startswith("vacuous")


class Judged(Protocol):
    """Anything with verdicts of tests: a Run, or several made one (reports.merge)."""

    @property
    def environments(self) -> Mapping[str, Environment]:
        """By name."""

    @property
    def results(self) -> tuple[Result, ...]:
        """One for each test and environment, or several."""


_NUMBER = re.compile(r"\b0x[0-9a-fA-F]+|(?<![\w.])\d+(?:\.\d+)*\b")


def normalised(text: str) -> str:
    """A failure's line with ``#`` for each number: addresses, random values, sizes and times."""
    return _NUMBER.sub(lambda match: "0x#" if match[0].startswith("0x") else "#", " ".join(text.split()))


@dataclass(frozen=True, slots=True)
class Run:
    """Everything one stream says."""

    path: Path
    suite: Mapping[str, str]
    seed: str
    command: tuple[str, ...]
    start: str
    end: str
    """Empty if the run did not finish."""
    exit: int | None
    environments: Mapping[str, Environment]
    results: tuple[Result, ...]
    problems: tuple[str, ...]
    """What is odd about the stream itself, one line each."""
    expected: tuple[str, ...] = ()
    """Environments that the run was to have."""
    resumed: tuple[str, ...] = ()
    """When the run was interrupted and went on."""
    lines: int = 0
    """Lines of the stream."""
    git: str = ""
    """Commit of the suite."""

    @property
    def command_line(self) -> str:
        """The command as a shell takes it."""
        return shlex.join(self.command)

    @property
    def title(self) -> str:
        """What tells the run from others in a few words: its folder and start."""
        place = self.path.parent.name if self.path.name == STREAM else self.path.name
        return f"{place} ({self.start[:16].replace('T', ' ')})" if self.start else place


def read(path: Path) -> Run:
    """Read a results stream, or that in a folder of reports; raises OSError only if it cannot be opened."""
    reader = _Reader()
    if path.is_dir():
        path /= STREAM
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            reader.line(number, line)
    return reader.run(path)


class _Reader:
    def __init__(self) -> None:
        self.head: dict[str, Any] = {}
        self.tail: dict[str, Any] | None = None
        self.environments: dict[str, Environment] = {}
        self.results: list[Result] = []
        self.running: dict[tuple[str, str], int] = {}
        self.resumed: list[str] = []
        self.lines = 0
        self.problems: list[str] = []
        self.unknown: dict[str, int] = {}

    def line(self, number: int, line: str) -> None:
        self.lines = number
        if not line.strip():
            return
        try:
            event = json.loads(line)
        except ValueError:
            what = "is not JSON" if line.endswith("\n") else "stops in the middle: the run was cut off"
            self.problems.append(f"line {number} {what}")
            return
        if not isinstance(event, dict):
            self.problems.append(f"line {number} is not an event")
            return
        if _UNCLEAN.search(line):
            event = _clean(event)
        event = renamed(event)
        match event.get("event"):
            case "run":
                self._run(event)
            case "environment":
                self._environment(number, event)
            case "start":
                self.running[_text(event, "env"), _text(event, "test")] = number
            case "resume":
                self._resume(event)
            case "result":
                self._result(number, event)
            case "end":
                self.tail = event
            case other:
                self.unknown[str(other)] = self.unknown.get(str(other), 0) + 1

    def _run(self, event: dict[str, Any]) -> None:
        if event.get("schema", SCHEMA) != SCHEMA:
            self.problems.append(f"the stream has schema {event['schema']}, this reader knows {SCHEMA}")
        self.head = event

    def _resume(self, event: dict[str, Any]) -> None:
        """The run was interrupted and goes on: what it was doing then, it does again."""
        self.resumed.append(_text(event, "time"))
        self.running.clear()
        self.tail = None

    def _environment(self, number: int, event: dict[str, Any]) -> None:
        name = _text(event, "env")
        rest = {
            k: v
            for k, v in event.items()
            if isinstance(v, str | int | float) and k not in ("event", "env", "tests")
        }
        self.environments[name] = Environment(
            name=name,
            fields={k: str(v) for k, v in rest.items()},
            capabilities={
                k: v if isinstance(v, bool) else str(v) for k, v in _mapping(event, "capabilities").items()
            },
            absent={k: str(v) for k, v in _mapping(event, "absent").items()},
            reductions=_words(event, "reductions"),
            devices=tuple(
                {str(k): str(v) for k, v in device.items()}
                for device in _sequence(event, "devices")
                if isinstance(device, dict)
            ),
            planned=int(_number(event, "tests")),
            at=number,
        )

    def _result(self, number: int, event: dict[str, Any]) -> None:
        env, test = _text(event, "env"), _text(event, "test")
        self.environments.setdefault(env, Environment(env))
        self.running.pop((env, test), None)
        message = _text(event, "message")
        try:
            outcome = Outcome(_text(event, "outcome"))
        except ValueError:
            self.problems.append(f"line {number}: unknown outcome {event.get('outcome')!r}, taken as ERROR")
            outcome, message = Outcome.ERROR, f"unknown outcome {event.get('outcome')!r}; {message}"
        self.results.append(_result_of(event, outcome, message, number))

    def run(self, path: Path) -> Run:
        elsewhere = {result.test: result for result in self.results}
        for (env, test), number in self.running.items():
            self.environments.setdefault(env, Environment(env))
            # What the test proves, another environment may have said.
            like = elsewhere.get(test, Result(env, test, Outcome.ERROR, area_of(test)))
            self.results.append(
                Result(
                    env,
                    test,
                    Outcome.ERROR,
                    like.area,
                    behaviours=like.behaviours,
                    declared=like.declared,
                    message=CUT_OFF,
                    at=number,
                )
            )
        for kind, count in self.unknown.items():
            self.problems.append(f"{count} events of unknown kind {kind!r} were passed over")
        if not self.head:
            self.problems.append("no run event: the start of the stream is missing")
        tail = self.tail or {}
        if self.tail is None:
            self.problems.append("no end event: the run did not finish")
        for env in self._expected():
            if env not in self.environments:
                self.problems.append(f"environment {env} was asked for and did not start")
        self._count()
        return Run(
            path=path,
            suite={str(k): str(v) for k, v in _mapping(self.head, "suite").items()},
            seed=_text(self.head, "seed"),
            command=_words(self.head, "command"),
            start=_text(self.head, "start"),
            end=_text(tail, "time"),
            exit=tail["exit"] if isinstance(tail.get("exit"), int) else None,
            environments=self._ordered(),
            results=tuple(self.results),
            problems=tuple(self.problems),
            expected=self._expected(),
            resumed=tuple(self.resumed),
            lines=self.lines,
            git=_text(_mapping(self.head, "suite"), "git"),
        )

    def _ordered(self) -> dict[str, Environment]:
        """As they were asked for, not as they came up."""
        first = [name for name in self._expected() if name in self.environments]
        return {name: self.environments[name] for name in dict.fromkeys((*first, *self.environments))}

    def _expected(self) -> tuple[str, ...]:
        return _words(self.head, "environments")

    def _count(self) -> None:
        """Say how far each environment came that was cut off."""
        if self.tail is not None:
            return
        done: dict[str, set[str]] = {}
        for result in self.results:
            done.setdefault(result.env, set()).add(result.test)
        for name, environment in self.environments.items():
            has = len(done.get(name, ()))
            if has < environment.planned:
                self.problems.append(f"{name}: {has} of {environment.planned} tests have a result")


def label(results: Iterable[Result]) -> str:
    """Results of one function as a line: its node id, and all its parameters if there are several."""
    tests = list(dict.fromkeys(result.test for result in results))
    if len(tests) == 1:
        return tests[0]
    function, _, _ = tests[0].partition("[")
    parameters = [test.removeprefix(function) for test in tests]
    more = f" and {len(parameters) - MOST_PARAMETERS} more" if len(parameters) > MOST_PARAMETERS else ""
    return f"{function} {' '.join(parameters[:MOST_PARAMETERS])}{more}"


def environments_of(results: Iterable[Result]) -> str:
    """Where results are from, each environment once."""
    return ", ".join(dict.fromkeys(result.env for result in results))


def result_of(event: Mapping[str, Any]) -> Result:
    """The result that a ``result`` event tells of, as it is read from a stream; raises ValueError."""
    event = _clean(event)
    return _result_of(event, Outcome(_text(event, "outcome")), _text(event, "message"), 0)


def _result_of(event: Mapping[str, Any], outcome: Outcome, message: str, number: int) -> Result:
    env, test = _text(event, "env"), _text(event, "test")
    reason = _mapping(event, "reason")
    return Result(
        env=env,
        test=test,
        outcome=outcome,
        area=_text(event, "area") or area_of(test),
        behaviours=_words(event, "behaviours"),
        acts={k: v for k, v in _mapping(event, "acts").items() if isinstance(v, int)},
        declared=_words(event, "declared"),
        reason_code=_text(reason, "code"),
        reason=_text(reason, "text"),
        duration=_number(event, "duration"),
        message=message,
        longrepr=_text(event, "longrepr"),
        transcript=_text(event, "transcript"),
        kernel_log=_text(event, "kernel_log"),
        seed=_text(event, "seed"),
        replay=_text(event, "replay"),
        time=_text(event, "time"),
        at=number,
    )


def area_of(test: str) -> str:
    """The area of a node id: the folder below suites/, with the ledger's hyphens, else the first folder."""
    parts = test.split("::", maxsplit=1)[0].split("/")
    return parts[1].replace("_", "-") if len(parts) > 2 and parts[0] == "suites" else parts[0]


# Control characters are shown, not obeyed, by terminals, browsers and XML readers alike; direction overrides
# could make a name read as another; a lone surrogate cannot be written as UTF-8 at all.
_HIDDEN = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_HIDDEN |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNCLEAN = re.compile(rf"\\[ubfr]|[{re.escape(''.join(map(chr, _HIDDEN)))}\ud800-\udfff]")
"""What a line of JSON has in it, as itself or escaped, if a string of it has to be cleaned. Few lines have."""


def _clean(value: Any) -> Any:
    """The same value with every string made safe to print."""
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value.replace("\r\n", "\n").translate(_HIDDEN))
        case list():
            return [_clean(item) for item in value]
        case dict():
            return {_clean(key): _clean(item) for key, item in value.items()}
    return value


def _text(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    return "" if value is None else str(value)


def _number(event: Mapping[str, Any], key: str) -> float:
    value = event.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _mapping(event: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = event.get(key)
    return value if isinstance(value, dict) else {}


def _sequence(event: Mapping[str, Any], key: str) -> list[Any]:
    value = event.get(key)
    return value if isinstance(value, list) else []


def _words(event: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(item) for item in _sequence(event, key))
