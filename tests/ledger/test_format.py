# SPDX-License-Identifier: MIT
"""The ledger is well-formed, and a broken one is refused with the entry, the fault and what to do."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from reports.ledger import DIRECTORY, Ledger, LedgerError

ENTRY: dict[str, Any] = {
    "id": "query.new-one",
    "title": "a new one",
    "kind": "must",
    "promise": "driver",
    "statement": "It does so.",
    "sources": ["drivers/gpu/drm/xe/xe_query.c:xe_query_ioctl"],
    "since": "6.15",
    "observable": ["errno"],
}
LINE = {"at": "include/uapi/drm/xe_drm.h:1054", "words": "This"}
PATCH = {"at": "seed 002 patch 06"}


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger.load()


def test_it_has_all_documented_behaviours(ledger: Ledger) -> None:
    assert len(ledger) >= 635


def test_every_word_of_the_vocabulary_is_used(ledger: Ledger) -> None:
    used: dict[str, Counter[str | None]] = {
        "areas": Counter(b.area for b in ledger.values()),
        "kinds": Counter(b.kind for b in ledger.values()),
        "promises": Counter(b.promise for b in ledger.values()),
        "needs": Counter(need for b in ledger.values() for need in b.needs),
        "observable": Counter(way for b in ledger.values() for way in b.observable),
    }
    unused = [
        f"{field}: {w}"
        for field, seen in used.items()
        for w in getattr(ledger.vocabulary, field)
        if w not in seen
    ]
    assert not unused


def test_statements_are_sentences_of_their_own(ledger: Ledger) -> None:
    """A failure quotes the statement, which must be clear without the title."""
    short = [b.id for b in ledger.values() if len(b.statement.split()) < 5 or not b.statement.endswith(".")]
    assert not short


def test_titles_are_one_line_and_unique_in_their_area(ledger: Ledger) -> None:
    titles = Counter((b.area, b.title) for b in ledger.values())
    assert not [key for key, number in titles.items() if number > 1]
    assert not [b.id for b in ledger.values() if "\n" in b.title or len(b.title) > 90]


def test_files_say_nothing_about_this_machine(ledger: Ledger) -> None:
    for path in filter(Path.is_file, DIRECTORY.rglob("*")):
        text = path.read_text(encoding="utf-8")
        assert "/tmp/" not in text, path
        assert "/work/" not in text, path


def broken(tmp_path: Path, area: str, change: dict[str, Any]) -> Path:
    """A copy of the ledger with one more entry; a field changed to None is left out."""
    directory = tmp_path / "behaviours"
    shutil.copytree(DIRECTORY, directory)
    entry = {key: value for key, value in {**ENTRY, **change}.items() if value is not None}
    path = directory / f"{area}.yaml"
    path.write_text(path.read_text(encoding="utf-8") + yaml.safe_dump([entry]), encoding="utf-8")
    return directory


def test_a_well_formed_entry_is_read(tmp_path: Path) -> None:
    assert Ledger.load(broken(tmp_path, "query", {}))["query.new-one"].area == "query"


@pytest.mark.parametrize(
    ("promise", "places"),
    [
        ("driver", []),
        ("agreed", [PATCH, {"at": "commit 1df530e194f3: drm/xe: a title"}]),
        ("promised", [LINE, PATCH]),
    ],
)
def test_who_promises_it_is_read(tmp_path: Path, promise: str, places: list[dict[str, str]]) -> None:
    change = {"promise": promise, "promised_by": places or None}
    read = Ledger.load(broken(tmp_path, "query", change))["query.new-one"]
    assert read.promise == promise
    assert [place.at for place in read.promised_by] == [place["at"] for place in places]
    assert [place.document for place in read.promised_by if place.words] == [
        ("include/uapi/drm/xe_drm.h", 1054) for place in places if place is LINE
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": "query.unknown-id"}, "defined twice"),
        ({"id": "Query One"}, "lower-case words joined by dots"),
        ({"statement": None}, "lacks statement"),
        ({"statement": " "}, "statement has to be text"),
        ({"colour": "red"}, "colour is not a field"),
        ({"kind": "should"}, "kind 'should' is not one of must, may, model-only"),
        ({"needs": ["telepathy"]}, "needs 'telepathy' is not in vocabulary.yaml"),
        ({"observable": ["telepathy"]}, "observable 'telepathy' is not in vocabulary.yaml"),
        ({"observable": None}, "how a program observes it"),
        ({"since": 6.15}, "quote versions"),
        ({"since": "~6.15"}, "has to be a version"),
        ({"sources": []}, "at least one source"),
        ({"sources": ["hearsay"]}, "has to be file:function"),
        ({"sources": ["/home/me/linux/drivers/gpu/drm/xe/xe_vm.c:f"]}, "has to be file:function"),
        ({"kind": "model-only"}, "model-only, and nothing else, has a reason"),
        ({"reason": "because"}, "model-only, and nothing else, has a reason"),
        ({"promise": "hoped"}, "promise 'hoped' is not one of promised, agreed, driver"),
        ({"promise": "promised"}, "promise is promised, but its promised_by make it driver"),
        (
            {"promise": "agreed", "promised_by": [LINE]},
            "promise is agreed, but its promised_by make it promised",
        ),
        (
            {"promise": "driver", "promised_by": [PATCH]},
            "promise is driver, but its promised_by make it agreed",
        ),
        ({"promise": None}, "lacks promise"),
        ({"promise": "agreed", "promised_by": [PATCH, PATCH]}, "names a place twice"),
        ({"promise": "agreed", "promised_by": "seed 002 patch 06"}, "has to be a list of places"),
        ({"promise": "agreed", "promised_by": ["seed 002 patch 06"]}, "a place of promised_by has at"),
        (
            {"promise": "agreed", "promised_by": [{"at": "seed 2"}]},
            "'seed 2' has to be file:line of a document",
        ),
        ({"promise": "promised", "promised_by": [{"at": LINE["at"]}]}, "the first words are quoted"),
        ({"promise": "agreed", "promised_by": [{**PATCH, "words": "It"}]}, "the first words are quoted"),
        ({"promise": "agreed", "promised_by": [{**PATCH, "line": 1}]}, "a place of promised_by has at"),
        ({"promise": "promised", "promised_by": [{**LINE, "words": " "}]}, "have to be text"),
    ],
)
def test_a_broken_entry_is_refused(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger.load(broken(tmp_path, "query", change))
    assert complaint in str(caught.value)
    assert "query" in str(caught.value), "the message has to name the file"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("query.yaml", "- id: [\n", "not YAML"),
        ("query.yaml", "id: x\n", "list of entries"),
        ("query.yaml", None, "missing"),
        ("stray.yaml", "[]\n", "not an area"),
        ("vocabulary.yaml", "areas: [query]\n", "has to map areas"),
        ("untested.yaml", "- ids: [a.b]\n", "exactly ids, reason and planned"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, name: str, text: str | None, complaint: str) -> None:
    directory = tmp_path / "behaviours"
    shutil.copytree(DIRECTORY, directory)
    if text is None:
        (directory / name).unlink()
    else:
        (directory / name).write_text(text, encoding="utf-8")
    with pytest.raises(LedgerError) as caught:
        Ledger.load(directory)
    assert complaint in str(caught.value)
    assert name.removesuffix(".yaml") in str(caught.value)
