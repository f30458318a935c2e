# SPDX-License-Identifier: MIT
"""Parses the output of an IGT program: the running subtest, its result and the reason.

Source: lib/igt_core.c of IGT GPU Tools (the lines at the start and the end of a subtest, requirements, assertions).
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

START = re.compile(r"Starting subtest: (\S+)")
END = re.compile(r"Subtest (\S+): (SUCCESS|SKIP|FAIL|TIMEOUT|CRASH)\b")
DYNAMIC = re.compile(r"Dynamic subtest (\S+): (?:FAIL|CRASH|TIMEOUT)")
REASONS = (
    re.compile(r"Test requirement(?: not met in function [^:]+)?: (.+)"),
    re.compile(r"Failed assertion: (.+)"),
    re.compile(r"(error: .+)"),
    re.compile(r"(Received signal .+)"),
    re.compile(r"((?:Last errno|Child \d+|.*no KMS driver|Unexpected).*)"),
)
"""Lines that give a reason, the most specific first."""
OUTCOMES = {"SUCCESS": "pass", "SKIP": "skip", "FAIL": "fail", "TIMEOUT": "timeout", "CRASH": "crash"}
KEPT = 200
"""Number of last lines to keep of a subtest's output."""


@dataclass
class Transcript:
    """Parses one program's output. ``current`` is the running subtest; ``ended`` has those that ended."""

    current: str | None = None
    ended: list[tuple[str, str]] = field(default_factory=list)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))

    def line(self, text: str) -> None:
        """Parse one line, without its newline."""
        if found := START.match(text):
            self.current = found[1]
            self.lines.clear()
        elif found := END.match(text):
            self.ended.append((found[1], OUTCOMES[found[2]]))
            self.current = None
        elif text.strip():
            self.lines.append(text)

    def why(self) -> str:
        """The most specific reason why the last subtest did not pass; empty if none was found."""
        dynamic = next((found[1] for text in self.lines if (found := DYNAMIC.match(text))), None)
        for pattern in REASONS:
            for text in self.lines:
                if found := pattern.search(text):
                    return f"{dynamic}: {found[1]}" if dynamic else found[1]
        return self.lines[-1] if self.lines else ""
