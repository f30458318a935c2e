# SPDX-License-Identifier: MIT
"""Failures by a message in the kernel's log: the words by which a program recognises it."""

from __future__ import annotations

import re

from common.answers import NoAnswerError
from common.splat import SPLAT

KERNEL = "the kernel complained:\n"
"""Beginning of the failures that a program can find (fixtures.plugin.kernel)."""
_TIME = re.compile(r"^\[[^]]*\]\s*")
_PLACE = re.compile(r"\b[A-Za-z_]\w*\+0x")
_NUMBER = re.compile(r"\S*\d\S*")


def words_of_complaint(said: str) -> tuple[str, str]:
    """The kind of a report, empty for a driver's message, and a piece of its first line: both the same in every run.

    ``said`` is the failure of the test. Raises NoAnswerError, one line, if it is not in the kernel's log.
    """
    if not said.startswith(KERNEL):
        raise NoAnswerError(f"no program sees why it failed: {said.partition(chr(10))[0]}")
    lines = [_TIME.sub("", line) for line in said.removeprefix(KERNEL).splitlines()]
    first = next((line for line in lines if SPLAT.match(line)), next(iter(lines), ""))
    known = SPLAT.match(first)
    place = _PLACE.search(first)
    longest = max((part.strip() for part in _NUMBER.split(first)), key=len)
    return (known["kind"] or "") if known else "", place[0] if place else longest
