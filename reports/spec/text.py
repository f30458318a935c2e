# SPDX-License-Identifier: MIT
"""The Markdown that docs/findings.md is written in, as HTML: headings, paragraphs, lists, code, emphasis."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from markupsafe import Markup, escape

from reports.findings import slug, unbroken

_SPAN = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*")
_HEADING = re.compile(r"(#+) (.*)")
_SPACE = re.compile(r"\s+")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


def html(text: str, link: Callable[[str], str]) -> Markup:
    """The text; ``link`` has the address of what stands between backticks, or nothing."""
    return Markup("\n").join(_blocks(_COMMENT.sub("", text), link))


def _blocks(text: str, link: Callable[[str], str]) -> Iterator[Markup]:
    for block in re.split(r"\n\s*\n", text.strip()):
        heading, rest = _HEADING.match(block), block
        if heading:
            level = len(heading[1])
            title = _inline(heading[2], link)
            yield Markup('<h{0} id="{1}">{2}</h{0}>').format(level, slug(heading[2]), title)
            rest = block[heading.end() :].strip()
        if rest.startswith("- "):
            items = re.split(r"^- ", rest, flags=re.MULTILINE)[1:]
            listed = Markup("").join(Markup("<li>{}</li>").format(_inline(item, link)) for item in items)
            yield Markup("<ul>{}</ul>").format(listed)
        elif rest:
            yield Markup("<p>{}</p>").format(_inline(rest, link))


def _inline(text: str, link: Callable[[str], str]) -> Markup:
    parts, at = [], 0
    for found in _SPAN.finditer(text):
        parts.append(escape(_SPACE.sub(" ", text[at : found.start()])))
        code, strong, emphasised = found.groups()
        if code:
            said = unbroken(code)
            shown = Markup("<code>{}</code>").format(said)
            address = link(said)
            parts.append(Markup('<a href="{}">{}</a>').format(address, shown) if address else shown)
        else:
            parts.append(Markup("<{0}>{1}</{0}>").format("strong" if strong else "em", strong or emphasised))
        at = found.end()
    return Markup("").join([*parts, escape(_SPACE.sub(" ", text[at:]))])
