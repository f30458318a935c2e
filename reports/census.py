# SPDX-License-Identifier: MIT
"""The census of documents: every sentence that may bind the kernel, with the behaviours that have it or why none has.

``behaviours/census/<file>.tsv`` has a line for each such sentence of one document, as of the kernel that it was
recorded from. A comparison with another kernel shows which sentences are new, changed or gone.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.answers import NoAnswerError
from reports.ledger import DIRECTORY, Ledger
from reports.sentences import Sentence, sentences

CENSUS = DIRECTORY / "census"
DOCUMENTS = (
    "include/uapi/drm/xe_drm.h",
    "drivers/gpu/drm/xe/xe_svm.c",
    "drivers/gpu/drm/xe/xe_vm.c",
    "drivers/gpu/drm/xe/xe_vm_doc.h",
    "drivers/gpu/drm/xe/xe_vm_madvise.c",
    "drivers/gpu/drm/drm_gpusvm.c",
    "drivers/gpu/drm/drm_pagemap.c",
    "Documentation/gpu/drm-vm-bind-async.rst",
    "Documentation/gpu/rfc/gpusvm.rst",
    "Documentation/mm/hmm.rst",
)
WHY = {
    "describes": "says what something is, or how the code goes about it, and is not a requirement",
    "inside": "binds parts of the kernel to each other, where no program can see it",
    "program": "binds the program, not the kernel",
    "elsewhere": "is about a part of the uAPI that this suite does not test",
    "future": "is about what may come",
    "overtaken": "the code has gone another way, and the sentence stayed",
    "errors": "names return values of a function inside",
}
COLUMNS = ["line", "digest", "words", "ids", "why"]
_WORDS = 7
# A sentence without any of these describes. Wide on purpose: one too many costs a line of the table.
_BINDING = re.compile(
    r"\b(?i:must|shall|should|may|can|cannot|can't|will|won't|needs?|only|never|always|not|ignored?|invalid|undefined"
    r"|reject(s|ed)?|returns?|returned|fails?|error|guarantee[ds]?|ensures?|requires?d?|MBZ|default|expect(s|ed)?"
    r"|supports?|supported|allow(s|ed)?|exclusive|implied|at most|at least|same|valid|any|all|every|each|no|without"
    r"|blocked?|until|before|after)\b|\bE[A-Z]{3,}\b"
)


class CensusError(NoAnswerError, ValueError):
    """A table or a document cannot be read; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sentence of a document, and how it was classified."""

    line: int
    digest: str
    words: str
    """First words of the sentence."""
    ids: tuple[str, ...] = ()
    """The behaviours that have it."""
    why: str = ""
    """A word of WHY, if no behaviour has it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences between a document and its table."""

    new: list[Row] = field(default_factory=list)
    changed: list[tuple[Row, Row]] = field(default_factory=list)
    """(as recorded, as it is now); both begin alike."""
    gone: list[Row] = field(default_factory=list)
    same: list[tuple[Row, Row]] = field(default_factory=list)
    """(as recorded, as it is now); the line may differ."""
    now: Sequence[Row] = ()
    """All sentences as they are now, in their order."""

    def __bool__(self) -> bool:
        return bool(self.new or self.changed or self.gone)


def table(document: str, directory: Path | None = None) -> Path:
    """The table of a document."""
    return (directory or CENSUS) / f"{Path(document).name}.tsv"


def load(document: str, directory: Path | None = None) -> list[Row]:
    """The recorded sentences of a document; raises CensusError naming the line of a table that is broken."""
    path = table(document, directory)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except FileNotFoundError:
        raise CensusError(f"{path}: missing: svmcts census --record writes it") from None
    if not lines or lines[0] != COLUMNS:
        raise CensusError(f"{path}:1: the columns have to be {', '.join(COLUMNS)}")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(COLUMNS) or not line[0].isdecimal():
            raise CensusError(f"{path}:{number}: has to be a line number, digest, words, ids and why: {line}")
        rows.append(Row(int(line[0]), line[1], line[2], tuple(line[3].split()), line[4]))
    return rows


def save(document: str, rows: Iterable[Row], directory: Path | None = None) -> None:
    """Write the table of a document."""
    path = table(document, directory)
    path.parent.mkdir(exist_ok=True)
    lines = [COLUMNS, *([str(r.line), r.digest, r.words, " ".join(r.ids), r.why] for r in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def read(document: str, tree: Path, ledger: Ledger) -> list[Row]:
    """The sentences of a document in a kernel tree that may bind, and those that the ledger cites."""
    try:
        text = (tree / document).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CensusError(f"{tree / document}: {error.strerror}: name the top of a kernel tree") from None
    cited = tuple(
        place.words
        for behaviour in ledger.values()
        for place in behaviour.promised_by
        if place.words and place.document and place.document[0] == document
    )
    return [
        _row(sentence)
        for sentence in sentences(document, text)
        if not sentence.code and (_BINDING.search(sentence.text) or sentence.text.startswith(cited))
    ]


def _row(sentence: Sentence) -> Row:
    digest = hashlib.sha256(sentence.text.encode()).hexdigest()[:12]
    return Row(sentence.line, digest, " ".join(sentence.text.split()[:_WORDS]))


def compare(recorded: Sequence[Row], now: Sequence[Row]) -> Difference:
    """Changes to the recorded sentences; equal ones keep their order."""
    difference = Difference(now=now)
    matcher = difflib.SequenceMatcher(
        None, [r.digest for r in recorded], [r.digest for r in now], autojunk=False
    )
    for what, a, b, c, d in matcher.get_opcodes():
        if what == "equal":
            difference.same.extend(zip(recorded[a:b], now[c:d], strict=True))
            continue
        left = list(recorded[a:b])
        for row in now[c:d]:
            former = next((old for old in left if old.words == row.words), None)
            if former is None:
                difference.new.append(row)
            else:
                left.remove(former)
                difference.changed.append((former, row))
        difference.gone.extend(left)
    return difference


def merged(difference: Difference, document: str, ledger: Ledger) -> list[Row]:
    """The new table: what was decided is kept, and every behaviour that cites a sentence is in its line."""
    decided = {now: old for old, now in (*difference.same, *difference.changed)}
    rows = [
        replace(row, ids=decided[row].ids, why=decided[row].why) if row in decided else row
        for row in difference.now
    ]
    cites = citations(document, ledger)
    return [
        replace(row, ids=ids, why="" if ids else row.why)
        for row in rows
        for ids in [tuple(sorted({*row.ids, *(i for i, line, words in cites if has(row, line, words))}))]
    ]


def citations(document: str, ledger: Ledger) -> list[tuple[str, int, str]]:
    """(id, line, first words) of each place in a document by which a behaviour is promised."""
    return [
        (behaviour.id, place.document[1], place.words)
        for behaviour in ledger.values()
        for place in behaviour.promised_by
        if place.document and place.words and place.document[0] == document
    ]


def has(row: Row, line: int, words: str) -> bool:
    """Whether a row is the sentence that is cited so."""
    return row.line == line and (row.words.startswith(words) or words.startswith(row.words))
