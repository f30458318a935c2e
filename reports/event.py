# SPDX-License-Identifier: MIT
"""Events of a stream about an environment and about a test: one class each, which writer and reader share.

``to_event`` gives the line of the stream, ``from_event`` reads one, field by field: a wrong type or value is a
``FieldError``, never a default. A field that is absent or null has its default. README.md lists the fields.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Self

from common.kernels import Version

SCHEMA = 1
"""Raised when the meaning of a field changes."""

EXPECTED = "EXPECTED:"
"""Begins the reason of an ERROR: what the test needs is expected of the environment, and absent."""

NO_TEST = ""
"""In place of a test's name: code before the first test, and after the last one."""

Event = dict[str, Any]
"""A line of the stream."""

FINDING = "docs/findings.md: "
"""The reason of a KNOWN failure is that and the heading of a finding."""
_WHOLE = 1 << 53
"""No count of a run is as large; a reader in another language has all integers below."""


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
        """Whether it needs a look: the kernel, the test or the waiver is wrong."""
        return self in (Outcome.FAIL, Outcome.ERROR, Outcome.XPASS)

    @property
    def rank(self) -> int:
        """Position from worst (0) to best."""
        return _RANK[self]


_OUTCOMES = ", ".join(outcome.value for outcome in Outcome)
_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The verdict of several tests together; one that is not claimed does not hide one that passed."""
    return min(outcomes, key=lambda outcome: outcome.rank)


def counted(outcomes: Iterable[Outcome]) -> dict[Outcome, int]:
    """Number of results of each outcome, the worst first, including those that do not occur."""
    numbers = Counter(outcomes)
    return {outcome: numbers[outcome] for outcome in Outcome}


@functools.lru_cache(maxsize=10_000)
def _shared(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same object for the same words: tests and environments repeat them."""
    return words


class FieldError(ValueError):
    """A field of an event cannot be used; the message names it and says what it has to be."""


