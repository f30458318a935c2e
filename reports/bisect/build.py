# SPDX-License-Identifier: MIT
"""Build what a step tests: a kernel tree, or single modules of it for a kernel that is there.

kbuild decides what has to be rebuilt. Only the name of the kernel is set, which scripts/setlocalversion would change
with every commit, and with it every file that contains the name.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.answers import NoAnswerError
from common.compiler import first_error
from reports.bisect.process import running

PREPARED = (".config", "include/config/auto.conf", "Module.symvers")
"""Files of a tree that can build modules for a kernel: its configuration, applied, and its symbols."""
IMAGE = Path("arch/x86/boot/bzImage")
DRIVER = Path("drivers/gpu/drm/xe/xe.ko")
_SUFFIX = "-bisect"
_TO_END_S = 30
"""For make, which removes partial targets at SIGTERM (GNU make manual, Interrupts)."""


class BuildError(Exception):
    """The tree does not build; one line."""


def git(tree: Path, *arguments: str) -> str:
    """Output of git in the tree. Raises NoAnswerError."""
    done = subprocess.run(["git", "-C", tree, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoAnswerError(f"git {arguments[0]} in {tree}: {done.stderr.strip()}")
    return done.stdout.strip()


def whole_build(tree: Path) -> list[list[str]]:
    """The commands that bring everything up to date, with the existing configuration. Raises NoAnswerError."""
    if not (tree / ".config").exists():
        raise NoAnswerError(f"{tree} has no .config: make one, or give --build")
    asked = ["make", "-s", "kernelversion"]
    done = subprocess.run(asked, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoAnswerError(f"{' '.join(asked)} in {tree}: {done.stderr.strip()}")
    make = ["make", f"KERNELRELEASE={done.stdout.strip()}{_SUFFIX}"]
    return [[*make, "olddefconfig"], [*make, _jobs()]]


def module_build(tree: Path, modules: Iterable[Path]) -> list[list[str]]:
    """The commands that build modules of a tree for the kernel that it is prepared for. Raises NoAnswerError."""
    for name in PREPARED:
        if not (tree / name).exists():
            raise NoAnswerError(
                f"{tree} has no {name}: prepare it for the kernel of --guest (docs/bisect.md), or give --build"
            )
    return [
        ["make", _jobs(), f"M={folder}", "modules"] for folder in sorted({file.parent for file in modules})
    ]


def _jobs() -> str:
    return f"-j{os.cpu_count() or 1}"


def booted(tree: Path) -> list[Path]:
    """Files that every build of a tree makes and a guest uses: its kernel, and the driver if it is a module."""
    return [IMAGE, *(file for file in (DRIVER,) if (tree / file).exists())]


def remove(tree: Path, made: Iterable[Path]) -> None:
    """Remove the results of a build, so that later ones are of this commit. kbuild only links them again."""
    for file in made:
        (tree / file).unlink(missing_ok=True)


def check(tree: Path, made: Iterable[Path]) -> None:
    """Check that a build has left its results, regardless of its exit status. Raises BuildError."""
    for file in made:
        if not (tree / file).exists():
            raise BuildError(f"the build leaves no {file}")


def run(commands: Sequence[Sequence[str]], tree: Path, output: Path, keep: Sequence[int] = ()) -> None:
    """Run the commands in the tree, with what they print in a file, and ``keep`` open. Raises BuildError.

    However this ends, nothing keeps running in the tree, and no partial output is left that a later build would use.
    """
    for command in commands:
        with output.open("ab") as file:
            file.write(f"$ {' '.join(command)}\n".encode())
            file.flush()
            begin = file.tell()
            with running(command, tree, file, to_end_s=_TO_END_S, keep=keep) as process:
                status = process.wait()
        if status:
            lines = output.read_bytes()[begin:].decode(errors="replace").splitlines()
            raise BuildError(f"does not build: {first_error(lines or [f'{command[0]} gives {status}'])}")
