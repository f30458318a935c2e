# SPDX-License-Identifier: MIT
"""What is written from a results stream and the ledger; imports nothing else of the project."""

from __future__ import annotations

from pathlib import Path

from reports.ledger import Ledger
from reports.page import page
from reports.stream import Run, read
from reports.summary import summary
from reports.verdict import matrix

__all__ = ["Ledger", "Run", "read", "write_all"]

FILES = ("index.html", "results.jsonl", "junit.xml", "allure-results")


def write_all(results: Path, out: Path, ledger: Ledger | None = None) -> str:
    """Write every report of the stream ``results`` into ``out`` and return the summary for the terminal.

    ``ledger`` is that of the checkout unless it is given. The stream may be cut off anywhere. Raises OSError if it
    cannot be read or a report cannot be written, and reports.ledger.LedgerError if the ledger is not well-formed.
    """
    run = read(results)
    ledger = Ledger.load() if ledger is None else ledger
    verdicts = matrix(run, ledger)
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(page(run, verdicts, ledger), encoding="utf-8")
    written = [path for path in (out / name for name in FILES) if path.exists()]
    return summary(run, verdicts, written)
