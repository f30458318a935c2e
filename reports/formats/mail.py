# SPDX-License-Identifier: MIT
"""A reply for a mailing list: plain text, regressions first, unchanged results as a number."""

from __future__ import annotations

import textwrap

from reports.formats.digest import Digest, Entry, Section

WIDTH = 76


def mail(digest: Digest) -> str:
    """The whole text."""
    lines = [*_wrapped(f"GPU SVM conformance: {digest.verdict}", "", "  "), ""]
    for key, value in digest.about:
        lines += _wrapped(value, f"  {key + ':':<10} ", " " * 13)
    width = max((len(name) for name, _, _ in digest.environments), default=0)
    lines += ["", "Environments: conformance, behaviours passed / claimed / all"]
    lines += [
        f"  {name:<{width}}  {standing.conformance}  (kernel {kernel})"
        for name, kernel, standing in digest.environments
    ]
    lines += ["Driver behaviour: passed / claimed / all"]
    lines += [f"  {name:<{width}}  {standing.driver}" for name, _, standing in digest.environments]
    for problem in digest.problems:
        lines += _wrapped(problem, "! ", "  ")
    links: dict[str, int] = {}
    for section in digest.sections:
        lines += ["", *_section(section, links)]
    lines += ["", *_wrapped(f"Unchanged: {digest.unchanged}", "", "  ")]
    references = [f"[{number}] {link}" for link, number in links.items()]
    return "\n".join([*lines, *(["", *references] if references else []), ""])


def _section(section: Section, links: dict[str, int]) -> list[str]:
    title = f"{section.title}: {section.number}"
    lines = [title, "-" * len(title)]
    for entry in section.entries:
        lines += _entry(entry, links)
    return [*lines, f"* and {section.more} more"] if section.more else lines


def _entry(entry: Entry, links: dict[str, int]) -> list[str]:
    lines = [f"* {entry.test}"]
    lines += [f"    {where}" for where in entry.where]
    if entry.said:
        said = entry.said
        if entry.link:
            number = links.setdefault(entry.link, len(links) + 1)
            said = (
                f"{said.replace(entry.link, f'[{number}]')}" if entry.link in said else f"{said} [{number}]"
            )
        lines += _wrapped(said, "    ", "      ")
    for identifier, title in entry.statements:
        lines += _wrapped(f"{identifier}: {title}" if title else identifier, "    ", "      ")
    return [*lines, f"    $ {entry.replay}"] if entry.replay else lines


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
