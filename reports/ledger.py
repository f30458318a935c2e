# SPDX-License-Identifier: MIT
"""The ledger of documented behaviours: behaviours/<area>.yaml, read and checked.

``Ledger.load()`` is used by the plugin (are the ids of a test known?), the reports (which behaviours have no test, and
why?) and the project's own tests. behaviours/README.md describes the format.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from common.answers import NoAnswerError

DIRECTORY = Path(__file__).resolve().parent.parent / "behaviours"
VOCABULARY = "vocabulary"
UNTESTED = "untested"

_ID = re.compile(r"[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)+")
_SINCE = re.compile(r"\d+\.\d+(\.\d+)?")
_SOURCE = re.compile(
    r"(drivers|include|Documentation|arch|kernel|lib|mm)/\S+:\S.*"
    r"|Documentation/\S+|seed \d{3} \S.*|stable patch \".+\""
)
DOCUMENT = re.compile(
    r"(?P<file>(?:include|Documentation|drivers|mm)/[\w./-]+\.(?:h|c|rst)):(?P<line>[1-9]\d*)"
)
_AGREEMENT = re.compile(
    r"seed \d{3} (?:cover letter|patch \d+|review (?:R\d+|\d+/\d+))(?: .+)?"
    r"|(?:commit [0-9a-f]{8,40}|stable patch|posting|bug report): \S.*"
)
_REQUIRED = {"id", "title", "kind", "promise", "statement", "sources", "since"}
_OPTIONAL = {"reason", "history", "observable", "needs", "landed_as", "promised_by"}

# The C loader is the fast one; the Python one is for builds of PyYAML without libyaml.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class LedgerError(NoAnswerError, ValueError):
    """The ledger is not well-formed; the message names file, entry and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Source of a promise: a sentence of a document, or a posting."""

    at: str
    """``file:line`` as of 7.3, or the posting or commit by its title."""
    words: str | None = None
    """First words of the sentence; always given for a document, never for a posting."""

    @property
    def document(self) -> tuple[str, int] | None:
        """File and line, if this is a sentence of a document."""
        found = DOCUMENT.fullmatch(self.at)
        return (found["file"], int(found["line"])) if found else None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One documented behaviour, as written in behaviours/<area>.yaml."""

    id: str
    title: str
    area: str
    kind: str
    """``must``, ``may`` or ``model-only``."""
    statement: str
    sources: tuple[str, ...]
    since: str
    """First kernel that behaves so: ``6.15``."""
    history: str | None
    observable: tuple[str, ...]
    needs: tuple[str, ...]
    reason: str | None
    """Reason why no program can observe it; only, and always, for ``model-only``."""
    landed_as: str | None
    """Differences of the landed code from the series that announced it."""
    promise: str = "promised"
    """``promised``, ``agreed`` or ``driver``; of what is in no ledger, as a strict reader would take it."""
    promised_by: tuple[Place, ...] = ()
    """The sentences and postings that promise it; none for ``driver``."""


