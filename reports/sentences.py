# SPDX-License-Identifier: MIT
"""The sentences of a kernel document: of the comments of a .c or .h file, and of the text of an .rst file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# A line that begins a paragraph of its own: a member or parameter, an item of a list, a heading of kernel-doc, a tag.
_HEAD = re.compile(
    r"(?:[-*#] |#\.|\d+[.)] |@\w|%\w+ ?[:-]|DOC:|Returns?:|Return |RETURNS|Note:|:\w|\.\. |\w+\(\) - )"
)
_UNDERLINE = re.compile(r"([=\-~^*\"#+.])\1{2,}")
_END = re.compile(
    r"(?<=[.?!])(?<!^\d\.)(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)(?<!cf\.)[\"')]* +(?=[\"'(%@*`]*[A-Z0-9])"
)
_LEADER = re.compile(r"^\s*(?:/\*\*?|\*/|\*(?!\w))?[ \t]?")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, and the line on which it begins (from 1)."""

    line: int
    text: str
    """Without the stars of a comment, with single blanks."""
    code: bool = False
    """Whether it is a line of code: those of a header of the uAPI are promises too."""


def sentences(name: str, text: str) -> list[Sentence]:
    """The sentences of the file called ``name``: of kernel-doc, or all of an .rst; of a uAPI header all."""
    if name.endswith(".rst"):
        return [sentence for paragraph in _paragraphs(_rst(text)) for sentence in _split(paragraph)]
    uapi = name.startswith("include/uapi/")
    comments = _comments(text, "/*" if uapi else "/**")
    found = [sentence for paragraph in _paragraphs(comments) for sentence in _split(paragraph)]
    if uapi:
        found += _code(text)
    return sorted(found, key=lambda sentence: sentence.line)


def _rst(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        yield number, "" if _UNDERLINE.fullmatch(line.strip()) else line.strip()


def _comments(text: str, opening: str) -> Iterator[tuple[int, str]]:
    """The lines of comments that begin with ``opening``; other lines are empty."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if not inside:
            inside = line.lstrip().startswith(opening)
        if not inside:
            yield number, ""
            continue
        inside = "*/" not in line
        yield number, _LEADER.sub("", line.replace("*/", "")).strip()


def _code(text: str) -> Iterator[Sentence]:
    comment = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("/*"):
            comment = True
        if not comment and line.strip():
            yield Sentence(number, " ".join(line.split()), code=True)
        if "*/" in line:
            comment = False


def _paragraphs(lines: Iterable[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    block: list[tuple[int, str]] = []
    for number, line in lines:
        if block and (not line or _HEAD.match(line)):
            yield block
            block = []
        if line:
            block.append((number, line))
    if block:
        yield block


def _split(paragraph: list[tuple[int, str]]) -> Iterator[Sentence]:
    """The sentences of a paragraph, each with the line of its first word."""
    starts: list[tuple[int, int]] = []
    text = ""
    for number, line in paragraph:
        text += " " if text else ""
        starts.append((len(text), number))
        text += " ".join(line.split())
    position = 0
    for end in [*(found.end() for found in _END.finditer(text)), len(text)]:
        _, begins = max((start, number) for start, number in starts if start <= position)
        yield Sentence(begins, text[position:end].strip())
        position = end
