# SPDX-License-Identifier: MIT
"""The base and the changes on top of it, from a git tree of the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.answers import NoAnswerError
from guest.sources import GitTree


@dataclass(frozen=True)
class Change:
    """The source that a patch, or several, result in."""

    title: str
    source: GitTree
    patch: str
    """The whole difference from the base."""


def find(tree: Path, commits: str | None, series: Path | None, each: bool) -> tuple[GitTree, list[Change]]:
    """The base, and the changes to try on top of it, the whole one last.

    ``commits`` are BASE..HEAD; without them it is ``series``, a file of patches for HEAD, or what is changed in the
    work tree. With ``each``, every patch is a change, together with those before it. Raises NoAnswerError, GuestError.
    """
    if series is not None:
        base = GitTree.find(tree, "HEAD")
        found = base.applied(series)
    elif commits is not None:
        base, found = _commits(tree, commits)
    else:
        base, work = GitTree.find(tree, "HEAD"), GitTree.find(tree)
        if work.content == base.content:
            raise NoAnswerError(
                f"{tree}: nothing is changed in the work tree: give BASE..HEAD, or a patch with --am FILE"
            )
        found = [("the changes in the work tree", work)]
    changes = [Change(title, source, base.diff(source)) for title, source in found]
    if not changes[-1].patch.strip():
        raise NoAnswerError(f"{tree}: {commits or series}: changes nothing from {base.about}")
    return base, changes if each else changes[-1:]


def _commits(tree: Path, commits: str) -> tuple[GitTree, list[tuple[str, GitTree]]]:
    old, dots, new = commits.partition("..")
    if not (old and dots) or new.startswith("."):
        raise NoAnswerError(f"{commits}: write BASE..HEAD, or BASE.. for what is checked out")
    base, head = GitTree.find(tree, old), GitTree.find(tree, new or "HEAD")
    listed = base.commits(base.content, head.content)
    if not listed:
        raise NoAnswerError(f"{commits}: {head.about} has no commit that {base.about} lacks")
    return base, [(title, GitTree.find(tree, commit)) for commit, title in listed]
