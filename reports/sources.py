# SPDX-License-Identifier: MIT
"""Web addresses of files of the kernel, as of a release."""

from __future__ import annotations

import re

AS_OF = "7.3"
"""The release as of which the ledger gives lines of documents, and names of functions."""
MAINLINE = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/{path}?h=v{version}{line}"
STABLE = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git/tree/{path}?h=v{version}{line}"
"""The tree that has tags of stable releases, as v7.3.4, too."""

_PLACE = re.compile(r"(?P<path>[\w.+-]+(?:/[\w.+-]+)+)(?::(?:(?P<line>\d+)\b|\S.*))?")


def url(source: str, version: str) -> str:
    """``file:function`` or ``file:line`` of the ledger as an address at ``version``; empty for what is not a file."""
    found = _PLACE.fullmatch(source)
    if found is None or not version:
        return ""
    tree = STABLE if version.count(".") > 1 else MAINLINE
    line = f"#n{found['line']}" if found["line"] else ""
    return tree.format(path=found["path"], version=version, line=line)
