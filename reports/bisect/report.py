# SPDX-License-Identifier: MIT
"""The report of a search, as Markdown: the answer, the failure, every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.bisect.judge import Verdict
from reports.bisect.log import Log
from reports.bisect.search import Span
from reports.bisect.trial import Failure


@dataclass(frozen=True, slots=True)
class Terms:
    """Words for older and newer kernels, like the terms of git bisect; the older ones have the verdict ``old``."""

    old_word: str
    new_word: str
    old: Verdict

    def of(self, verdict: Verdict) -> str:
        """The word for a verdict."""
        if verdict is Verdict.CANNOT_TELL:
            return Verdict.CANNOT_TELL.value
        return self.old_word if verdict is self.old else self.new_word


def report(log: Log, kernels: Sequence[str], found: Span, terms: Terms, failure: Failure) -> str:
    """The whole report; ``kernels`` are those between good and bad, oldest first."""
    untried = [name for name in kernels if name not in log.steps]
    rows = [
        f"| {name} | {terms.of(step.verdict)} | {step.runs} | {_cell(step.why)} |"
        for name in kernels
        if (step := log.steps.get(name))
    ]
    return "\n".join(
        (
            f"# {log.question['test']}",
            "",
            _answer(found, terms),
            "",
            f"The failure, in {failure.failures} of {failure.runs} runs on {log.question['bad']}: `{failure.why}`",
            "",
            "| kernel | verdict | runs | why |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Not tried, and not needed: {', '.join(untried) or 'none'}.",
            "",
        )
    )


def _answer(found: Span, terms: Terms) -> str:
    if found.exact:
        return (
            f"**{found.first_new} is the first {terms.new_word} kernel**, "
            f"{found.last_old} the last {terms.old_word} one."
        )
    return (
        f"The first {terms.new_word} kernel is one of **{', '.join((*found.between, found.first_new))}**: "
        f"{found.last_old} is the last {terms.old_word} one, and {', '.join(found.between)} cannot tell."
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
