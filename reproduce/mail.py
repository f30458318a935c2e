# SPDX-License-Identifier: MIT
"""A failing test as a mail to the driver's list."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from common.text import one_line
from reports.event import Result
from reports.ledger import Ledger
from reports.stream import Run

LIST = "intel-xe@lists.freedesktop.org"
WIDTH = 72
"""Columns of prose; programs and logs are as they are."""
SUBJECT = 90
"""Characters of what the subject says."""
LOG = 60
"""Lines of the kernel's log."""


def mail(run: Run, result: Result, program: str) -> str:
    """A mail of plain text: what was expected, what happened, where, and the program."""
    environment = run.environments.get(result.env)
    fields: Mapping[str, str] = environment.fields if environment else {}
    devices = environment.devices if environment else ()
    ledger = Ledger.load()
    behaviours = [ledger[identifier] for identifier in result.behaviours if identifier in ledger]
    subject = textwrap.shorten(
        ": ".join([*(behaviour.title for behaviour in behaviours[:1]), one_line(result.message)]), SUBJECT
    )
    kernel = fields.get("kernel", "unknown")
    parts = [
        f"To: {LIST}\nSubject: [BUG] drm/xe: {subject}\n",
        _wrapped(
            f"On {_where(result, fields)} a test of svm-cts fails. What it did is a C program below, which ends with "
            "1 where the fault is and with 0 where it is not."
        ),
        f"Kernel:  {kernel}\n" + "".join(f"Device:  {_device(device)}\n" for device in devices).rstrip("\n"),
    ]
    for behaviour in behaviours:
        source = ", ".join(behaviour.sources)
        parts.append(_wrapped(f"Expected ({behaviour.id}): {behaviour.statement.strip()}") + f"\n  {source}")
    parts.append(_wrapped(f"Seen: {one_line(result.message)}"))
    if result.kernel_log:
        lines = result.kernel_log.splitlines()
        left = f"  ({len(lines) - LOG} earlier lines left out)\n" if len(lines) > LOG else ""
        parts.append("The kernel's log:\n\n" + left + "\n".join(f"  {line}" for line in lines[-LOG:]))
    parts.append(f"The test, with svm-cts {run.suite.get('version', 'unknown')}:\n\n  {result.replay}")
    parts.append("The program:\n\n" + program)
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _where(result: Result, fields: Mapping[str, str]) -> str:
    kernel = fields.get("kernel", "")
    return f"Linux {kernel} ({result.env})" if kernel else result.env


def _device(device: Mapping[str, str | int]) -> str:
    known = [f"{name} {value}" for name, value in device.items() if value != ""]
    return one_line(", ".join(known))


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
