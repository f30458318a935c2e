# SPDX-License-Identifier: MIT
"""Lines that several environments have, each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """A line that is shown once for all its environments."""

    text: str
    names: tuple[str, ...]
    all: bool

    @property
    def where(self) -> str:
        """The environments, or that it is all of them."""
        return "all environments" if self.all and len(self.names) > 1 else ", ".join(self.names)


def said_once(lines: Mapping[str, Sequence[str]]) -> list[Said]:
    """Lines of environments (the keys), each with all that have it."""
    names: dict[str, list[str]] = {}
    for name, texts in lines.items():
        for text in texts:
            names.setdefault(" ".join(text.split()), []).append(name)
    return [Said(text, tuple(having), len(having) == len(lines)) for text, having in names.items()]
