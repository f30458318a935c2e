# SPDX-License-Identifier: MIT
"""Every report of a run, written into a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reports.formats.digest import digest
from reports.formats.junit import junit
from reports.formats.kcidb import Submission, kcidb
from reports.formats.ktap import ktap
from reports.formats.mail import mail
from reports.formats.markdown import markdown
from reports.formats.table import as_csv, as_json
from reports.ledger import Ledger
from reports.merge import Report, merge
from reports.page import page
from reports.runs import FILES
from reports.stream import read
from reports.summary import brief, summary
from reports.verdict import matrix


def write_all(results: Path, out: Path, ledger: Ledger | None = None, *, details: bool = False) -> str:
    """Write every report of the stream ``results`` into ``out`` and return the summary for the terminal.

    ``details`` makes that long: counts by area, each reason of a skip.

    ``ledger`` is that of the checkout unless it is given. The stream may be cut off anywhere. Raises OSError if it
    cannot be read or a report cannot be written, and reports.ledger.LedgerError if the ledger is not well-formed.
    """
    run = read(results)
    ledger = Ledger.load() if ledger is None else ledger
    report = merge([run])
    verdicts = matrix(report, ledger)
    _write(out, {"index.html": page(report, verdicts, ledger), "junit.xml": junit(report, ledger)})
    written = [path for path in (out / name for name in FILES) if path.exists()]
    return (summary if details else brief)(run, verdicts, written)


def write_report(
    report: Report,
    out: Path,
    ledger: Ledger,
    about: Submission | None = None,
    tell: Callable[[str], object] = str,
) -> list[Path]:
    """Write a report in every format into ``out``, and return what was written; raises OSError.

    ``about`` is for KCIDB. ``tell`` is called with the name of each file before it is written: large ones take seconds.
    """
    from reports.formats import allure

    digested, verdicts = digest(report, ledger), matrix(report, ledger)
    makers: dict[str, Callable[[], str]] = {
        "index.html": lambda: page(report, verdicts, ledger),
        "matrix.csv": lambda: as_csv(verdicts),
        "matrix.json": lambda: as_json(verdicts),
        "junit.xml": lambda: junit(report, ledger),
        "results.ktap": lambda: ktap(report, ledger),
        "kcidb.json": lambda: kcidb(report, ledger, about or Submission()),
        "summary.md": lambda: markdown(digested),
        "mail.txt": lambda: mail(digested),
    }
    written = []
    for name, make in makers.items():
        tell(name)
        written += _write(out, {name: make()})
    tell("allure-results")
    allure.write(report, out / "allure-results", ledger)
    return [*written, out / "allure-results"]


def _write(out: Path, texts: dict[str, str]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]
