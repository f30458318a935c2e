# SPDX-License-Identifier: MIT
"""The parts of a guest without QEMU and without a kernel: pretended_qemu.py plays both."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from guest.kernels import Kernel
from guest.machine import Machine
from guest.modules import Module
from guest.qemu import Qemu
from guest.start import Parts, Place
from tests.guest import made

MACHINE = Machine(gpus=0, memory=1 << 20)
SCRIPT = Path(__file__).with_name("pretended_qemu.py")


def qemu(directory: Path) -> Qemu:
    program = directory / "qemu-system-x86_64"
    program.write_text(f"#!{sys.executable}\n{SCRIPT.read_text()}")
    program.chmod(0o755)
    return Qemu(program)


def kernel(directory: Path) -> Kernel:
    modules = [Module(name, made.module(name), {}) for name in ("overlay", "xe")]
    boot = directory / "vmlinux"
    boot.write_bytes(b"\x7fELF")
    return Kernel(made.RELEASE, boot, modules[:1], modules[1:], directory / "modules", debian="7.3.4")


def environment(directory: Path) -> Path:
    path = directory / "environment.cpio"
    path.write_bytes(bytes(512))
    return path


def parts(directory: Path, machine: Machine = MACHINE) -> Parts:
    """Parts whose files are in ``directory``."""
    return Parts(qemu(directory), kernel(directory), environment(directory), machine, "tcg", 2_000_000)


def changed(parts: Parts, **what: object) -> Parts:
    return dataclasses.replace(parts, **what)  # type: ignore[arg-type]


def place(directory: Path) -> Place:
    (directory / "scratch").mkdir(parents=True)
    return Place(directory, directory / "console.log", directory / "scratch")
