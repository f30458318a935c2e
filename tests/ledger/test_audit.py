# SPDX-License-Identifier: MIT
"""Every entry was read against the source, and has not changed since."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from reports.ledger import Ledger
from tests.ledger import audit

LEDGER = Ledger.load()


def problems(ledger: Ledger, verdicts: dict[str, audit.Verdict]) -> list[str]:
    """Entries to check, one line each."""
    lines = [
        f"{identifier} was read, and is not in the ledger" for identifier in verdicts.keys() - ledger.keys()
    ]
    for behaviour in ledger.values():
        verdict = verdicts.get(behaviour.id)
        if verdict is None:
            lines.append(f"{behaviour.id} was not read against the source: read it, then record it")
        elif verdict.digest != audit.digest(behaviour):
            lines.append(f"{behaviour.id} has changed since it was read: read it again, then record it")
    return lines


def test_every_entry_was_read_and_has_not_changed() -> None:
    found = problems(LEDGER, audit.load())
    assert not found, "\n" + "\n".join([*found, str(audit.__doc__).rsplit("\n\n", 1)[-1]])


def test_what_has_to_be_read_again_is_named(tmp_path: Path) -> None:
    read = dataclasses.replace(LEDGER["query.unknown-id"], promise="driver", promised_by=())

    def ledger(entry: object) -> Ledger:
        assert isinstance(entry, type(read))
        return Ledger([entry], LEDGER.vocabulary, [])

    audit.record([read.id], ledger(read), "true", "it\tdoes", tmp_path)
    verdicts = audit.load(tmp_path)
    assert (verdicts[read.id].found, verdicts[read.id].note) == ("true", "it does")
    assert problems(ledger(read), verdicts) == []
    assert problems(ledger(read), {}) == [
        f"{read.id} was not read against the source: read it, then record it"
    ]
    for change in ({"statement": "No."}, {"kind": "may"}, {"since": "6.9"}, {"sources": ("x",)}):
        (line,) = problems(ledger(dataclasses.replace(read, **change)), verdicts)
        assert line.startswith(f"{read.id} has changed since it was read")
    assert problems(Ledger([], LEDGER.vocabulary, []), verdicts) == [
        f"{read.id} was read, and is not in the ledger"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "id\tfound\n",
        "\t".join(audit.COLUMNS) + "\na.b\t0\t7.3.4\t2026-11-29\tperhaps\t\n",
        "\t".join(audit.COLUMNS) + "\na.b\t0\t7.3.4\n",
        "\t".join(audit.COLUMNS) + "\n" + "a.b\t0\t7.3.4\t2026-11-29\ttrue\t\n" * 2,
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "query.tsv").write_text(text)
    with pytest.raises(ValueError, match=r"query\.tsv:[123]: "):
        audit.load(tmp_path)
