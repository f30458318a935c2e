# SPDX-License-Identifier: MIT
"""Recorded capabilities: what a machine had in a run that was accepted, as TOML.

::

    [[expect]]
    environment = "driver"        # optional: every environment; * is any text
    pci_id = "8086:e20b"          # optional: an environment with such a device
    has = ["vram", "svm-vram"]    # optional: one that is absent is an error of the environment
    lacks = ["interconnect"]      # optional: one that is there is noted

A later environment that lacks a recorded capability has lost it. All matching entries apply.
"""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from common.answers import NoAnswerError
from reports.event import Environment
from reports.stream import Run
from reports.waivers import matches

_GLOBS = ("environment", "pci_id")
_NAMES = ("has", "lacks")
_FIELDS = (*_GLOBS, *_NAMES)
_HEADER = re.compile(r"\s*\[\[\s*expect\s*\]\]")


class ExpectError(NoAnswerError):
    """An error in a file, or in a run to record; one line with the place and what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Capabilities that environments of a name, or with a device, have and lack."""

    where: str
    """File and line."""
    environment: str
    pci_id: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Entry:
        """The dict written by ``dataclasses.asdict``."""
        return cls(**{**data, "has": tuple(data["has"]), "lacks": tuple(data["lacks"])})

    def concerns(self, environment: str) -> bool:
        """Whether it is about an environment of this name, before the devices are known."""
        return matches(self.environment, environment)

    def fits(self, pci_ids: Iterable[str]) -> bool:
        """Whether one of these devices is what it is about."""
        return any(matches(self.pci_id, pci_id) for pci_id in pci_ids)


def load(path: Path, known: Collection[str]) -> tuple[Entry, ...]:
    """Read a file whose names are among ``known``; raises ExpectError, and OSError if it cannot be opened."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r"\(at line (\d+)", str(error))
        raise ExpectError(f"{path}:{at[1] if at else 1}: not TOML: {error}") from None
    entries = document.pop("expect", [])
    starts = [number for number, line in enumerate(text.split("\n"), 1) if _HEADER.match(line)]
    if document or not isinstance(entries, list) or len(starts) != len(entries):
        raise ExpectError(
            f"{path}:1: write each entry below an [[expect]] of its own, at the start of a line"
        )
    if not entries:
        raise ExpectError(f"{path}:1: no [[expect]] in it: svmcts expect RUN prints one")
    return tuple(_entry(f"{path}:{line}", entry, known) for line, entry in zip(starts, entries, strict=True))


def _entry(where: str, entry: Any, known: Collection[str]) -> Entry:
    if not isinstance(entry, dict):
        raise ExpectError(f"{where}: not a table: write environment, pci_id, has and lacks below [[expect]]")
    for key in entry:
        if key not in _FIELDS:
            raise ExpectError(
                f"{where}: {key!r} is not a field of [[expect]]; there are: {', '.join(_FIELDS)}"
            )
    for key in _GLOBS:
        if not isinstance(entry.get(key, "*"), str) or not entry.get(key, "*"):
            raise ExpectError(f"{where}: {key} has to be text")
    for key in _NAMES:
        names = entry.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ExpectError(f'{where}: {key} has to be a list of capabilities, as in {key} = ["vram"]')
        for name in names:
            if name not in known:
                raise ExpectError(f"{where}: {name!r} is not a capability; the header of a run lists them")
    has, lacks = entry.get("has", []), entry.get("lacks", [])
    if not has and not lacks:
        raise ExpectError(f"{where}: no has and no lacks: nothing would be expected")
    if both := [name for name in has if name in lacks]:
        raise ExpectError(f"{where}: {both[0]} is in both has and lacks: leave it in one of them")
    return Entry(where, entry.get("environment", "*"), entry.get("pci_id", "*"), tuple(has), tuple(lacks))


def recorded(run: Run) -> str:
    """A file for what the environments of a whole run have; raises ExpectError."""
    head = f"From {run.path}, {run.start[:10] or 'no date'}: svmcts expect. Review it, then give it as --expect=FILE."
    comment = textwrap.fill(" ".join(head.split()), 100, initial_indent="# ", subsequent_indent="# ")
    return (
        "\n\n".join([comment, *(_text(run, environment) for environment in run.environments.values())]) + "\n"
    )


def _text(run: Run, environment: Environment) -> str:
    has = [name for name, there in environment.capabilities.items() if there is not False]
    lacks = [name for name in environment.capabilities if environment.lacks(name)]
    if not has:
        raise ExpectError(f"{run.path}: {environment.name} does not say what it has: no test of it began")
    if environment.missing:
        line = next(iter(environment.missing.values()))
        raise ExpectError(f"{run.path}: {environment.name}: {line}: record a run that lacks nothing")
    lines = ["[[expect]]", f"environment = {_string(environment.name)}"]
    if environment.devices and (pci_id := environment.devices[0].get("pci_id")):
        lines.append(f"pci_id = {_string(str(pci_id))}")
    return "\n".join([*lines, _list("has", has), *([_list("lacks", lacks)] if lacks else [])])


def _list(key: str, names: Iterable[str]) -> str:
    return "\n".join([f"{key} = [", *(f"    {_string(name)}," for name in names), "]"])


def _string(text: str) -> str:
    """A string of JSON is one of TOML."""
    return json.dumps(text, ensure_ascii=False)
