# SPDX-License-Identifier: MIT
"""A QEMU that can be a vfio-user client (10.1 or later): the machine's own, or one unpacked from Debian packages."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from guest import GuestError, cache, debian

PROGRAM = "qemu-system-x86_64"
DEVICE = "vfio-user-pci"
RELEASES = ("trixie", "trixie-backports")
PACKAGES = ("qemu-system-x86",)
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
TREE = "qemu"


@dataclass(frozen=True)
class Qemu:
    """How to start QEMU: its program, arguments before and after it, additional environment variables."""

    program: Path
    loader: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> tuple[str, ...]:
        """The beginning of a command line."""
        return (*self.loader, str(self.program), *self.options)

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @functools.cached_property
    def version(self) -> str:
        found = re.search(r"version (\d+(?:\.\d+)+)", self.run("--version").stdout)
        return found[1] if found else "unknown"

    def has_device(self) -> bool:
        return f'"{DEVICE}"' in self.run("-device", "help").stdout


def find() -> Qemu | None:
    """The QEMU to use if nothing may be fetched: ``$SVMCTS_QEMU``, one in PATH that is new enough, or the cache's."""
    if own := os.environ.get("SVMCTS_QEMU"):
        program = shutil.which(own)
        if program is None or not (qemu := Qemu(Path(program).absolute())).has_device():
            raise GuestError(f"SVMCTS_QEMU={own} has no {DEVICE} device: QEMU 10.1 or later is needed")
        return qemu
    if (program := shutil.which(PROGRAM)) and (qemu := Qemu(Path(program).absolute())).has_device():
        return qemu
    tree = cache.find(TREE)
    return unpacked(tree) if tree else None


def provide() -> Qemu:
    """The QEMU to use; fetched from trixie-backports into the cache (about 50 MB) when the machine has none."""
    return find() or unpacked(cache.provide(TREE, build))


def build(directory: Path) -> None:
    archive = debian.Archive(*RELEASES)
    archive.refresh()
    files = archive.fetch_closure(*PACKAGES)
    debian.unpack(files, directory)
    qemu = unpacked(directory)
    if not qemu.has_device():
        raise GuestError(f"the QEMU of Debian {RELEASES[-1]} ({qemu.version}) has no {DEVICE} device")
    for file in files:
        file.unlink()


def unpacked(tree: Path) -> Qemu:
    """QEMU in an unpacked tree, started by the tree's own dynamic loader: the machine's C library may be older."""
    loader = tree / "usr/lib64/ld-linux-x86-64.so.2"
    libraries = ":".join(str(tree / path) for path in LIBRARIES)
    modules = tree / "usr/lib/x86_64-linux-gnu/qemu"
    firmware = [str(tree / "usr/share" / name) for name in ("qemu", "seabios")]
    # Started by the loader, QEMU cannot find its directories relative to its own file.
    return Qemu(
        tree / "usr/bin" / PROGRAM,
        loader=(str(loader), "--library-path", libraries),
        options=tuple(word for path in firmware for word in ("-L", path)),
        environment={"QEMU_MODULE_DIR": str(modules)},
    )
