# SPDX-License-Identifier: MIT
"""A summary for a merge request, as GitLab and GitHub show it."""

from __future__ import annotations

import re

from reports.formats.digest import Digest, Entry, Section

_OPEN = frozenset({"Possible regressions", "No longer tested", "Failures", "Other failures"})
"""Sections that are not folded."""


def markdown(digest: Digest) -> str:
    """The whole text."""
    lines = [f"## GPU SVM conformance: {digest.verdict}", ""]
    lines += [f"> {_plain(problem)}\n" for problem in digest.problems]
    lines += ["Behaviours passed / claimed / all:", ""]
    lines += ["| environment | kernel | conformance | driver behaviour |", "|---|---|---|---|"]
    lines += [
        f"| {_cell(name)} | {_cell(kernel)} | {standing.conformance} | {standing.driver} |"
        for name, kernel, standing in digest.environments
    ]
    lines.append("")
    for section in digest.sections:
        lines += _section(section)
    lines += [f"Unchanged: {digest.unchanged}.", ""]
    about = "; ".join(f"{key} {_code(value)}" for key, value in digest.about)
    return "\n".join([*lines, f"<sub>{about}</sub>", ""])


def _section(section: Section) -> list[str]:
    number = section.number
    entries = [line for entry in section.entries for line in _entry(entry)]
    if section.more:
        entries.append(f"- and {section.more} more: see the report")
    if section.title in _OPEN:
        return [f"### {section.title}: {number}", "", *entries, ""]
    return ["<details>", f"<summary>{section.title}: {number}</summary>", "", *entries, "", "</details>", ""]


def _entry(entry: Entry) -> list[str]:
    lines = [f"- {_code(entry.test)}", f"  - {_plain('; '.join(entry.where))}"]
    if entry.said:
        link = f" ({_plain(entry.link)})" if entry.link and entry.link not in entry.said else ""
        lines.append(f"  - {_code(entry.said)}{link}")
    lines += [f"  - {_code(identifier)} {_plain(title)}".rstrip() for identifier, title in entry.statements]
    return [*lines, f"  - {_code(entry.replay)}"] if entry.replay else lines


def _code(text: str) -> str:
    """A code span; with as many backticks as it takes."""
    text = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}" if text else ""


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#@])", r"\\\1", " ".join(text.split()))


def _cell(text: str) -> str:
    return _code(text.replace("|", "\u2502"))
