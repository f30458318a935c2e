# SPDX-License-Identifier: MIT
"""The verdict of one run of the one test of a search."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from reports.event import Outcome, normalised
from reports.stream import Run


class Verdict(Enum):
    """Whether the behaviour holds."""

    WORKS = "works"
    FAILS = "fails"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and the line that says why: of a failure its message."""

    verdict: Verdict
    why: str = ""

    @property
    def signature(self) -> str:
        """Signature of a failure, the same in every run and kernel."""
        return normalised(self.why)


_FAILING = (Outcome.FAIL, Outcome.ERROR, Outcome.KNOWN)
_WORKING = (Outcome.PASS, Outcome.XPASS)


class AmbiguousError(ValueError):
    """More than one test ran; the message says which."""


def judge(run: Run) -> Judgement:
    """The verdict of a run of one test in one environment. Raises AmbiguousError.

    Any failure counts here, including a lost guest; ``against`` decides whether it is *the* failure.
    """
    if len(run.results) > 1:
        names = sorted({result.test for result in run.results})
        if len(names) > 1:
            raise AmbiguousError(f"--test names {len(names)} tests: give one of them, such as {names[0]}")
        raise AmbiguousError(f"{names[0]} ran in {len(run.results)} environments: ask for one kernel")
    if not run.results:
        return Judgement(Verdict.CANNOT_TELL, str(next(iter(run.problems), "the test did not run")))
    (result,) = run.results
    if result.outcome in _WORKING:
        return Judgement(Verdict.WORKS)
    if result.outcome in _FAILING:
        return Judgement(Verdict.FAILS, result.line or result.outcome.value)
    return Judgement(Verdict.CANNOT_TELL, f"{result.outcome.value} {result.line}")


def against(judgement: Judgement, signature: str) -> Judgement:
    """The judgement, if a failure is the one that is searched for; else one that cannot tell."""
    if judgement.verdict is Verdict.FAILS and judgement.signature != normalised(signature):
        return Judgement(Verdict.CANNOT_TELL, f"fails differently: {judgement.why}")
    return judgement
