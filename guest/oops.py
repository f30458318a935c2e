# SPDX-License-Identifier: MIT
"""The reason of a kernel crash in one line, from its console."""

from __future__ import annotations

import re

from common.splat import CRASH

_TIME = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?", re.MULTILINE)
_FIRST = re.compile(rf"^((?:(?:watchdog: )?(?:{CRASH})|Kernel panic - not syncing: ).*)$", re.MULTILINE)
_IN_KERNEL = re.compile(r"^RIP: 0010:(\w+)", re.MULTILINE)
_FAR = 2000
"""Maximum distance in characters from the first line to the function's name."""


def cause(console: str) -> str | None:
    """The first message of the crash, with its function; None if there is none."""
    text = _TIME.sub("", console)
    first = _FIRST.search(text)
    if first is None:
        return None
    function = _IN_KERNEL.search(text, first.end(), first.end() + _FAR)
    return f"{first[1].strip()} in {function[1]}" if function else first[1].strip()