class Fields:
    """The fields of an event, each read as what it has to be. All methods raise FieldError."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        self._event = event

    def _get(self, name: str, kinds: type | tuple[type, ...], what: str) -> Any:
        value = self._event.get(name)
        # bool is an int in Python, and in no stream.
        if value is None or (isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))):
            return value
        raise FieldError(f"{name} has to be {what}")

    def text(self, name: str) -> str:
        """Text; empty if there is none."""
        value = self._event.get(name)
        return value if type(value) is str else self._get(name, str, "text") or ""

    def name(self, name: str) -> str:
        """Text that has to be there."""
        if not (text := self.text(name)):
            raise FieldError(f"{name} is missing")
        return text

    def label(self, name: str) -> str:
        """Text or a whole number, as text."""
        value = self._get(name, (str, int), "text or a whole number")
        return "" if value is None else str(value)

    def time(self, name: str) -> str:
        """ISO 8601 with a zone; empty if there is none."""
        text = self.text(name)
        try:
            sensible = not text or (
                (time := datetime.fromisoformat(text)).tzinfo and 1970 <= time.year < 9999
            )
        except ValueError:
            sensible = False
        if not sensible:
            raise FieldError(f"{name} has to be a time with its zone, as 2026-11-21T05:40:00+00:00")
        return text

    def whole(self, name: str, *, least: int = 0) -> int | None:
        """A whole number; None if there is none."""
        value: int | None = self._get(name, int, "a whole number")
        if value is not None and not least <= value < _WHOLE:
            raise FieldError(f"{name} has to be a whole number of at least {least}, below 2^53")
        return value

    def number(self, name: str, default: float = 0.0) -> float:
        """A number that is not negative."""
        value = self._get(name, (int, float), "a number")
        if value is None:
            return default
        if not (0 <= value < _WHOLE and math.isfinite(value)):
            raise FieldError(f"{name} has to be a number of at least 0, below 2^53")
        return float(value)

    def flag(self, name: str) -> bool | None:
        """True or false; None if it does not say."""
        value: bool | None = self._get(name, bool, "true or false")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self._get(name, list, "a list of texts")
        if not values:
            return ()
        if not all(isinstance(value, str) for value in values):
            raise FieldError(f"{name} has to be a list of texts")
        return _shared(tuple(values))

    def facts(self, name: str) -> tuple[dict[str, str | int], ...]:
        """A list of objects of texts and whole numbers."""
        what = "a list of objects of texts and whole numbers"
        values: list[Any] = self._get(name, list, what) or []
        for value in values:
            if not isinstance(value, dict) or not all(type(fact) in (str, int) for fact in value.values()):
                raise FieldError(f"{name} has to be {what}")
        return tuple(values)

    def mapping(self, name: str, kinds: type | tuple[type, ...], what: str) -> dict[str, Any]:
        """An object whose values are of these types."""
        values: dict[str, Any] | None = self._get(name, dict, f"an object of {what}")
        if not values:
            return {}
        if not all(isinstance(value, kinds) for value in values.values()):
            raise FieldError(f"{name} has to be an object of {what}")
        return values

    def steps(self, name: str) -> dict[str, Any]:
        """The export of ioctl.steps; null is empty."""
        given = self.mapping(name, object, "format, steps and check")
        if given and not (
            "check" in given and type(given.get("format")) is int and type(given.get("steps")) is list
        ):
            raise FieldError(f"{name} has to be an object of format, steps and check")
        return given

    def texts(self, name: str) -> dict[str, str]:
        """An object of texts; null is empty."""
        values = self.mapping(name, (str, type(None)), "texts")
        return {key: value or "" for key, value in values.items()}

    def counts(self, name: str) -> dict[str, int]:
        """An object of whole numbers."""
        given = self._event.get(name)
        if type(given) is dict and all(type(v) is int and 0 <= v < _WHOLE for v in given.values()):
            return given
        values = Fields(self.mapping(name, object, "whole numbers"))
        return {key: values.whole(key) or 0 for key in values._event}


@dataclass(frozen=True, slots=True)
class Environment:
    """One column: a machine, a backend, a platform and a kernel."""

    name: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """machine, backend, platform, level, kernel, python, header: those that are known; and others, as text."""
    capabilities: Mapping[str, bool | str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    """Reason for each absent capability."""
    reductions: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    """Expected and absent capabilities, to a line with the reason: an error, whatever the results."""
    unexpected: Mapping[str, str] = field(default_factory=dict)
    """Present and unexpected capabilities, to a line with the reason."""
    devices: tuple[Mapping[str, str | int], ...] = ()
    patience: float = 1.0
    """Factor for deadlines."""
    planned: int = 0
    """Tests that were to run; 0 if the stream does not say."""
    at: int = 0
    """Line of the stream; 0 for an environment that only results name."""

    @property
    def kernel(self) -> Version:
        """Version of the kernel whose uAPI answers, if it is known."""
        for name in ("kernel", "level"):
            try:
                return Version.parse(self.fields.get(name, ""))
            except ValueError:
                continue
        return Version()

    def lacks(self, capability: str) -> bool:
        """Whether the environment lacks the capability; one that it does not name is not lacking."""
        return self.capabilities.get(capability) is False

    def to_event(self) -> Event:
        """The line of the stream."""
        return {
            "event": "environment",
            "env": self.name,
            **self.fields,
            "capabilities": dict(self.capabilities),
            "absent": dict(self.absent),
            "reductions": list(self.reductions),
            "missing": dict(self.missing),
            "unexpected": dict(self.unexpected),
            "patience": self.patience,
            "devices": [dict(device) for device in self.devices],
            "tests": self.planned,
        }

    @classmethod
    def from_event(cls, event: Mapping[str, Any], at: int = 0) -> Self:
        """Read a line; raises FieldError."""
        fields = Fields(event)
        for name in ("machine", "backend"):
            fields.name(name)
        return cls(
            name=fields.name("env"),
            fields=_texts_of(fields, event),
            capabilities=fields.mapping("capabilities", (bool, str), "true, false or text"),
            absent=fields.texts("absent"),
            reductions=fields.words("reductions"),
            missing=fields.texts("missing"),
            unexpected=fields.texts("unexpected"),
            devices=fields.facts("devices"),
            patience=fields.number("patience", 1.0),
            planned=fields.whole("tests") or 0,
            at=at,
        )


_OWN = (
    "event",
    "env",
    "capabilities",
    "absent",
    "reductions",
    "missing",
    "unexpected",
    "patience",
    "devices",
    "tests",
)
_TEXTS = ("machine", "backend", "platform", "level", "kernel", "python", "header")


def _texts_of(fields: Fields, event: Mapping[str, Any]) -> dict[str, str]:
    """The fields of an environment that are shown as they are: the known ones, and others that can be."""
    known = {name: fields.text(name) for name in _TEXTS}
    others = {
        name: str(value)
        for name, value in event.items()
        if name not in (*_OWN, *_TEXTS) and isinstance(value, str | int | float)
    }
    return {name: value for name, value in (known | others).items() if value}


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
    vacuous: bool = False
    """Whether the test ended well, but did not do what it declares."""
    apart: Mapping[str, Outcome] = field(default_factory=dict)
    """Results for behaviours that differ from the test's own outcome."""
    reason_code: str = ""
    reason: str = ""
    duration: float = 0.0
    """Seconds."""
    message: str = ""
    longrepr: str = ""
    transcript: str = ""
    steps: Mapping[str, Any] = field(default_factory=dict)
    """Steps of the test, for ``svmcts reproduce``."""
    kernel_log: str = ""
    seed: str = ""
    replay: str = ""
    time: str = ""
    """When it ended."""
    at: int = 0
    """Line of the stream."""

    @property
    def started(self) -> str:
        """When it began, if it is known."""
        try:
            return (datetime.fromisoformat(self.time) - timedelta(seconds=self.duration)).isoformat()
        except (ValueError, OverflowError):
            return ""

    @property
    def function(self) -> str:
        """The node id without parameters."""
        return self.test.partition("[")[0]

    @property
    def about(self) -> tuple[str, ...]:
        """The behaviours that the outcome is about: all but those apart."""
        return tuple(identifier for identifier in self.behaviours if identifier not in self.apart)

    def outcome_of(self, identifier: str) -> Outcome:
        """Result of a test for one of its behaviours."""
        return self.apart.get(identifier, self.outcome)

    @property
    def line(self) -> str:
        """One line that says why the outcome is what it is; empty for a plain pass."""
        return " ".join((self.message or self.reason or self.reason_code).split())

    @property
    def known_as(self) -> str:
        """For KNOWN: the finding or the waiver."""
        return self.reason if self.outcome is Outcome.KNOWN and self.message else ""

    @property
    def signature(self) -> str:
        """Outcome and line without the parts that differ from run to run: failures with equal signatures are the
        same.
        """
        return f"{self.outcome.value}: {normalised(self.line)}"

    @property
    def lacking(self) -> str:
        """The missing capability that makes it an error, because it is expected of the environment; or empty."""
        return self.reason_code.removeprefix(EXPECTED) if self.reason_code.startswith(EXPECTED) else ""

    def to_event(self) -> Event:
        """The line of the stream, except for ``time``, which is set when it is written."""
        reason = {"code": self.reason_code, "text": self.reason}
        event = {
            "event": "result",
            "env": self.env,
            "test": self.test,
            "area": self.area,
            "behaviours": list(self.behaviours),
            "acts": dict(self.acts),
            "declared": list(self.declared),
            "vacuous": self.vacuous,
            "outcome": self.outcome.value,
            "apart": {identifier: outcome.value for identifier, outcome in self.apart.items()},
            "reason": reason if self.reason_code or self.reason else None,
            "duration": round(self.duration, 6),
            "message": self.message or None,
            "longrepr": self.longrepr or None,
            "transcript": self.transcript or None,
            "steps": dict(self.steps) or None,
            "kernel_log": self.kernel_log or None,
            "seed": int(self.seed) if self.seed.isdecimal() else self.seed or None,
            "replay": self.replay,
        }
        return {**event, "time": self.time} if self.time else event

    @classmethod
    def from_event(cls, event: Mapping[str, Any], at: int = 0) -> Self:
        """Read a line; raises FieldError."""
        fields = Fields(event)
        test = fields.name("test")
        try:
            outcome = Outcome(fields.text("outcome"))
        except ValueError:
            raise FieldError(f"outcome has to be one of {_OUTCOMES}") from None
        behaviours, apart = fields.words("behaviours"), fields.texts("apart")
        if unknown := apart.keys() - set(behaviours):
            raise FieldError(f"apart names {min(unknown)}, which is not one of the behaviours")
        if unknown := set(apart.values()) - {one.value for one in Outcome}:
            raise FieldError(f"apart has {min(unknown)!r}: each has to be one of {_OUTCOMES}")
        given = fields.mapping("reason", str, "code and text")
        if event.get("reason") is not None and not {"code", "text"} <= given.keys():
            raise FieldError("reason has to be an object of code and text")
        reason = Fields(given)
        acts, declared, message = fields.counts("acts"), fields.words("declared"), fields.text("message")
        vacuous = fields.flag("vacuous")
        if vacuous is None:  # a stream from before the field
            vacuous = outcome is Outcome.ERROR and message.startswith("vacuous")
        if outcome is Outcome.PASS:
            vacuous = any(not acts.get(kind) for kind in declared)
        return cls(
            env=sys.intern(fields.name("env")),
            test=sys.intern(test),
            outcome=outcome,
            area=sys.intern(fields.text("area") or area_of(test)),
            behaviours=behaviours,
            acts=acts,
            declared=declared,
            vacuous=vacuous,
            apart={identifier: Outcome(name) for identifier, name in apart.items()},
            reason_code=reason.text("code"),
            reason=reason.text("text"),
            duration=fields.number("duration"),
            message=message,
            longrepr=fields.text("longrepr"),
            transcript=fields.text("transcript"),
            steps=fields.steps("steps"),
            kernel_log=fields.text("kernel_log"),
            seed=fields.label("seed"),
            replay=fields.text("replay"),
            time=fields.time("time"),
            at=at,
        )


_NUMBER = re.compile(r"\b0x[0-9a-fA-F]+|(?<![\w.])\d+(?:\.\d+)*\b")


def normalised(text: str) -> str:
    """A failure's line with ``#`` for each number: addresses, random values, sizes and times."""
    return _NUMBER.sub(lambda match: "0x#" if match[0].startswith("0x") else "#", " ".join(text.split()))


def area_of(test: str) -> str:
    """The area of a node id: the folder below suites/, with the ledger's hyphens, else the first folder."""
    parts = test.split("::", maxsplit=1)[0].split("/")
    return parts[1].replace("_", "-") if len(parts) > 2 and parts[0] == "suites" else parts[0]
