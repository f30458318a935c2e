# SPDX-License-Identifier: MIT
"""The recorded uAPI of xe, kernel version by kernel version (abi_history.json).

The file has for each version what its header changed against the version before, one fact a line. It is written by
``svmcts abi --record``; the recorded headers are those of Debian's linux-libc-dev packages, the newest of each series.

A name that a stable update carried back into an older series is there before the kernel that brought it. Names of an
older series that a later one lacks were not in the older one at its release; they are listed under "backported" with
their version.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import kernels
from ioctl import facts
from ioctl.facts import Table

FILE = Path(__file__).with_name("abi_history.json")
# The release before the first of a new major version.
BEFORE = {"7.0": "6.19"}


@dataclass(frozen=True)
class Version:
    """One recorded header: where it is from, and its difference to the version before."""

    version: str
    header: str
    changed: Table
    removed: tuple[str, ...]


def sort_key(version: str) -> tuple[int, ...]:
    """Orders version strings as kernels are: "6.9" before "6.12". ValueError for what is not a version."""
    return kernels.Version.parse(version.removeprefix("<="))


class History:
    """All recorded versions, oldest first."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.backported: dict[str, str] = document["backported"]
        self.versions = [
            Version(
                version,
                entry["header"],
                {name: facts.parse(text) for name, text in entry["changed"].items()},
                tuple(entry["removed"]),
            )
            for version, entry in document["versions"].items()
        ]

    def document(self) -> dict[str, Any]:
        """Contents of the file."""
        entries = {
            version.version: {
                "header": version.header,
                "removed": list(version.removed),
                "changed": {name: str(fact) for name, fact in version.changed.items()},
            }
            for version in self.versions
        }
        return {"backported": self.backported, "versions": entries}

    @property
    def names(self) -> list[str]:
        """The recorded versions."""
        return [version.version for version in self.versions]

    def table(self, version: str) -> Table:
        """The uAPI of a recorded version; KeyError for one that is not recorded."""
        table: Table = {}
        for entry in self.versions:
            table.update(entry.changed)
            for name in entry.removed:
                del table[name]
            if entry.version == version:
                return table
        raise KeyError(version)

    def promised(self, version: str) -> Table:
        """Names that all headers of a version have, at its release and after stable updates."""
        later = {name for name, came in self.backported.items() if sort_key(came) > sort_key(version)}
        return {name: fact for name, fact in self.table(version).items() if name not in later}

    @functools.cached_property
    def since(self) -> dict[str, str]:
        """Name to the kernel that added it for good; "<=6.16" if the version before was not recorded."""
        found: dict[str, str] = {}
        before: str | None = None
        for entry in self.versions:
            at = entry.version if before == predecessor(entry.version) else f"<={entry.version}"
            for name in entry.changed:
                found.setdefault(name, at)
            for name in entry.removed:
                del found[name]
            before = entry.version
        return found | {name: version for name, version in self.backported.items() if name in found}

    def with_version(self, version: str, header: str, table: Table) -> History:
        """A history with one more version, or with a new record of one."""
        tables = {name: (self.entry(name).header, self.table(name)) for name in self.names}
        tables[version] = (header, table)
        return History(self._document_of(tables))

    def _document_of(self, tables: dict[str, tuple[str, Table]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        former: Table = {}
        for name in sorted(tables, key=sort_key):
            label, now = tables[name]
            entries[name] = {
                "header": label,
                "removed": [key for key in former if key not in now],
                "changed": {key: str(fact) for key, fact in now.items() if former.get(key) != fact},
            }
            former = now
        return {"backported": self.backported, "versions": entries}

    def without(self, version: str) -> History:
        """A history that does not have this version."""
        tables = {name: (self.entry(name).header, self.table(name)) for name in self.names if name != version}
        return History(self._document_of(tables))

    def entry(self, version: str) -> Version:
        """The record of a version; KeyError for one that is not recorded."""
        for entry in self.versions:
            if entry.version == version:
                return entry
        raise KeyError(version)


def predecessor(version: str) -> str | None:
    """The release before a release "X.Y", None where it is not known."""
    major, _, minor = version.partition(".")
    return BEFORE.get(version) or (f"{major}.{int(minor) - 1}" if int(minor) else None)


@functools.cache
def recorded() -> History:
    """The history in the file."""
    return History(json.loads(FILE.read_text()))


def since(name: str) -> str:
    """The kernel that added a name of xe_drm.h, "<=6.16" if only an upper bound is known.

    Fields are "drm_xe_vm_bind_op.cpu_addr_mirror_offset". KeyError for a name that no recorded header has.
    """
    return recorded().since[name]


def write(history: History) -> None:
    """Replaces the file."""
    FILE.write_text(json.dumps(history.document(), indent=1) + "\n")
