# SPDX-License-Identifier: MIT
"""The error message of a failed build."""

from __future__ import annotations

import re
from collections.abc import Sequence

_REASON = re.compile(r"\berror:|ERROR: modpost|undefined reference|No rule to make|not found|No space left")


def first_error(lines: Sequence[str]) -> str:
    """The first line with an error in a build's output, else the last line."""
    said = [line.strip() for line in lines if line.strip()] or ["it printed nothing"]
    return next(filter(_REASON.search, said), said[-1])
