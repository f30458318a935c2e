# SPDX-License-Identifier: MIT
"""docs/findings.md, read: its entries, and the tests and behaviours that each names."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

FINDINGS = Path(__file__).resolve().parent.parent / "docs" / "findings.md"
SHOWN = "## Shown by a test\n"
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry of what tests show."""

    heading: str
    text: str

    @property
    def anchor(self) -> str:
        """Anchor in the specification; also the name of its program, without the extension."""
        return slug(self.heading)

    def behaviours(self, known: Collection[str]) -> list[str]:
        """The ids of ``known`` that it names, in its order."""
        return list(dict.fromkeys(code for code in codes(self.text) if code in known))


def read(path: Path = FINDINGS) -> list[Finding]:
    """The entries; raises OSError."""
    return [Finding(heading, text) for heading, text in entries(path.read_text(encoding="utf-8")).items()]


def entries(text: str) -> dict[str, str]:
    """Headings of what tests show, with what is below."""
    (shown,) = re.findall(rf"^{SHOWN}(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^### (.*)\n", shown, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def codes(text: str) -> list[str]:
    """Texts between backticks; a node id that is broken over two lines is joined."""
    return [unbroken(code) for code in _CODE.findall(text)]


def unbroken(code: str) -> str:
    """Texts between backticks, on one line: without the spaces at which a node id was broken."""
    return ("" if "::" in code else " ").join(code.split())


def named_in(entry: str) -> list[tuple[str, str]]:
    """(file, function) of the tests that an entry names; the function is empty for rows of a file."""
    found, file = [], ""
    for node in _CODE.findall(entry):
        name = "".join(node.split())
        if match := re.fullmatch(r"(suites/[\w/]+\.py)?(?:::(test_\w+))?", name):
            file = match[1] or file
            found.append((file, match[2] or ""))
    return found


def slug(heading: str) -> str:
    """A heading as a name of files and anchors."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
