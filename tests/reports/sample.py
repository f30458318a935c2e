# SPDX-License-Identifier: MIT
"""The end of a run as README.md shows it, written again from the stream of a run.

python -m tests.reports.sample RUN
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from datetime import datetime
from pathlib import Path

from common.place import ROOT
from reports.event import Outcome
from reports.ledger import Ledger
from reports.runs import FILES, OUT
from reports.stream import Run, read
from reports.summary import brief
from reports.verdict import matrix

README = ROOT / "README.md"
_BLOCK = re.compile(r"(?<=ends like this, here at `[0-9a-f]{7}`:\n\n)(?:    .*\n|\n)+?(?=\n\S)")


def shown() -> str:
    """The part of README.md."""
    found = _BLOCK.search(README.read_text(encoding="utf-8"))
    assert found
    return found[0]


def sample(run: Run, ledger: Ledger) -> str:
    """The end of a run in which nothing failed, with pytest's lines around it."""
    began, ended = (datetime.fromisoformat(time) for time in (run.start, run.end))
    folder = OUT / "runs" / f"{began:%Y%m%d-%H%M%S}-{run.seed}"
    said = brief(run, matrix(run, ledger), [folder / name for name in FILES])
    counts = Counter(result.outcome for result in run.results)
    skipped = counts[Outcome.NOT_CLAIMED] + counts[Outcome.UNTESTED]
    took = (ended - began).total_seconds()
    last = (
        f" {counts[Outcome.PASS]} passed, {skipped} skipped, {counts[Outcome.KNOWN]} xfailed in {took:.1f}s "
    )
    lines = [f"{' svm-cts ':=^80}", *said.strip("\n").splitlines(), f"{last:=^80}"]
    return "".join(f"    {line}\n" if line else "\n" for line in lines)


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="stream of a run of make conformance")
    run = read(parser.parse_args().run)
    text = README.read_text(encoding="utf-8").replace(shown(), sample(run, Ledger.load()))
    commit = run.suite["git"][:7]
    README.write_text(re.sub(r"here at `[0-9a-f]{7}`", f"here at `{commit}`", text), encoding="utf-8")


if __name__ == "__main__":
    main()
