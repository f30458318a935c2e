# SPDX-License-Identifier: MIT
"""Edits of C sources, matched by function: they fit another version as long as the function has the text.

Runs of white space match each other, so that an edit does not depend on how lines are broken.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from common.answers import NoAnswerError


class EditError(NoAnswerError, ValueError):
    """An edit does not fit a source; the message says why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Text of a function, and its replacement."""

    file: str
    """Path in the kernel tree."""
    function: str
    """Function, or macro with arguments."""
    find: str
    put: str
    times: int = 1
    """Number of times the function has the text; each is replaced, unless ``nth`` is given."""
    nth: int = 0
    """The one to replace, from 1; 0 is all."""

    def apply(self, source: str) -> str:
        """The edited source. Raises EditError."""
        start, end = body(source, self.function)
        pattern = r"\s+".join(re.escape(word) for word in self.find.split())
        places = itertools.count(1)

        def replaced(found: re.Match[str]) -> str:
            return self.put if self.nth in (0, next(places)) else found[0]

        edited, count = re.subn(pattern, replaced, source[start:end])
        if count != self.times:
            raise EditError(
                f"{self.file}: {self.function} has {count} times, not {self.times}, the text {self.find!r}"
            )
        return source[:start] + edited + source[end:]


def body(source: str, name: str) -> tuple[int, int]:
    """Range of the definition of a function or macro. Raises EditError."""
    if macro := re.search(rf"^#define\s+{name}\((?:.*\\\n)*.*", source, re.MULTILINE):
        return macro.span()
    for found in re.finditer(rf"\b{name}\(", source):
        after = _behind(source, found.end())
        if (opening := re.compile(r"\s*\n\{").match(source, after)) is None:
            continue
        if (closing := re.compile(r"^\}", re.MULTILINE).search(source, opening.end())) is not None:
            return found.start(), closing.end()
    raise EditError(f"no function is named {name}")


def _behind(source: str, start: int) -> int:
    """Behind the parenthesis that closes one opened just before ``start``."""
    depth = 1
    for at in range(start, len(source)):
        depth += {"(": 1, ")": -1}.get(source[at], 0)
        if not depth:
            return at + 1
    return len(source)
