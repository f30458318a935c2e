# SPDX-License-Identifier: MIT
"""Texts of the page: each is stored once, long ones are cut, and all of them are packed."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

MAX_TEXT = 20_000
"""Characters of one transcript or traceback that go into the page; results.jsonl has all of it."""
MAX_TEXTS = 8_000_000
"""Characters of all of them together: a run in which everything fails must still open in a browser."""
FULL = "[left out: the page is full, results.jsonl has it]"


class Texts:
    """Texts by number; 0 is the empty one."""

    def __init__(self) -> None:
        self.all = [""]
        self._numbers = {"": 0}

    def __call__(self, text: str) -> int:
        """The number of a text."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.all)
            self.all.append(text)
        return number


class Clipped(Texts):
    """Long texts: too long ones have only their start and end, and there are none once the page is full."""

    def __init__(self, most: int = MAX_TEXTS) -> None:
        super().__init__()
        self._left = most

    def __call__(self, text: str) -> int:
        """The number of a text, if there is space for it."""
        if text in self._numbers:
            return self._numbers[text]
        if self._left <= 0:
            return super().__call__(FULL)
        short = clip(text)
        self._left -= len(short)
        number = self._numbers[text] = super().__call__(short)
        return number


def clip(text: str, most: int = MAX_TEXT) -> str:
    """The text, or its start and end if it is too long."""
    if len(text) <= most:
        return text
    half = most // 2
    hidden = f"[... {len(text) - 2 * half} characters left out, results.jsonl has them ...]"
    return f"{text[:half]}\n{hidden}\n{text[-half:]}"


def packed(value: Any) -> str:
    """A value as base64 of deflated JSON (templates/page/data.js reads it)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(compressor.compress(data) + compressor.flush()).decode("ascii")