@dataclass(frozen=True, slots=True)
class Untested:
    """Reason why behaviours have no test, and the plan."""

    ids: tuple[str, ...]
    reason: str
    planned: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that entries may use, each with its meaning."""

    areas: Mapping[str, str]
    kinds: Mapping[str, str]
    needs: Mapping[str, str]
    observable: Mapping[str, str]
    promises: Mapping[str, str] = field(default_factory=dict)


class Ledger(Mapping[str, Behaviour]):
    """All behaviours by id, in the order of the vocabulary's areas and of the entries in each file."""

    def __init__(
        self, behaviours: Iterable[Behaviour], vocabulary: Vocabulary, untested: Iterable[Untested]
    ) -> None:
        self._behaviours: dict[str, Behaviour] = {}
        for behaviour in behaviours:
            if behaviour.id in self._behaviours:
                raise LedgerError(
                    f"behaviours/{behaviour.area}.yaml: {behaviour.id} is defined twice: rename one"
                )
            self._behaviours[behaviour.id] = behaviour
        self.vocabulary = vocabulary
        self.untested = tuple(untested)

    @classmethod
    def load(cls, directory: Path = DIRECTORY) -> Ledger:
        """Read and check the ledger in ``directory``; raises LedgerError naming the entry and its fault."""
        vocabulary = _vocabulary(directory)
        known = {*vocabulary.areas, VOCABULARY, UNTESTED}
        for path in sorted(directory.glob("*.yaml")):
            if path.stem not in known:
                raise LedgerError(f"{path}: {path.stem} is not an area of {VOCABULARY}.yaml: add it there")
        behaviours = [
            _behaviour(entry, area, vocabulary)
            for area in vocabulary.areas
            for entry in _sequence(directory / f"{area}.yaml")
        ]
        return cls(behaviours, vocabulary, [_untested(e) for e in _sequence(directory / f"{UNTESTED}.yaml")])

    def __getitem__(self, identifier: str) -> Behaviour:
        return self._behaviours[identifier]

    def __iter__(self) -> Iterator[str]:
        return iter(self._behaviours)

    def __len__(self) -> int:
        return len(self._behaviours)

    def matching(self, pattern: str) -> list[Behaviour]:
        """Behaviours whose id matches the glob ``pattern`` (``bind.cam.*``)."""
        return [b for b in self.values() if fnmatch.fnmatchcase(b.id, pattern)]

    def no_test(self, identifier: str) -> str:
        """The recorded reason why no test names ``identifier``, or that none is given."""
        return self.why_untested(identifier) or "no test, and no reason is given"

    def why_untested(self, identifier: str) -> str | None:
        """The recorded reason why no test names ``identifier``, or None if there is none."""
        behaviour = self.get(identifier)
        if behaviour is not None and behaviour.reason:
            return f"no program can see it: {behaviour.reason}"
        return self._reasons.get(identifier)

    @functools.cached_property
    def _reasons(self) -> dict[str, str]:
        """Id to the reason of the first entry of ``untested`` that matches it; most name one id each."""
        reasons: dict[str, str] = {}
        for entry in self.untested:
            for pattern in entry.ids:
                for identifier in [pattern] if pattern in self else fnmatch.filter(self, pattern):
                    reasons.setdefault(identifier, f"{entry.reason} (planned: {entry.planned})")
        return reasons


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except FileNotFoundError:
        raise LedgerError(f"{path}: missing") from None
    except yaml.YAMLError as error:
        raise LedgerError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def _sequence(path: Path) -> list[Any]:
    entries = _read(path)
    if not isinstance(entries, list):
        raise LedgerError(f"{path}: has to be a list of entries")
    return entries


def _vocabulary(directory: Path) -> Vocabulary:
    path = directory / f"{VOCABULARY}.yaml"
    data = _read(path)
    try:
        return Vocabulary(**{key: {str(word): str(text) for word, text in data[key].items()} for key in data})
    except (TypeError, AttributeError):
        raise LedgerError(
            f"{path}: has to map areas, kinds, promises, needs and observable to words"
        ) from None


def _behaviour(entry: Any, area: str, vocabulary: Vocabulary) -> Behaviour:
    where = f"behaviours/{area}.yaml: {entry.get('id', '?') if isinstance(entry, dict) else entry!r}"
    if not isinstance(entry, dict):
        raise LedgerError(f"{where}: has to be a mapping")
    if missing := _REQUIRED - entry.keys():
        raise LedgerError(f"{where}: lacks {', '.join(sorted(missing))}")
    if unknown := entry.keys() - _REQUIRED - _OPTIONAL:
        raise LedgerError(f"{where}: {', '.join(sorted(unknown))} is not a field of an entry")
    for name in ("id", "title", "kind", "statement", "since", "reason", "history", "landed_as", "promise"):
        if name in entry and not (isinstance(entry[name], str) and entry[name].strip()):
            raise LedgerError(f"{where}: {name} has to be text (quote versions: '6.15')")
    for name in ("sources", "observable", "needs"):
        if not all(isinstance(item, str) for item in entry.get(name, [])):
            raise LedgerError(f"{where}: {name} has to be a list of words")
    _check_words(where, entry, vocabulary)
    return Behaviour(
        id=entry["id"],
        title=entry["title"],
        area=area,
        kind=entry["kind"],
        statement=entry["statement"],
        sources=tuple(entry["sources"]),
        since=entry["since"],
        history=entry.get("history"),
        observable=tuple(entry.get("observable", [])),
        needs=tuple(entry.get("needs", [])),
        reason=entry.get("reason"),
        landed_as=entry.get("landed_as"),
        promise=entry["promise"],
        promised_by=_promised_by(where, entry, vocabulary),
    )


