# SPDX-License-Identifier: MIT
"""Behaviours that a kernel patch may change, by their sources in the ledger, and tests that execute what it changes."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Set
from pathlib import Path

from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, PatchSet

from common.answers import NoAnswerError
from common.near import near_path
from reports.coverage import functions
from reports.ledger import Behaviour, Ledger

BY_SYMBOL, BY_EXECUTION, BY_FILE = range(3)
"""Ranks: a source of the behaviour is touched; the test executes a function that is; only the behaviour's file is."""

_WORD = re.compile(r"[A-Za-z_]\w*")
_OPENS = re.compile(r"(?!.*;\s*$)(?:[A-Za-z_][\w\s*]*?[\s*])?([A-Za-z_]\w*)\s*\(")
"""A function's first line in kernel style, from column 0; the name may be on the line after its type."""
_TYPE = re.compile(r"(?:typedef\s+)?(?:struct|union|enum)\s+([A-Za-z_]\w*)\s*\{")

Touched = Mapping[str, Set[str]]
"""File, by its path in the kernel tree, to functions, types and, for headers, the words of changed lines."""


@dataclasses.dataclass(frozen=True, slots=True)
class Affected:
    """A behaviour, and why a patch may change it."""

    behaviour: Behaviour
    rank: int
    why: str
    """The source of the ledger that is touched, ``file:symbol`` or ``file``."""


def patch_of(name: str, tree: Path | None) -> str:
    """The text of a patch file, or the difference of ``BASE..HEAD`` in a git tree. Raises NoAnswerError."""
    path = Path(name)
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    if ".." not in name or Path(name).is_absolute():
        raise NoAnswerError(
            f"{name}: no such patch{near_path(Path(name))}: name a file, or BASE..HEAD of --tree LINUX"
        )
    if tree is None:
        raise NoAnswerError(f"{name}: commits of which tree? add --tree LINUX")
    command = ["git", "-C", str(tree), "diff", "--no-ext-diff", "--no-color", name, "--"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise NoAnswerError(f"git: {error.strerror}: it has to be installed to compare commits") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["git diff failed"])[0]
        raise NoAnswerError(f"{name} in {tree}: {said}")
    return done.stdout


def touched(patch: str, name: str = "the patch") -> Touched:
    """Changes of a unified diff, one patch or a series. Raises NoAnswerError if it changes nothing."""
    try:
        files = PatchSet.from_string(patch)
    except UnidiffParseError as error:
        raise NoAnswerError(f"{name}: not a patch: {error}") from None
    found: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        symbols = found[file.path]
        for hunk in file:
            symbols |= _symbols(hunk)
            if file.path.endswith(".h"):
                symbols |= {
                    word for line in hunk if not line.is_context for word in _WORD.findall(line.value)
                }
    if not found:
        raise NoAnswerError(
            f"{name}: changes no file: name a unified diff, as git format-patch or git diff writes it"
        )
    return found


def _symbols(hunk: Hunk) -> set[str]:
    """The functions and types whose lines a hunk changes.

    Changes between two of them, such as a comment, count for the one that follows.
    """
    current = _opened(hunk.section_header)
    symbols: set[str] = set()
    between = False
    for line in hunk:
        if opened := _opened(line.value):
            current = opened
            if between or not line.is_context:
                symbols.add(current)
            between = False
        elif not line.is_context:
            if current:
                symbols.add(current)
            else:
                between = True
        if line.value.startswith("}"):
            current = ""
    return symbols


def _opened(line: str) -> str:
    """The function or type that begins on a line, or an empty string."""
    found = _TYPE.match(line) or _OPENS.match(line)
    return "" if found is None or found[1].isupper() else found[1]


def affected(changes: Touched, ledger: Ledger) -> list[Affected]:
    """The behaviours that a patch may change: those of its functions first, then those of its files."""
    found = [one for behaviour in ledger.values() if (one := _affected(behaviour, changes)) is not None]
    return sorted(found, key=lambda one: one.rank)


def _affected(behaviour: Behaviour, changes: Touched) -> Affected | None:
    by_file = None
    for source in (*behaviour.sources, *(place.at for place in behaviour.promised_by)):
        file, _, symbol = source.partition(":")
        if file not in changes:
            continue
        if not changes[file].isdisjoint(_words(symbol)):
            return Affected(behaviour, BY_SYMBOL, f"{file}:{symbol}")
        by_file = by_file or Affected(behaviour, BY_FILE, file)
    return by_file


def _words(symbol: str) -> set[str]:
    """The names in a source: ``drm_xe_sync.addr`` has two."""
    return set(_WORD.findall(symbol.partition(" ")[0]))


def executing(changes: Touched) -> dict[str, list[str]]:
    """Function that a patch touches, ``file:name``, to the tests that execute it: of those that few tests execute."""
    known = functions.load()
    touched_ones = (f"{file}:{symbol}" for file, symbols in changes.items() for symbol in sorted(symbols))
    return {name: sorted(tests) for name in touched_ones if (tests := known.get(name))}


def ranks(changes: Touched, ledger: Ledger) -> dict[str, int]:
    """Behaviours and tests, without parameters, to rank, of those that a patch may change."""
    tests = dict.fromkeys((test for of in executing(changes).values() for test in of), BY_EXECUTION)
    return tests | {one.behaviour.id: one.rank for one in affected(changes, ledger)}
