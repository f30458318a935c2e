# SPDX-License-Identifier: MIT
"""``python -m tests.durations RUN``: record the tests that take long, which workers get first.

``RUN`` is a run of the suite in guests (its folder, or results.jsonl).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from fixtures.plugin.dealing import DURATIONS
from reports import stream
from reports.event import Result

SUITES = Path(__file__).parent.parent / "suites"
LONG_S = 0.5
"""Seconds, twice the mean in a guest: the order of shorter tests makes no difference."""


def text(results: Iterable[Result]) -> str:
    """The file: the longest time of each test that takes long, to a tenth of a second, the longest first."""
    longest: dict[str, float] = {}
    for result in results:
        longest[result.test] = max(longest.get(result.test, 0.0), round(result.duration, 1))
    long = sorted((-seconds, test) for test, seconds in longest.items() if seconds >= LONG_S)
    return "".join(f"{test.partition('/')[2]}\t{-seconds}\n" for seconds, test in long)


def main(arguments: list[str]) -> int:
    """Rewrite the file."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    (SUITES / DURATIONS).write_text(text(stream.read(Path(arguments[0])).results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
