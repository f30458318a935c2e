# SPDX-License-Identifier: MIT
"""Display of outcomes."""

from __future__ import annotations

from dataclasses import dataclass

from reports.event import Outcome


@dataclass(frozen=True, slots=True)
class Look:
    """Display of an outcome: a sign that works without colour, a word, and its meaning."""

    name: str
    sign: str
    word: str
    meaning: str

    @property
    def outcome(self) -> Outcome | None:
        """Outcome with this look."""
        return None if self.name == "NOTHING" else Outcome(self.name)


LOOKS = {
    look.name: look
    for look in (
        Look("FAIL", "✗", "fail", "the documented behaviour did not hold"),
        Look(
            "ERROR",
            "!",
            "error",
            "the test could not judge: a broken fixture, a dead worker, a test that did not act",
        ),
        Look("XPASS", "↑", "xpass", "expected to fail, and passed: remove the expectation"),
        Look("NOTRUN", "…", "not run", "has a test that this run did not reach or did not select"),
        Look("UNTESTED", "○", "untested", "claimed, but no test acted"),
        Look("KNOWN", "≈", "known", "fails as recorded"),
        Look("PASS", "✓", "pass", "exercised, and held"),
        Look("NOT-CLAIMED", "⊘", "no claim", "the environment does not claim the capability"),
    )
}
NOTHING = Look(
    "NOTHING", "·", "unseen", "no program can see it: checked in the project's own tests, if at all"
)


def look(outcome: Outcome | None) -> Look:
    """The look of an outcome; None is that of a cell if there is nothing to judge."""
    return LOOKS[outcome.value] if outcome else NOTHING
