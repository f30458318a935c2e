# SPDX-License-Identifier: MIT
"""Waivers: known failures that are accepted until some day, as TOML.

::

    [[waiver]]
    behaviour = "fault.cow.*"                 # or: test = "suites/fault/test_cow.py::*"
    environment = "guest/*"                   # optional: all environments
    kernels = "6.17..7.0"                     # optional: all kernels; "..7.0" and "6.17.." do, too
    signature = "the CPU sees 0x#, not 0x#"   # what a failure says, with # for numbers; * is any text
    owner = "Jane Doe <jane@example.org>"
    link = "https://gitlab.example.org/issues/1"
    reason = "copy on write breaks after migration"
    expires = 2026-12-31

A waiver is for one failure: one that fails differently is not waived, and neither is one after the last day.
"""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.answers import NoAnswerError
from common.kernels import Kernels
from common.text import one_line
from reports.event import Environment, Outcome, Result, normalised
from reports.renames import names as names_of

_REQUIRED = ("signature", "owner", "link", "reason", "expires")
_SUBJECTS = ("behaviour", "test")
_OPTIONAL = ("environment", "kernels")
_HEADER = re.compile(r"\s*\[\[\s*waiver\s*\]\]")


class WaiverError(NoAnswerError):
    """The file of waivers is not well-formed; the message has file, line, and what to do."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """One known failure."""

    path: Path
    line: int
    behaviour: str
    """Glob; empty if the waiver names a test."""
    test: str
    environment: str
    kernels: Kernels
    kernels_text: str
    signature: str
    owner: str
    link: str
    reason: str
    expires: datetime.date
    """Last day on which it holds."""

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path}:{self.line}"

    @property
    def subject(self) -> str:
        """Subject of the waiver."""
        return self.behaviour or self.test

    def concerns(self, result: Result, environment: Environment) -> bool:
        """Whether it concerns this test here; the failure may be a different one."""
        names = result.behaviours if self.behaviour else names_of(result.test)
        return (
            any(matches(self.subject, name) for name in names)
            and matches(self.environment, result.env)
            and environment.kernel in self.kernels
        )

    def excuses(self, result: Result) -> bool:
        """Whether the failure of a test that it concerns is the one that is known."""
        return matches(normalised(self.signature), normalised(result.line))

    def expired(self, today: datetime.date) -> bool:
        """Whether its last day has passed."""
        return today > self.expires


_WORD = re.compile(r"[^\W\d_]{2,}")
_NO_WORDS = frozenset({"assert", "not", "and", "or", "is", "in", "if", "True", "False", "None"})


def speaks(signature: str) -> bool:
    """Whether a signature has a word in it that says what failed; ``assert # == #`` and ``*`` fit too much."""
    return not _NO_WORDS.issuperset(_WORD.findall(signature))


