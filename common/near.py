# SPDX-License-Identifier: MIT
"""The nearest known word to an unknown one: a command, id, glob, platform, kernel or path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_AS_NEAR = 0.6
"""How alike two words have to be, of 0 to 1: a swapped, missing or wrong letter, not another word."""
_NAMED = 3


def near(word: str, known: Iterable[str]) -> str:
    """`` (did you mean ...?)`` for a word that is not in ``known``, or nothing when nothing is near."""
    found = difflib.get_close_matches(word, list(known), n=_NAMED, cutoff=_AS_NEAR)
    return _meant(found)


def near_or_all(word: str, known: Iterable[str]) -> str:
    """The same, and all there are when nothing is near."""
    known = list(known)
    return near(word, known) or f": there are {', '.join(known)}"


def near_glob(pattern: str, ids: Iterable[str]) -> str:
    """For a glob of dotted ids that matches none: globs of the same form, or ids."""
    ids = list(ids)
    if not pattern.endswith(".*"):
        return near(pattern, ids)
    groups = {".".join(parts[:n]) for i in ids if (parts := i.split(".")) for n in range(1, len(parts))}
    return near(pattern, sorted(f"{group}.*" for group in groups))


def near_path(path: Path, folder: Path = Path()) -> str:
    """For a path (in ``folder``) that does not exist: what there is in the place where it ends to exist."""
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
