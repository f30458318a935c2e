# SPDX-License-Identifier: MIT
"""The answer to a patch as a mail for its list."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from reports.formats.digest import digest
from reports.formats.mail import WIDTH, mail
from reports.ledger import Ledger
from reports.merge import Report
from reports.patch.changes import Change
from reports.patch.header import HEADER, Answer


def letter(
    change: Change,
    base: str,
    report: Report,
    ledger: Ledger,
    header: Answer | None,
    ran: str,
    executed: Sequence[str] = (),
) -> str:
    """The whole text, its head with the subject first. ``executed`` says which changed lines the tests executed."""
    lines = [f"Subject: Re: {change.title}", ""]
    lines += textwrap.wrap(
        f"I ran {ran} on Linux {base}, without and with this change, in a guest with an emulated GPU.", WIDTH
    )
    lines += ["", *mail(digest(report, ledger)).splitlines()]
    if executed:
        title = "Coverage of the changed lines"
        lines += ["", title, "-" * len(title), *executed]
    if header is not None:
        title = f"{HEADER}: {'breaks' if header.breaks else 'keeps'} programs"
        lines += ["", title, "-" * len(title), *header.lines]
    return "\n".join([*lines, ""])