def _promised_by(where: str, entry: dict[str, Any], vocabulary: Vocabulary) -> tuple[Place, ...]:
    """The places that promise an entry, which have to be of the kind that its ``promise`` says."""
    promise = entry["promise"]
    if promise not in vocabulary.promises:
        raise LedgerError(f"{where}: promise {promise!r} is not one of {', '.join(vocabulary.promises)}")
    given = entry.get("promised_by", [])
    if not isinstance(given, list):
        raise LedgerError(f"{where}: promised_by has to be a list of places")
    places = tuple(_place(where, place) for place in given)
    if len({*places}) != len(places):
        raise LedgerError(f"{where}: promised_by names a place twice")
    strongest = _strongest(places)
    if promise != strongest:
        raise LedgerError(f"{where}: promise is {promise}, but its promised_by make it {strongest}")
    return places


def _strongest(places: Iterable[Place]) -> str:
    kinds = {"promised" if place.document else "agreed" for place in places}
    return max(kinds, default="driver")


def _place(where: str, given: Any) -> Place:
    if not isinstance(given, dict) or not {"at"} <= given.keys() <= {"at", "words"}:
        raise LedgerError(f"{where}: a place of promised_by has at, and words if it is a document: {given!r}")
    if not all(isinstance(text, str) and text.strip() for text in given.values()):
        raise LedgerError(f"{where}: at and words of promised_by have to be text: {given!r}")
    place = Place(given["at"], given.get("words"))
    if place.document is None and not _AGREEMENT.fullmatch(place.at):
        raise LedgerError(
            f"{where}: {place.at!r} has to be file:line of a document, seed NNN patch NN, commit ID: title, "
            "stable patch: title, posting: title or bug report: title"
        )
    if (place.document is None) != (place.words is None):
        raise LedgerError(
            f"{where}: {place.at}: the first words are quoted of a document, and of nothing else"
        )
    return place


def _check_words(where: str, entry: dict[str, Any], vocabulary: Vocabulary) -> None:
    if not _ID.fullmatch(entry["id"]):
        raise LedgerError(f"{where}: an id is lower-case words joined by dots, as bind.cam.map-only")
    if entry["kind"] not in vocabulary.kinds:
        raise LedgerError(f"{where}: kind {entry['kind']!r} is not one of {', '.join(vocabulary.kinds)}")
    for name, words in (("needs", vocabulary.needs), ("observable", vocabulary.observable)):
        for word in entry.get(name, []):
            if word not in words:
                raise LedgerError(
                    f"{where}: {name} {word!r} is not in vocabulary.yaml, which has {', '.join(words)}"
                )
    if not _SINCE.fullmatch(entry["since"]):
        raise LedgerError(f"{where}: since {entry['since']!r} has to be a version ('6.15')")
    if not entry["sources"]:
        raise LedgerError(f"{where}: needs at least one source")
    for source in entry["sources"]:
        if not _SOURCE.fullmatch(source):
            raise LedgerError(
                f'{where}: source {source!r} has to be file:function, seed NNN ... or stable patch "..."'
            )
    if (entry["kind"] == "model-only") != ("reason" in entry):
        raise LedgerError(f"{where}: model-only, and nothing else, has a reason")
    if entry["kind"] != "model-only" and not entry.get("observable"):
        raise LedgerError(
            f"{where}: says not how a program observes it: add observable, or make it model-only"
        )


def _untested(entry: Any) -> Untested:
    where = f"behaviours/{UNTESTED}.yaml"
    if not isinstance(entry, dict) or entry.keys() != {"ids", "reason", "planned"}:
        raise LedgerError(f"{where}: an entry has exactly ids, reason and planned: {entry!r}")
    return Untested(tuple(str(i) for i in entry["ids"]), str(entry["reason"]), str(entry["planned"]))
