# SPDX-License-Identifier: MIT
"""Failures by a message of the kernel, or of the emulated GPU: the words by which a program finds it in the log."""

from __future__ import annotations

import re

from common.answers import NoAnswerError

KERNEL = "the kernel complained:\n"
"""Beginning of the failures that a program can find (fixtures.plugin.kernel)."""
_TIME = re.compile(r"^\[[^]]*\]\s*")
_KIND = re.compile(r"WARNING: |BUG: |kernel BUG at |Oops: |INFO: |UBSAN: |general protection fault")
_PLACE = re.compile(r"\b[A-Za-z_]\w*\+0x")
_NUMBER = re.compile(r"\S*\d\S*")


def words_of_complaint(said: str) -> tuple[str, str]:
    """Two pieces of the first line of a message, the same in every run; raises NoAnswerError if no program sees it."""
    if not said.startswith(KERNEL):
        raise NoAnswerError(f"no program sees why it failed: {said.partition(chr(10))[0]}")
    lines = [_TIME.sub("", line) for line in said.removeprefix(KERNEL).splitlines()]
    kind = next((line for line in lines if _KIND.match(line)), next(iter(lines), ""))
    found = _KIND.match(kind)
    place = _PLACE.search(kind)
    longest = max((part.strip() for part in _NUMBER.split(kind)), key=len)
    return found[0] if found else "", place[0] if place else longest
