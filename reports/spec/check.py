# SPDX-License-Identifier: MIT
"""Dead links and names: in the documents of the repository, and in the specification itself. It does not use the
network.

For a document these have to exist: the target of a link and its anchor; and in backticks paths of the repository, node
ids of tests, and ids (or globs) of behaviours.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath

from common.answers import NoAnswerError
from common.place import is_installed
from reports.findings import unbroken
from reports.ledger import Ledger
from reports.spec.tests import Test

DOCUMENTS = ("*.md", "*/README.md", "docs/**/*.md")
"""Below the root of the repository, in folders that are not hidden."""
PRODUCED = ("reports/out", "benchmarks/out", ".venv")
"""Folders that a document may name though nothing is there before a run."""
PICTURES = "pictures"
"""The folder of docs that a wheel does not have."""
YOURS = ("ci-templates/waivers.toml",)
"""Files that a document tells its reader to make."""

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="([^"]+)">')
_ID = re.compile(r"[a-z0-9-]+(\.[a-z0-9*?-]+)+")
_PATH = re.compile(r"[\w.-]+(/[\w.-]+)+/?(::\w+)*(\[.*\])?")
_NODE = re.compile(r"suites/[\w/]+\.py::\w+\*?")
_ELSEWHERE = ("http:", "https:", "mailto:")


@dataclass(frozen=True, slots=True)
class Dead:
    """A link or name that leads nowhere."""

    where: str
    """File, and line of a document."""
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def documents(root: Path) -> list[Path]:
    """The documents of the repository; raises NoAnswerError if it is not a checkout."""
    found = sorted({path for pattern in DOCUMENTS for path in root.glob(pattern) if not _hidden(path, root)})
    if root / "README.md" not in found:
        raise NoAnswerError(f"{root} has no README.md: the documents are checked in a checkout")
    return found


def _hidden(path: Path, root: Path) -> bool:
    """Whether it is in a folder such as .pytest_cache, which tools fill with documents of their own."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def in_documents(root: Path, ledger: Ledger, tests: Mapping[str, Test]) -> Iterator[Dead]:
    """Dead links and names in the documents below ``root``; raises OSError."""
    for path in documents(root):
        yield from in_text(path.relative_to(root), path.read_text(encoding="utf-8"), root, ledger, tests)


def in_text(file: Path, text: str, root: Path, ledger: Ledger, tests: Mapping[str, Test]) -> Iterator[Dead]:
    """Dead links and names in one of them; ``file`` is below ``root``."""
    prose = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    heads = {identifier.partition(".")[0] for identifier in ledger}
    for found in _LINK.finditer(prose):
        if what := _target(root, file, found[1]):
            yield Dead(_at(file, prose, found.start()), what)
    for found in _NODE.finditer(text):
        if not (fnmatch.filter(tests, found[0]) if found[0].endswith("*") else found[0] in tests):
            yield Dead(_at(file, text, found.start()), f"names {found[0]}, which is not a test")
    for found in _CODE.finditer(prose):
        if what := _name(root, file, unbroken(found[1]), heads, ledger, tests):
            yield Dead(_at(file, prose, found.start()), what)


def _at(file: Path, text: str, position: int) -> str:
    return f"{file}:{text.count(chr(10), 0, position) + 1}"


def _target(root: Path, file: Path, link: str) -> str:
    if link.startswith(_ELSEWHERE):
        return ""
    path, _, anchor = link.partition("#")
    target = root / file.parent / path if path else root / file
    if not target.exists():
        if is_installed(root) and PICTURES in target.parts:
            return ""
        return f"links to {path}, which does not exist"
    if anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
        return f"links to #{anchor}, which {target.name} does not have"
    return ""


def anchors(text: str) -> set[str]:
    """Anchors of a Markdown text: its headings as forges name them, and explicit ones."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(text))
    return {*(heading.strip().replace(" ", "-") for heading in headings), *_ANCHOR.findall(text)}


def _name(
    root: Path, file: Path, code: str, heads: Collection[str], ledger: Ledger, tests: Mapping[str, Test]
) -> str:
    if _ID.fullmatch(code) and code.partition(".")[0] in heads:
        known = ledger.matching(code) if set("*?") & set(code) else code in ledger
        return "" if known or (root / code).exists() else f"`{code}` is not in behaviours/"
    if not _PATH.fullmatch(code) or code.startswith(PRODUCED) or code in YOURS:
        return ""
    path, colons, name = code.partition("[")[0].partition("::")
    if not (colons or path.endswith("/") or PurePosixPath(path).suffix):
        return ""  # an environment, as mock/bmg
    folder = PurePosixPath(path).parts[0]
    below = [base for base in (root, root / file.parent) if (base / folder).is_dir()]
    if not below:
        return ""  # of the kernel, or of no repository
    if not any((base / path).exists() for base in below):
        return f"`{path}` does not exist"
    if colons and path.startswith("suites/") and f"{path}::{name}" not in tests:
        return f"`{path}` has no test {name}"
    return ""


class _Page(HTMLParser):
    """The anchors of a page, and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in ("href", "src") and value:
                self.links.append(value)


def in_specification(made: Mapping[str, str], identifiers: Iterable[str]) -> Iterator[Dead]:
    """Dead links and names in a specification, given as names of files to their texts. Each id must have one anchor."""
    pages = {name: _Page(text) for name, text in made.items() if name.endswith(".html")}
    ids = {name: set(page.ids) for name, page in pages.items()}
    markdown = {name: text for name, text in made.items() if name.endswith(".md")}
    ids |= {name: set(_ANCHOR.findall(text)) for name, text in markdown.items()}
    links = {name: page.links for name, page in pages.items()}
    links |= {name: _LINK.findall(text) for name, text in markdown.items()}
    for name, page in pages.items():
        for identifier in sorted(ids[name]):
            if page.ids.count(identifier) > 1:
                yield Dead(name, f"has the anchor #{identifier} more than once")
    for name, targets in links.items():
        for link in dict.fromkeys(targets):
            if link.startswith(_ELSEWHERE):
                continue
            path, _, anchor = link.partition("#")
            file = normpath(str(PurePosixPath(name).parent / path)) if path else name
            if file not in made:
                yield Dead(name, f"links to {file}, which does not exist")
            elif anchor and anchor not in ids[file]:
                yield Dead(name, f"links to {file}#{anchor}, which does not exist")
    for identifier in identifiers:
        having = [name for name, page in pages.items() if identifier in page.ids]
        if len(having) != 1 or not any(identifier in ids[name] for name in markdown):
            yield Dead(
                "specification", f"{identifier} has not one anchor in the pages and one in the Markdown"
            )
