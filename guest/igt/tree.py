# SPDX-License-Identifier: MIT
"""A private root directory with IGT's test programs and their dependencies, unpacked from Debian packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

from guest import GuestError, cache, debian

RELEASE = "sid"
PACKAGES = ("igt-gpu-tools-tests", "dash")
"""Some tests start programs with a shell."""
KEY = "igt"
TESTS = Path("usr/libexec/igt-gpu-tools")
LOADER = Path("usr/lib64/ld-linux-x86-64.so.2")
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
VERSION = "version"
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
"""Files of the base system that none of the unpacked packages has."""
PLACES = ("dev", "proc", "sys", "tmp", "run")
LIST_S = 60.0


def provide() -> Path:
    """The tree; it is fetched (30 MB) if it is not in the cache."""
    return cache.provide(KEY, build)


def build(directory: Path) -> None:
    """Fetch and unpack into an empty directory."""
    archive = debian.Archive(RELEASE)
    archive.refresh()
    found = archive.packages(PACKAGES[0])
    if not found:
        raise GuestError(f"Debian {RELEASE} has no {PACKAGES[0]}")
    files = archive.fetch_closure(*PACKAGES)
    debian.unpack(files, directory)
    for name, target in LINKS.items():
        if not (directory / name).exists():
            (directory / name).symlink_to(target)
    for name in PLACES:
        (directory / name).mkdir(exist_ok=True)
    shell = directory / "usr/bin/sh"
    if not shell.exists():
        shell.symlink_to("dash")
    (directory / VERSION).write_text(found[0].version)
    for file in files:
        file.unlink(missing_ok=True)


def version(tree: Path) -> str:
    """The Debian version of the tests."""
    return (tree / VERSION).read_text()


def programs(tree: Path) -> list[str]:
    """The names of all test programs."""
    return sorted(path.name for path in (tree / TESTS).iterdir() if path.is_file())


def subtests(tree: Path, program: str) -> list[str]:
    """The subtests of a program, in the order in which it runs them; needs neither a GPU nor root."""
    done = subprocess.run(
        [tree / LOADER, "--library-path", tree / LIBRARIES, tree / TESTS / program, "--list-subtests"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIST_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise GuestError(f"{program} does not list its subtests: {debian.last_error(done)}")
    return done.stdout.split()
