# SPDX-License-Identifier: MIT
"""The log of a search: an interrupted search continues where it was."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.answers import NoAnswerError
from reports.bisect.judge import Verdict
from reports.bisect.trial import Failure

NAME = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Step:
    """Result for one kernel or commit."""

    kernel: str
    verdict: Verdict
    why: str
    runs: int


def slug(text: str) -> str:
    """A name for a folder, from the test and options of the search."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text.removeprefix("suites/")).strip("-")


@dataclass(slots=True)
class Search:
    """Contents of a search's log."""

    question: dict[str, Any]
    """Test, options and ends of the search; empty if the log has not begun."""
    failure: Failure | None
    """The failure that is searched for, once it is known."""
    steps: dict[str, Step]
    """Kernel or commit to its result, in the order of the search."""
    size: int
    """Bytes of the whole lines: what follows them was being written when the search was interrupted."""


def read(log: Path) -> Search:
    """The search of a log; an empty one without a log. Raises NoAnswerError if it cannot be read or has other lines."""
    found = Search({}, None, {}, 0)
    try:
        whole = log.read_bytes() if log.exists() else b""
        found.size = whole.rfind(b"\n") + 1
        for line in whole[: found.size].decode().splitlines():
            event = json.loads(line)
            match event.pop("event"):
                case "question":
                    found.question = event
                case "failure":
                    found.failure = Failure(**event)
                case "step":
                    step = Step(**{**event, "verdict": Verdict(event["verdict"])})
                    found.steps[step.kernel] = step
    except OSError as error:
        raise NoAnswerError(f"{log}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NoAnswerError(f"{log} is not the log of a search, or of another version") from None
    return found


class Log:
    """A folder with the question, the failure that is searched for, and every step."""

    def __init__(self, folder: Path, question: dict[str, Any]) -> None:
        """Begin a search, or continue the one in ``folder``. Raises NoAnswerError if that had another question."""
        self.folder = folder
        self.question = question
        self.failure: Failure | None = None
        self.steps: dict[str, Step] = {}
        self._path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        if not self._resume():
            self._append({"event": "question", **question})

    def learnt(self, failure: Failure) -> None:
        """Record how the test fails."""
        self.failure = failure
        self._append({"event": "failure", **asdict(failure)})

    def add(self, step: Step) -> None:
        """Keep a step."""
        self.steps[step.kernel] = step
        self._append({"event": "step", **asdict(step), "verdict": step.verdict.value})

    def _append(self, event: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")

    def _resume(self) -> bool:
        """Take over what the log has. Returns whether it had a question."""
        old = read(self._path)
        if self._path.exists() and old.size < self._path.stat().st_size:
            os.truncate(self._path, old.size)
        if old.question:
            self._check(old.question)
        self.failure, self.steps = old.failure, old.steps
        return bool(old.question)

    def _check(self, question: dict[str, Any]) -> None:
        asked = json.loads(json.dumps(self.question))
        for key in asked:
            if question.get(key) != asked[key]:
                raise NoAnswerError(
                    f"{self.folder} has a search with {key} {question.get(key)}, this one has {asked[key]}: "
                    "remove the folder to start again"
                )
