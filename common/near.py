# SPDX-License-Identifier: MIT
"""The known word nearest to an unknown one: a command, id, glob, platform, kernel or path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_AS_NEAR = 0.6
"""Minimum similarity, from 0 to 1: a swapped, missing or wrong letter, not another word."""
_NAMED = 3


def near(word: str, known: Iterable[str]) -> str:
    """`` (did you mean ...?)`` for a word that is not in ``known``, or an empty string if none is similar."""
    found = difflib.get_close_matches(word, list(known), n=_NAMED, cutoff=_AS_NEAR)
    return _meant(found)


def near_or_all(word: str, known: Iterable[str]) -> str:
    """The same, or the list of all known words if none is similar."""
    known = list(known)
    return near(word, known) or f": there are {', '.join(known)}"


def near_glob(pattern: str, ids: Iterable[str]) -> str:
    """The same for a glob of dotted ids that matches none: similar globs, or ids."""
    ids = list(ids)
    if not pattern.endswith(".*"):
        return near(pattern, ids)
    groups = {".".join(parts[:n]) for i in ids if (parts := i.split(".")) for n in range(1, len(parts))}
    return near(pattern, sorted(f"{group}.*" for group in groups))


def no_path(path: Path, base: Path) -> str:
    """The error for a path below ``base`` that is not there."""
    return f"file or directory not found: {path}{near_path(path, base)}"


def near_path(path: Path, folder: Path = Path()) -> str:
    """The same for a path (in ``folder``) that does not exist: names in the last folder of it that exists."""
    there = path
    while not (folder / there).exists() and there != there.parent:
        missing, there = there.name, there.parent
    if there == path or not (folder / there).is_dir():
        return ""
    try:
        names = sorted(entry.name for entry in (folder / there).iterdir())
    except OSError:
        return ""
    near_names = difflib.get_close_matches(missing, names, n=_NAMED, cutoff=_AS_NEAR)
    return _meant(str(there / name) for name in near_names)


def _meant(found: Iterable[str]) -> str:
    names = list(found)
    return f" (did you mean {' or '.join(names)}?)" if names else ""
