# SPDX-License-Identifier: MIT
"""A failing test as a mail to the driver's list."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from common.text import one_line
from reports.event import FINDING, Outcome, Result
from reports.ledger import Behaviour, Ledger
from reports.stream import Run
from reproduce.bisected import Change

LIST = "intel-xe@lists.freedesktop.org"
SHARED = "dri-devel@lists.freedesktop.org"
"""The list of drm_gpusvm and drm_pagemap, which other drivers use as well."""
REGRESSIONS = "regressions@lists.linux.dev"
"""Gets each report of a regression, with the subject's tag and the line for regzbot (reporting-regressions.rst)."""
WIDTH = 72
"""Columns of prose; programs and logs are as they are."""
SUBJECT = 90
"""Characters of what the subject says."""
OWN = "svmcts: test "
"""In the kernel's log, the line by which the suite says which test begins (fixtures.plugin.kernel)."""
LOG = 60
"""Lines of the kernel's log."""


def mail(run: Run, result: Result, program: str, *, often: str = "", change: Change | None = None) -> str:
    """A mail of plain text: what was expected, what happened, where, how often, since when, and the program.

    ``program`` is its text, ``often`` a sentence about its rate, ``change`` what a bisection found; both may be empty.
    """
    environment = run.environments.get(result.env)
    fields: Mapping[str, str] = environment.fields if environment else {}
    devices = environment.devices if environment else ()
    ledger = Ledger.load()
    behaviours = [ledger[identifier] for identifier in result.behaviours if identifier in ledger]
    parts = [
        "\n".join(_head(result, behaviours, change)),
        _wrapped(
            f"On {_where(result, fields)} a test of svm-cts fails. The C program below has its steps. "
            "It exits with 1 if the fault occurs, and with 0 if it does not."
        ),
        "\n".join(_facts(fields, devices, often, change)),
    ]
    for behaviour in behaviours:
        source = ", ".join(behaviour.sources)
        parts.append(_wrapped(f"Expected ({behaviour.id}): {behaviour.statement.strip()}") + f"\n  {source}")
    parts.append(_wrapped(f"Seen: {one_line(result.message)}"))
    if lines := [line for line in result.kernel_log.splitlines() if OWN not in line]:
        left = f"  ({len(lines) - LOG} earlier lines left out)\n" if len(lines) > LOG else ""
        parts.append("The kernel's log:\n\n" + left + "\n".join(f"  {line}" for line in lines[-LOG:]))
    parts.append(f"The test, with svm-cts {run.suite.get('version', 'unknown')}:\n\n  {result.replay}")
    if change is not None and not change.between:
        parts.append(f"#regzbot introduced: v{change.good}..v{change.bad}")
    parts.append("The program:\n\n" + program)
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _head(result: Result, behaviours: Sequence[Behaviour], change: Change | None) -> Iterator[str]:
    """Header lines."""
    copies = [SHARED] if any("/drm_" in source for one in behaviours for source in one.sources) else []
    copies += [REGRESSIONS] if change is not None else []
    yield f"To: {LIST}"
    if copies:
        yield f"Cc: {', '.join(copies)}"
    said = [behaviour.title for behaviour in behaviours[:1]]
    if not said or not result.message.startswith(
        "assert "
    ):  # an expression of the test tells its readers nothing
        said.append(one_line(result.message))
    if result.outcome is Outcome.KNOWN and result.reason.startswith(FINDING):
        said = [result.reason.removeprefix(FINDING)]
    tag = "REGRESSION" if change is not None else "BUG"
    yield f"Subject: [{tag}] drm/xe: {textwrap.shorten(': '.join(said), SUBJECT)}"


def _facts(
    fields: Mapping[str, str],
    devices: Sequence[Mapping[str, str | int]],
    often: str,
    change: Change | None,
) -> Iterator[str]:
    """Kernel, devices, rate, and the kernel since which it is so."""
    yield f"Kernel:     {fields.get('kernel', 'unknown')}"
    yield from (f"Device:     {_device(device)}" for device in devices)
    if often:
        yield f"How often:  {often}"
    if change is not None:
        others = f"; {', '.join(change.between)} cannot tell" if change.between else ""
        yield f"First bad:  {change.bad} (last good: {change.good}{others}), by svmcts bisect"


def _where(result: Result, fields: Mapping[str, str]) -> str:
    kernel = fields.get("kernel", "")
    kind = {"guest": ", QEMU with an emulated GPU", "mock": ", a mock of the driver"}
    place = result.env + kind.get(result.env.partition("/")[0], "")
    return f"Linux {kernel} ({place})" if kernel else place


def _device(device: Mapping[str, str | int]) -> str:
    known = [f"{name} {value}" for name, value in device.items() if value != ""]
    return one_line(", ".join(known))


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
