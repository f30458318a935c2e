# SPDX-License-Identifier: MIT
"""Every report of a run, written into a folder."""

from __future__ import annotations

from pathlib import Path

from reports.formats.digest import digest
from reports.formats.junit import junit
from reports.formats.kcidb import kcidb
from reports.formats.ktap import ktap
from reports.formats.mail import mail
from reports.formats.markdown import markdown
from reports.ledger import Ledger
from reports.merge import Report, merge
from reports.page import page
from reports.runs import FILES
from reports.stream import read
from reports.summary import summary
from reports.verdict import matrix


def write_all(results: Path, out: Path, ledger: Ledger | None = None) -> str:
    """Write every report of the stream ``results`` into ``out`` and return the summary for the terminal.

    ``ledger`` is that of the checkout unless it is given. The stream may be cut off anywhere. Raises OSError if it
    cannot be read or a report cannot be written, and reports.ledger.LedgerError if the ledger is not well-formed.
    """
    run = read(results)
    ledger = Ledger.load() if ledger is None else ledger
    report = merge([run])
    verdicts = matrix(report, ledger)
    _write(out, {"index.html": page(report, verdicts, ledger), "junit.xml": junit(report, ledger)})
    written = [path for path in (out / name for name in FILES) if path.exists()]
    return summary(run, verdicts, written)


def write_report(report: Report, out: Path, ledger: Ledger) -> list[Path]:
    """Write a report in every format into ``out``, and return what was written; raises OSError."""
    from reports.formats import allure

    digested = digest(report, ledger)
    texts = {
        "index.html": page(report, matrix(report, ledger), ledger),
        "junit.xml": junit(report, ledger),
        "results.ktap": ktap(report, ledger),
        "kcidb.json": kcidb(report, ledger),
        "summary.md": markdown(digested),
        "mail.txt": mail(digested),
    }
    written = _write(out, texts)
    allure.write(report, out / "allure-results", ledger)
    return [*written, out / "allure-results"]


def _write(out: Path, texts: dict[str, str]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]
