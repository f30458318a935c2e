# SPDX-License-Identifier: MIT
"""The options that describe a guest, shared by the command line, the interpreter and the pytest plugin."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from common.kernels import DEFAULT_KERNEL
from guest import GuestError
from guest.emulator.adversary import MODES
from guest.machine import GIB, Machine, Topology

IOMMU_ALONE = "--iommu is for one GPU: QEMU does not tell where a mapping of another GPU's memory leads"


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--kernel",
        default=DEFAULT_KERNEL,
        metavar="KERNEL",
        help="version (7.3, 7.3.4), Debian package, name of a kernel that was built here, built tree, or IMAGE:MODULES "
        "(default: %(default)s)",
    )
    add(
        "--module",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.ko",
        help="replaces the kernel's module of the same name; may be repeated",
    )
    add("--gpus", type=int, choices=(0, 1, 2), default=1, help="emulated GPUs (default: %(default)s)")
    add_topology(parser)
    add("--memory", type=int, default=4, metavar="GIB", help="the guest's memory (default: %(default)s)")
    add(
        "--append", action="append", default=[], metavar="PARAMETER", help="kernel parameter; may be repeated"
    )
    add(
        "--adversary",
        choices=tuple(MODES),
        default=None,
        help="how often the emulated GPUs respond late (docs/emulator.md)",
    )
    add(
        "--iommu",
        action="store_true",
        help="an IOMMU: the emulated GPU only reaches memory that the driver has mapped for DMA (docs/emulator.md)",
    )
    add(
        "--emulator",
        type=shlex.split,
        default=[],
        metavar="OPTIONS",
        help="options of the emulated GPUs, as in '--vram 1G --trace guc' (python -m guest.emulator --help)",
    )


def add_topology(parser: argparse.ArgumentParser) -> None:
    """Add ``--topology``."""
    parser.add_argument(
        "--topology",
        type=Topology,
        choices=tuple(Topology),
        default=Topology.NEAR,
        help="two GPUs behind one switch, or far from each other, without p2p (default: %(default)s)",
    )


def machine(options: argparse.Namespace) -> Machine:
    """The machine described by parsed options. Raises GuestError for one that there cannot be."""
    if options.iommu and options.gpus > 1:
        raise GuestError(IOMMU_ALONE)
    return Machine(
        options.gpus,
        options.topology,
        options.memory * GIB,
        options=tuple(options.append),
        emulator=(*options.emulator, *(("--adversary", options.adversary) if options.adversary else ())),
        iommu=options.iommu,
    )
