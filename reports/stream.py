# SPDX-License-Identifier: MIT
"""Reader of the results stream (results.jsonl), the only source of every report.

The stream is written line by line during a run, so it may stop anywhere: a last line without its end, a test that began
and has no result, no end event. And a file may be damaged, or not a stream at all. It is read as far as possible, and
the problems are reported; none is an exception. The fields are documented in reports/README.md.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from common.text import HIDDEN, visible
from reports.event import SCHEMA, Environment, Event, FieldError, Fields, Outcome, Result, area_of
from reports.renames import renamed

STREAM = "results.jsonl"
"""Name of the stream in a folder of reports."""

MOST_PARAMETERS = 12
"""Maximum number of parameters of a function to name; the others are counted."""

CUT_OFF = "began and has no result: the run ended in it"
"""Message of a test that the run ended in."""


class Flaw(Enum):
    """Effect of a problem on the answer."""

    NOTE = "it is as complete as the run"
    CUT = "the run did not finish"
    DAMAGE = "the stream is not what a run wrote"


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of a stream."""

    what: str
    flaw: Flaw = Flaw.NOTE
    line: int = 0
    """0 for the stream as a whole."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}" if self.line else self.what


class Judged(Protocol):
    """Anything with verdicts of tests: a Run, or a merge of several (reports.merge)."""

    @property
    def environments(self) -> Mapping[str, Environment]:
        """By name."""

    @property
    def results(self) -> tuple[Result, ...]:
        """One for each test and environment, or several."""


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
    problems: tuple[Problem, ...]
    """Problems of the stream itself."""
    expected: tuple[str, ...] = ()
    """Environments that the run was to have."""
    resumed: tuple[str, ...] = ()
    """Times at which the run was interrupted and resumed."""
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
        """Short description of the run: its folder and start."""
        place = self.path.parent.name if self.path.name == STREAM else self.path.name
        return f"{place} ({self.start[:16].replace('T', ' ')})" if self.start else place

    def flaw(self, *flaws: Flaw) -> Problem | None:
        """The first problem of this kind."""
        return next((problem for problem in self.problems if problem.flaw in flaws), None)


def read(path: Path) -> Run:
    """Read a results stream, or that in a folder of reports; raises OSError only if it cannot be opened."""
    path = path / STREAM if path.is_dir() else path
    reader = _Reader()
    with _uncollected():
        for number, line in lines(path):
            reader.take(number, _clean_event(number, line))
        return reader.run(path)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage in cycles: what is read has none, and there is much of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()
            gc.enable()


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a stream, with their numbers and ends; raises OSError."""
    # Only a newline ends a line: texts have other separators, as U+2028.
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        yield from enumerate(stream, 1)


def parse(number: int, line: str) -> Event | Problem:
    """The event of a line, with the node id that its test has now, or why it is not an event."""
    try:
        event = _DECODER.decode(line)
    except (ValueError, RecursionError):
        if not line.endswith("\n"):
            return Problem("stops in the middle: the run was cut off", Flaw.CUT, number)
        return Problem("is not JSON", Flaw.DAMAGE, number)
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return Problem("is not an event", Flaw.DAMAGE, number)
    return renamed(event)


def _clean_event(number: int, line: str) -> Event | Problem:
    event = parse(number, line)
    if isinstance(event, Problem) or not _unclean(line):
        return event
    try:
        return clean(event)
    except RecursionError:
        return Problem("is not JSON", Flaw.DAMAGE, number)


def _no_number(text: str) -> None:
    """NaN and Infinity, which Python would take."""
    raise ValueError(text)


_DECODER = json.JSONDecoder(parse_constant=_no_number)


@dataclass
class _Head:
    """Contents of the ``run`` event."""

    suite: Mapping[str, str] = field(default_factory=dict)
    seed: str = ""
    command: tuple[str, ...] = ()
    start: str = ""
    expected: tuple[str, ...] = ()

    @classmethod
    def from_event(cls, event: Event) -> _Head:
        """Raises FieldError."""
        fields = Fields(event)
        if (schema := fields.whole("schema")) not in (None, SCHEMA):
            raise FieldError(f"the stream has schema {schema}, this reader knows {SCHEMA}")
        fields.text("directory")
        return cls(
            suite=fields.texts("suite"),
            seed=fields.label("seed"),
            command=fields.words("command"),
            start=fields.time("start"),
            expected=fields.words("environments"),
        )


