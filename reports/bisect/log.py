# SPDX-License-Identifier: MIT
"""The log of a search: an interrupted search continues where it was."""

from __future__ import annotations

import json
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
        """Read the existing log. Returns whether it had a question."""
        whole = self._path.read_bytes() if self._path.exists() else b""
        lines = whole[: whole.rfind(b"\n") + 1]
        if len(lines) < len(whole):  # the last line was being written when the search was interrupted
            self._path.write_bytes(lines)
        for line in lines.decode().splitlines():
            event = json.loads(line)
            match event.pop("event"):
                case "question":
                    self._check(event)
                case "failure":
                    self.failure = Failure(**event)
                case "step":
                    step = Step(**{**event, "verdict": Verdict(event["verdict"])})
                    self.steps[step.kernel] = step
        return bool(lines)

    def _check(self, question: dict[str, Any]) -> None:
        asked = json.loads(json.dumps(self.question))
        for key in asked:
            if question.get(key) != asked[key]:
                raise NoAnswerError(
                    f"{self.folder} has a search with {key} {question.get(key)}, this one has {asked[key]}: "
                    "remove the folder to start again"
                )
