# SPDX-License-Identifier: MIT
"""Text from files and programs, made safe to print."""

from __future__ import annotations

import re

# Control characters are shown, not obeyed, by terminals, browsers and XML readers alike; direction overrides
# could make a name read as another; a lone surrogate cannot be written as UTF-8 at all.
HIDDEN = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
HIDDEN |= dict.fromkeys((*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
_SURROGATE = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with a visible sign for each control character, direction override and lone surrogate."""
    return _SURROGATE.sub("\ufffd", text.replace("\r\n", "\n").translate(HIDDEN))


def one_line(text: str) -> str:
    """The same, with a space for each run of white space."""
    return " ".join(visible(text).split())