class _Reader:
    def __init__(self) -> None:
        self.head: _Head | None = None
        self.ended = False
        self.end = ""
        self.exit: int | None = None
        self.environments: dict[str, Environment] = {}
        self.results: list[Result] = []
        self.running: dict[tuple[str, str], int] = {}
        self.resumed: list[str] = []
        self.lines = 0
        self.problems: list[Problem] = []
        self.unknown: Counter[str] = Counter()

    def take(self, number: int, event: Event | Problem) -> None:
        self.lines = number
        if isinstance(event, Problem):
            self.problems.append(event)
            return
        kind = event["event"]
        if self.head is None and kind != "run":
            self._damage(number, "no run event: the start of the stream is missing")
            self.head = _Head()
        changed = kind == "end" and event.get("exit") != self.exit  # as when its reports could not be printed
        if self.ended and kind != "resume" and not changed:
            self._damage(number, f"a {kind} event after the end")
            self.ended = False
        try:
            self._take(number, kind, event)
        except FieldError as error:
            self._damage(number, f"{kind}: {error}")

    def _damage(self, number: int, what: str) -> None:
        self.problems.append(Problem(what, Flaw.DAMAGE, number))

    def _take(self, number: int, kind: str, event: Event) -> None:
        fields = Fields(event)
        match kind:
            case "run":
                second, self.head = self.head is not None, self.head or _Head()
                if second:
                    raise FieldError("a second run begins: a stream has one")
                self.head = _Head.from_event(event)
            case "environment":
                environment = Environment.from_event(event, number)
                if earlier := self.environments.get(environment.name):
                    # Capabilities that were missing when the run began and not when it was resumed.
                    environment = replace(environment, missing={**earlier.missing, **environment.missing})
                self.environments[environment.name] = environment
            case "start":
                if type(event.get("time")) not in (int, float):  # which some write
                    fields.time("time")
                self.running[fields.name("env"), fields.name("test")] = number
            case "resume":  # the run was interrupted: what it was doing then, it does again
                fields.texts("suite")
                self.resumed.append(fields.time("time"))
                self.running.clear()
                self.ended = False
            case "result":
                self._result(number, event)
            case "end":
                self.ended = True
                self.end, self.exit = fields.time("time"), fields.whole("exit", least=-255)
                if self.exit is None:
                    raise FieldError("exit is missing")
            case _:
                self.unknown[kind] += 1

    def _result(self, number: int, event: Event) -> None:
        try:
            result = Result.from_event(event, number)
        except FieldError as error:
            fields = Fields(event)
            env, test = fields.name("env"), fields.name("test")
            result = Result(env, test, Outcome.ERROR, area_of(test), message=f"damaged: {error}", at=number)
            self._damage(number, f"result: {error}")
        self.running.pop((result.env, result.test), None)
        self.results.append(result)

    def run(self, path: Path) -> Run:
        head = self.head or _Head()
        elsewhere = {result.test: result for result in self.results}
        for (env, test), number in self.running.items():
            # Another environment may have said what the test proves.
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
        for result in self.results:
            if result.env not in self.environments:
                self._damage(result.at, f"a test of {result.env}, and no environment event has that name")
                self.environments[result.env] = Environment(result.env)
        for kind, count in self.unknown.items():
            self.problems.append(Problem(f"{count} events of unknown kind {kind!r} were passed over"))
        if not self.lines:
            self.problems.append(Problem("the stream is empty", Flaw.DAMAGE))
        if not self.ended:
            self.problems.append(Problem("no end event: the run did not finish", Flaw.CUT))
        for env in head.expected:
            if env not in self.environments:
                self.problems.append(Problem(f"environment {env} was asked for and did not start"))
        self._count()
        return Run(
            path=path,
            suite=head.suite,
            seed=head.seed,
            command=head.command,
            start=head.start,
            end=self.end,
            exit=self.exit,
            environments=self._ordered(head.expected),
            results=tuple(self.results),
            problems=tuple(self.problems),
            expected=head.expected,
            resumed=tuple(self.resumed),
            lines=self.lines,
            git=head.suite.get("git", ""),
        )

    def _ordered(self, expected: Iterable[str]) -> dict[str, Environment]:
        """Environments in the order of the command line, not of their start."""
        first = [name for name in expected if name in self.environments]
        return {name: self.environments[name] for name in dict.fromkeys((*first, *self.environments))}

    def _count(self) -> None:
        """Report how far each environment that was cut off got."""
        if self.ended:
            return
        done: dict[str, set[str]] = {}
        for result in self.results:
            done.setdefault(result.env, set()).add(result.test)
        for name, environment in self.environments.items():
            has = len(done.get(name, ()))
            if has < environment.planned:
                self.problems.append(
                    Problem(f"{name}: {has} of {environment.planned} tests have a result", Flaw.CUT)
                )


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
    """Sources of the results, each environment once."""
    return ", ".join(dict.fromkeys(result.env for result in results))


_ESCAPE = re.compile(r"\\[ubfr]")
_HIDDEN = re.compile(rf"[{re.escape(''.join(map(chr, HIDDEN)))}\ud800-\udfff]")


def _unclean(line: str) -> bool:
    """Whether a string in a line of JSON has to be cleaned, for what is in it as itself or escaped. Few have."""
    if "\\" in line and _ESCAPE.search(line):
        return True
    return not (line.isascii() and line[:-1].isprintable()) and bool(_HIDDEN.search(line))


def clean(event: Event) -> Event:
    """The same event with every string made safe to print; raises RecursionError."""
    return {visible(key): _clean(value) for key, value in event.items()}


def _clean(value: Any) -> Any:
    match value:
        case str():
            return visible(value)
        case list():
            return [_clean(item) for item in value]
        case dict():
            return clean(value)
    return value
