# SPDX-License-Identifier: MIT
"""Content of the specification for each behaviour, before it is HTML or Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from reports import findings
from reports.findings import Finding
from reports.ledger import DIRECTORY, Behaviour, Ledger
from reports.looks import Look, look
from reports.marks import proofs
from reports.sources import AS_OF, url
from reports.spec import tests as tests_
from reports.spec.tests import Test
from reports.verdict import Cell, Matrix

POSTINGS = DIRECTORY / "README.md"
"""Has a table of them."""
_ROW = re.compile(r"^\| (\d{3}) \| (.+) \|$", re.MULTILINE)
_SEED = re.compile(r"seed (\d{3})\b")
PROMISES = {
    "promised": "a document promises it",
    "agreed": "a posting or commit says so",
    "driver": "only this driver does so",
}
KINDS = {"must": "", "may": "the kernel is free to choose", "model-only": "no program can see it"}


@dataclass(frozen=True, slots=True)
class Link:
    """A source: what it is called, its address if it has one, and the words that it begins with."""

    text: str
    address: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A finding about a behaviour."""

    finding: Finding
    kernels: str
    """Kernels that fail; empty without a mark of a test."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of an environment."""

    environment: str
    look: Look
    cell: Cell


@dataclass(frozen=True, slots=True)
class Entry:
    """A behaviour with all that belongs to it."""

    behaviour: Behaviour
    promised_by: tuple[Link, ...]
    sources: tuple[Link, ...]
    tests: tuple[Test, ...]
    untested: str
    """Reason why no test proves it; empty if one does."""
    troubles: tuple[Trouble, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Area:
    """A chapter."""

    name: str
    title: str
    entries: tuple[Entry, ...]

    def count(self, promise: str) -> int:
        """Behaviours that are promised so."""
        return sum(entry.behaviour.promise == promise for entry in self.entries)

    @property
    def tested(self) -> int:
        """Behaviours with a test."""
        return sum(bool(entry.tests) for entry in self.entries)


class Specification:
    """All of it."""

    def __init__(self, ledger: Ledger, verdicts: Matrix | None = None) -> None:
        """With ``verdicts``, also the verdict of each environment on each behaviour; raises OSError."""
        self.ledger = ledger
        self.findings = findings.read()
        self.postings = dict(_ROW.findall(POSTINGS.read_text(encoding="utf-8")))
        self.environments = verdicts.environments if verdicts else ()
        self.standings = verdicts.standings if verdicts else {}
        self._tests = tests_.read()
        self._proofs = proofs()
        self._cells: Mapping[str, tuple[Cell, ...]] = (
            {row.behaviour.id: row.cells for _, _, rows in verdicts.areas for row in rows} if verdicts else {}
        )
        self.areas = tuple(
            Area(name, title, tuple(self._entry(b) for b in ledger.values() if b.area == name))
            for name, title in ledger.vocabulary.areas.items()
        )

    @property
    def entries(self) -> list[Entry]:
        """All behaviours."""
        return [entry for area in self.areas for entry in area.entries]

    @cached_property
    def files(self) -> list[str]:
        """The test files that links lead into."""
        return sorted({test.file for entry in self.entries for test in entry.tests} | self._named)

    def test(self, node: str) -> Test | None:
        """The test of a node id, if there is one."""
        return self._tests.get(node)

    @property
    def _named(self) -> set[str]:
        """Files that findings name."""
        return {file for finding in self.findings for file, _ in findings.named_in(finding.text) if file}

    @cached_property
    def _troubles(self) -> dict[str, list[Trouble]]:
        """Id to findings: those that name it, or whose tests do, if they name none."""
        kernels: dict[str, str] = {}
        by_tests: dict[str, list[str]] = {}
        for identifier, nodes in self._proofs.items():
            for node in nodes:
                for heading, which in tests_.at(node, self._tests).known:
                    kernels.setdefault(heading, which)
                    by_tests.setdefault(heading, []).append(identifier)
        troubles: dict[str, list[Trouble]] = {}
        for finding in self.findings:
            named = finding.behaviours(self.ledger.keys()) or by_tests.get(finding.heading, [])
            for identifier in dict.fromkeys(named):
                trouble = Trouble(finding, kernels.get(finding.heading, ""))
                troubles.setdefault(identifier, []).append(trouble)
        return troubles

    def _address(self, source: str) -> str:
        """Address of a source: in the kernel's tree, or the document's entry of a posting."""
        found = _SEED.match(source)
        return f"index.html#seed-{found[1]}" if found and found[1] in self.postings else url(source, AS_OF)

    def _entry(self, b: Behaviour) -> Entry:
        proving = [tests_.at(node, self._tests) for node in self._proofs.get(b.id, ())]
        cells = self._cells.get(b.id, ())
        return Entry(
            b,
            tuple(
                Link(place.at, self._address(place.at), (place.words or "").lstrip("-* "))
                for place in b.promised_by
            ),
            tuple(Link(source, self._address(source)) for source in b.sources),
            tuple(proving),
            "" if proving else self.ledger.no_test(b.id),
            tuple(self._troubles.get(b.id, ())),
            tuple(
                Verdict(environment.name, look(cell.outcome), cell)
                for environment, cell in zip(self.environments, cells, strict=bool(cells))
            ),
        )
