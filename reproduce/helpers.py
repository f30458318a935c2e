# SPDX-License-Identifier: MIT
"""The C functions that programs are made of (helpers.c); a program gets those that it uses."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

FILE = Path(__file__).with_name("helpers.c")
_PART = re.compile(r"^//// (\w+): ([^\n]*)\n(.*?)\s*(?=^////|\Z)", re.MULTILINE | re.DOTALL)


@functools.cache
def _helpers() -> dict[str, tuple[str, str]]:
    """Name to its text and the headers it needs, in the order in which they come."""
    text = FILE.read_text(encoding="utf-8")
    return {match[1]: (match[3], match[2]) for match in _PART.finditer(text)}


_WORDS = {
    "deadline": ("deadline", "now"),
    "turn": ("turn", "over"),
    "call": ("CALL",),
    "waited": ("WAIT", "ASK"),
    "check": ("CHECK",),
    "store": ("store32", "store64"),
    "load": ("load32", "load64"),
    "saw": ("SAW",),
}
_PARTS = re.compile(r"\n\n(?=(?:/\*|static|#define))")


def helpers(body: str) -> tuple[str, list[str]]:
    """The helpers that a program's text uses, in order, and the headers that they need."""
    wanted: dict[str, str] = {}
    headers: set[str] = set()
    text = body
    for name, (source, needs) in reversed(_helpers().items()):
        used = [word for word in _WORDS.get(name, (name,)) if re.search(rf"\b{word}\(", text)]
        if not used and name != "end":
            continue
        kept = source
        if name in ("store", "load", "deadline") and len(used) < 2:
            # A static function that nothing calls is a warning.
            parts = _PARTS.split(source)
            kept = "\n\n".join(part for part in parts if used[0] in part or name == "deadline")
            if name == "deadline" and used == ["now"]:
                kept = parts[0]
        wanted[name] = kept
        headers |= set(needs.split())
        text += kept
    return "\n\n".join(wanted[name] for name in _helpers() if name in wanted), sorted(headers)


def includes(headers: Iterable[str]) -> str:
    """Lines that include headers."""
    return "\n".join(f"#include <{header}>" for header in sorted(set(headers)))
