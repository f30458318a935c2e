# SPDX-License-Identifier: MIT
"""The catalogue of seeded faults, faults.yaml: which edits of which functions, and what they break."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from common.answers import NoAnswerError
from sensitivity.generate import KINDS, Mutant
from sensitivity.source import Edit

CATALOGUE = Path(__file__).with_name("faults.yaml")
GENERATED = Path(__file__).with_name("generated.yaml")
SHOWN_BY = {
    "tests": "any device that follows the driver's requests shows it",
    "tlb": "a device shows it that keeps translations as long as it may",
    "late": "a device shows it that takes its time (docs/emulator.md, --adversary)",
    "iommu": "memory that the driver has unmapped for DMA shows it (docs/emulator.md, --iommu)",
}
TAKES = {
    "media": "--emulator=--media",
    "occupied": "--emulator=--occupied",
    "ptl": "--emulator='--platform ptl'",
    "two-gpus": "--gpus 2",
    "far-gpus": "--gpus 2 --topology far",
    "faults": "--kernel NAME, one built with --profile faults",
    "lockdep": "--kernel NAME, one built with --profile lockdep",
}
"""Machines and kernels on which alone a fault matters, and the options by which a guest is one."""
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class CatalogueError(NoAnswerError, ValueError):
    """The catalogue is not well-formed; the message names the entry."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One seeded fault."""

    id: str
    title: str
    """Effect of the broken driver."""
    edits: tuple[Edit, ...]
    breaks: tuple[str, ...]
    """Behaviours that no longer hold, of which at least one test has to notice; empty for a generated one, which gets
    them from the ledger (sensitivity.breaks).
    """
    shown_by: str
    """Key of SHOWN_BY: what a device must do for the fault to matter."""
    kind: str = "chosen"
    """``chosen``: written by hand; or what the generator did (generate.KINDS)."""
    excepted: str | None = None
    """Reason why no test has to notice."""
    fix: str | None = None
    """For a fault that takes a fix back: the CVE, or the kernel without the fix."""
    takes: str | None = None
    """Key of TAKES: where alone it matters."""


def load(path: Path = CATALOGUE, generated: Path = GENERATED) -> list[Fault]:
    """All seeded faults, generated ones last. Raises CatalogueError."""
    faults = [_fault(entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
    if path == CATALOGUE:
        faults += [_made(entry) for entry in yaml.safe_load(generated.read_text(encoding="utf-8"))]
    ids = [fault.id for fault in faults]
    if twice := {name for name in ids if ids.count(name) > 1}:
        raise CatalogueError(f"{path.name}: {min(twice)} is there twice")
    return faults


def find(name: str, path: Path = CATALOGUE) -> Fault:
    """The fault of a name. Raises CatalogueError."""
    for fault in load(path):
        if fault.id == name:
            return fault
    raise CatalogueError(f"no seeded fault is named {name}: python -m sensitivity --list")


def _fault(entry: dict[str, Any]) -> Fault:
    name = str(entry.get("id"))
    try:
        fault = Fault(
            id=name,
            title=entry["title"],
            edits=tuple(Edit(**edit) for edit in entry["edits"]),
            breaks=tuple(entry["breaks"]),
            shown_by=entry["shown_by"],
            excepted=entry.get("excepted"),
            fix=entry.get("fix"),
            takes=entry.get("takes"),
        )
    except (KeyError, TypeError) as error:
        raise CatalogueError(f"seeded fault {name}: {error}") from None
    if not _ID.fullmatch(name) or not fault.edits or not fault.breaks or fault.shown_by not in SHOWN_BY:
        raise CatalogueError(f"seeded fault {name}: its id, edits, breaks or shown_by is invalid")
    return _placed(fault)


def _placed(fault: Fault) -> Fault:
    if fault.takes not in (None, *TAKES):
        raise CatalogueError(f"seeded fault {fault.id}: takes is one of {', '.join(TAKES)}")
    return fault


def _made(entry: dict[str, Any]) -> Fault:
    given = dict(entry)
    name, excepted, takes = str(given.pop("id", None)), given.pop("excepted", None), given.pop("takes", None)
    breaks = tuple(given.pop("breaks", ()))
    try:
        kind = name.split(":")[2]
        edit = Edit(**given)
        title = f"{KINDS[kind]}: {edit.find}"
        return _placed(Fault(name, title, (edit,), breaks, "tests", kind, excepted, takes=takes))
    except (KeyError, TypeError, IndexError) as error:
        raise CatalogueError(f"generated fault {name}: {error}") from None


def record(mutants: list[Mutant], path: Path = GENERATED) -> None:
    """Write generated faults, replacing existing ones and their exceptions."""
    head = "# SPDX-License-Identifier: MIT\n# Written by svmcts sensitivity --generate.\n"
    entries = [{"id": mutant.id, **asdict(mutant.edit)} for mutant in mutants]
    path.write_text(head + yaml.safe_dump(entries, sort_keys=False, width=110), encoding="utf-8")
