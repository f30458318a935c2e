# SPDX-License-Identifier: MIT
"""The initramfs of one start: the kernel's modules, init, its instructions, and the Python environment."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from guest.cpio import Writer
from guest.environment import write_project
from guest.kernels import Kernel

PROJECT = Path(__file__).resolve().parent.parent
RIG = PurePosixPath("/svmcts")  # as in guest/init.py
MOUNT_POINTS = ("proc", "sys", "dev", "svmcts/host", "svmcts/layer", "svmcts/root")


@dataclass(frozen=True)
class Instructions:
    """What init is told. ``terminal`` is rows and columns, when the command gets a terminal for its standard files.

    ``early`` starts the command before the driver is there; the host then holds its input back.
    """

    command: Sequence[str]
    environment: dict[str, str]
    directory: str
    scratch: str
    gpus: int
    early: bool = False
    terminal: tuple[int, int] | None = None


def write(path: Path, kernel: Kernel, environment: Path, instructions: Instructions) -> None:
    with path.open("wb") as file:
        writer = Writer(file)
        for name in MOUNT_POINTS:
            writer.directory(PurePosixPath("/", name))
        # Isolated from variables and site-packages: init runs before the environment is in place.
        python = Path(sys.executable).resolve()
        source = Path(__file__).with_name("init.py").read_text()
        writer.text("/init", f"#!{python} -ISE\n{source}", mode=0o755)
        for module in (*kernel.files, *kernel.driver):
            writer.data(RIG / "modules" / f"{module.name}.ko", module.elf)
        told = {
            **asdict(instructions),
            "files": [module.name for module in kernel.files],
            "driver": [module.name for module in kernel.driver],
            "modules": str(kernel.directory),
        }
        writer.text(str(RIG / "config.json"), json.dumps(told), mode=0o600)
        write_project(writer, PROJECT)
        writer.close()
        # Whole archives may follow; an entry that comes later replaces an earlier one.
        with environment.open("rb") as packed:
            file.flush()
            size = os.fstat(packed.fileno()).st_size
            while size > 0:
                size -= os.sendfile(file.fileno(), packed.fileno(), None, size)
