# SPDX-License-Identifier: MIT
"""No entry is older than the uAPI names in it, by the recorded headers."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator

from ioctl import history
from reports.ledger import Behaviour, Ledger

# "ATOMIC" of the statement is DRM_XE_MEM_RANGE_ATTR_ATOMIC, "the mirror" is DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR.
NAME = re.compile(r"\b[A-Z][A-Z0-9_]{3,}\b")
VERSION = re.compile(r"\b\d+\.\d+\b")
MIRROR = re.compile(r"\bmirror(s|ed)?\b")
# Statements that are true for kernels without the name.
OLDER = {"abi.old-kernel-flag", "bind.map.needs-obj"}


def first_versions() -> dict[str, tuple[str, str]]:
    """Name of the header to the version that has it first, and the recorded one before; not those of the oldest."""
    found: dict[str, tuple[str, str]] = {}
    for before, version in itertools.pairwise(history.recorded().versions):
        for name in version.changed:
            if "." not in name and "[" not in name:
                found.setdefault(name, (version.version, before.version))
    return found


def named(behaviour: Behaviour, names: dict[str, tuple[str, str]], old: set[str]) -> Iterator[str]:
    """Names of younger headers in an entry, without words that are also older names."""
    words = set(NAME.findall(behaviour.statement))
    if MIRROR.search(behaviour.statement):
        words.add("CPU_ADDR_MIRROR")
    for word in sorted(words):
        fits = [name for name in names if name == word or name.endswith(f"_{word}")]
        if fits and not any(name.endswith(f"_{word}") for name in old):
            yield min(fits, key=lambda name: history.sort_key(names[name][0]))
    for source in behaviour.sources:
        name = source.removeprefix("include/uapi/drm/xe_drm.h:").split(" ")[0]
        if name in names:
            yield name


def problems(ledger: Ledger) -> list[str]:
    """Entries that are older than a name in them and have no history that says so, one line each."""
    names = first_versions()
    old = {name for name in history.recorded().versions[0].changed if "." not in name}
    lines = []
    for behaviour in ledger.values():
        if behaviour.id in OLDER:
            continue
        for name in named(behaviour, names, old):
            version, before = names[name]
            told = [behaviour.since, *VERSION.findall(behaviour.history or "")]
            if all(history.sort_key(version) <= history.sort_key(before) for version in told):
                lines.append(
                    f"{behaviour.id}: since {behaviour.since}, but {name} is first in the header of {version}"
                )
    return lines


def test_no_entry_is_older_than_its_names() -> None:
    found = problems(Ledger.load())
    assert not found, "\n" + "\n".join(found)


def test_an_entry_that_is_too_old_is_named() -> None:
    read = dataclasses.replace(Ledger.load()["bind.cam.obj-mbz"], promise="driver", promised_by=())

    def found(**change: str) -> list[str]:
        return problems(Ledger([dataclasses.replace(read, **change)], Ledger.load().vocabulary, []))  # type: ignore[arg-type]

    assert found() == []
    assert found(since="6.13") == []
    (line,) = found(since="6.12")
    assert line.startswith("bind.cam.obj-mbz: since 6.12, but DRM_XE_")
    assert line.endswith("_CPU_ADDR_MIRROR is first in the header of 6.16")
    assert found(since="6.12", history="a mirror is of 6.15") == []
    assert found(since="6.8", statement="MAP of a BO.") == []
    assert len(found(since="6.17", statement="DONTNEED and MADVISE.")) == 2