def matches(pattern: str, text: str) -> bool:
    """Globs with ``*`` only: node ids and messages are full of brackets."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def load(path: Path) -> tuple[Waiver, ...]:
    """Read a file of waivers; raises WaiverError, and OSError if it cannot be opened."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        at = re.search(r"\(at line (\d+)", str(error))
        line = at[1] if at else "1"
        raise WaiverError(f"{path}:{line}: not TOML: {one_line(str(error))}") from None
    entries = document.pop("waiver", [])
    if document:
        raise WaiverError(f"{path}:1: {', '.join(document)}: write each waiver below a [[waiver]] of its own")
    if not entries:
        raise WaiverError(f"{path}:1: no [[waiver]] in it: leave --waivers out")
    lines = text.split("\n")  # as TOML has them: U+2028 ends no line
    starts = [number for number, line in enumerate(lines, 1) if _HEADER.match(line)]
    if not isinstance(entries, list) or len(starts) != len(entries):
        raise WaiverError(
            f"{path}:1: write each waiver below a [[waiver]] of its own, at the start of a line"
        )
    ends = [*starts, len(lines) + 1][1:]
    return tuple(
        _waiver(path, entry, start, lines[start : end - 1])
        for entry, start, end in zip(entries, starts, ends, strict=True)
    )


def _waiver(path: Path, entry: dict[str, Any], start: int, lines: list[str]) -> Waiver:
    def fail(key: str, why: str) -> WaiverError:
        pattern = re.compile(rf"\s*\"?{re.escape(key)}\"?\s*=")
        offset = next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 0)
        return WaiverError(f"{path}:{start + offset}: {why}")

    for key, value in entry.items():
        if key not in (*_REQUIRED, *_SUBJECTS, *_OPTIONAL):
            known = ", ".join((*_SUBJECTS, *_OPTIONAL, *_REQUIRED))
            raise fail(key, f"{key} is not a field of a waiver; there are: {known}")
        if key == "expires":
            if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
                raise fail(key, "expires has to be a day, without quotes: expires = 2026-12-31")
        elif not isinstance(value, str) or not value.strip():
            raise fail(key, f"{key} has to be text")
        elif key == "signature" and not speaks(value):
            raise fail(
                key, f"signature = {json.dumps(value)} has no word that says what failed: it fits too much"
            )
    if missing := [key for key in _REQUIRED if key not in entry]:
        raise fail("", f"the waiver has no {', '.join(missing)}: add it, or fix the failure")
    if len([key for key in _SUBJECTS if key in entry]) != 1:
        raise fail("", "a waiver names either a behaviour or a test")
    kernels = entry.get("kernels", "")
    try:
        bounds = Kernels.parse(kernels) if kernels else Kernels()
    except ValueError as error:
        raise fail("kernels", str(error)) from None
    return Waiver(
        path=path,
        line=start,
        behaviour=entry.get("behaviour", ""),
        test=entry.get("test", ""),
        environment=entry.get("environment", "*"),
        kernels=bounds,
        kernels_text=kernels,
        **{key: entry[key] for key in _REQUIRED},
    )


@dataclass(frozen=True, slots=True)
class Waived:
    """Results after waivers: what is excused is KNOWN."""

    results: tuple[Result, ...]
    by: dict[tuple[str, str], Waiver]
    """(environment, test) to the waiver that excuses it."""
    near: dict[tuple[str, str], Waiver]
    """(environment, test) of failures to the waiver that is about the test and another failure, or expired."""
    stale: tuple[Waiver, ...]
    """Waivers all of whose tests ran and do not fail."""
    unused: tuple[Waiver, ...]
    """Waivers whose tests are not part of the run."""


def apply(
    waivers: Iterable[Waiver],
    results: Iterable[Result],
    environments: dict[str, Environment],
    today: datetime.date,
) -> Waived:
    """Make KNOWN what a waiver excuses on the day ``today``."""
    waivers = tuple(waivers)
    done: list[Result] = []
    by: dict[tuple[str, str], Waiver] = {}
    near: dict[tuple[str, str], Waiver] = {}
    judged: dict[Waiver, set[Outcome]] = {}
    for result in results:
        concerned = [w for w in waivers if w.concerns(result, environments[result.env])]
        for waiver in concerned:
            judged.setdefault(waiver, set()).add(result.outcome)
        done.append(_excused(result, concerned, today, by, near))
    passes = {Outcome.PASS, Outcome.XPASS}
    fails = {Outcome.FAIL, Outcome.ERROR, Outcome.KNOWN}
    return Waived(
        results=tuple(done),
        by=by,
        near=near,
        stale=tuple(w for w, outcomes in judged.items() if outcomes & passes and not outcomes & fails),
        unused=tuple(w for w in waivers if w not in judged),
    )


def _excused(
    result: Result,
    concerned: list[Waiver],
    today: datetime.date,
    by: dict[tuple[str, str], Waiver],
    near: dict[tuple[str, str], Waiver],
) -> Result:
    if result.outcome not in (Outcome.FAIL, Outcome.ERROR) or result.vacuous:
        return result
    for waiver in concerned:
        if waiver.excuses(result) and not waiver.expired(today):
            by[result.env, result.test] = waiver
            why = f"waived until {waiver.expires}: {waiver.reason} ({waiver.owner}, {waiver.link})"
            return replace(result, outcome=Outcome.KNOWN, reason_code="WAIVED", reason=why)
    if concerned:
        near[result.env, result.test] = concerned[0]
    return result
