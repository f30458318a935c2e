# SPDX-License-Identifier: MIT
"""Build a kernel tree for a step, no more of it than the change asks for.

Where everything that changed since the last whole build belongs to modules, only these are built, and the kernel that
is there is booted with them. Whether a folder belongs to modules is seen from that build: kbuild leaves an empty
built-in.a where nothing goes into vmlinux.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from reports.bisect.trial import NoAnswerError

_EMPTY_ARCHIVE = 8
"""Bytes of an archive with nothing in it: the magic only."""
_NOT_BUILT = (
    "Documentation/",
    "MAINTAINERS",
    "tools/testing/",
    "samples/",
    "scripts/checkpatch.pl",
    ".mailmap",
)


class BuildError(Exception):
    """The tree does not build; one line."""


def git(tree: Path, *arguments: str) -> str:
    """What git says in the tree. Raises NoAnswerError."""
    done = subprocess.run(["git", "-C", tree, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoAnswerError(f"git {arguments[0]} in {tree}: {done.stderr.strip()}")
    return done.stdout.strip()


def changed(tree: Path, since: str) -> list[str]:
    """Files that differ between a commit and the tree as it is."""
    return git(tree, "diff", "--name-only", since).splitlines()


def module_folders(tree: Path, files: Iterable[str]) -> list[str] | None:
    """The folders to build if all that changed are modules of them; None if the kernel itself has to be built."""
    folders = set()
    for file in files:
        if file.startswith(_NOT_BUILT):
            continue
        folder = _owner(tree, file)
        if folder is None:
            return None
        folders.add(folder)
    return sorted(folder for folder in folders if not any(_is_below(folder, other) for other in folders))


def _owner(tree: Path, file: str) -> str | None:
    """The folder whose Makefile builds a source file, if all that it builds are modules."""
    path = Path(file)
    if path.suffix not in (".c", ".h", ".S") or path.parts[0] == "include":
        return None
    for parent in path.parents:
        if (tree / parent / "Makefile").exists() and parent != Path():
            archive = tree / parent / "built-in.a"
            only_modules = archive.exists() and archive.stat().st_size <= _EMPTY_ARCHIVE
            return str(parent) if only_modules else None
    return None


def _is_below(folder: str, other: str) -> bool:
    return folder != other and Path(folder).is_relative_to(other)


def whole_build() -> list[list[str]]:
    """The commands that build everything, with the configuration that is there."""
    jobs = f"-j{os.cpu_count() or 1}"
    return [["make", "olddefconfig"], ["make", jobs]]


def module_build(folders: Sequence[str]) -> list[list[str]]:
    """The commands that build the modules of some folders, for the kernel that was built."""
    return [["make", f"-j{os.cpu_count() or 1}", f"M={folder}", "modules"] for folder in folders]


def run(commands: Sequence[Sequence[str]], tree: Path, output: Path) -> None:
    """Run the commands in the tree, with what they print in a file. Raises BuildError."""
    with output.open("ab") as file:
        for command in commands:
            file.write(f"$ {' '.join(command)}\n".encode())
            file.flush()
            done = subprocess.run(
                command,
                cwd=tree,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                raise BuildError(f"{' '.join(command)} failed, see {output}")
