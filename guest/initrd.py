# SPDX-License-Identifier: MIT
"""The initramfs: modules that make the host's files visible, init, what workers import.

Nothing of a single run is in it, and nothing of the driver under test.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path, PurePosixPath

from guest import PROJECT, project
from guest.cpio import Writer
from guest.environment import names
from guest.kernels import Kernel

RIG = PurePosixPath("/svmcts")  # as in guest/init.py
MOUNT_POINTS = ("proc", "sys", "dev", "svmcts/host", "svmcts/layer", "svmcts/root", "svmcts/unpacked")
SOURCES = {name: Path(__file__).with_name(name) for name in ("init.py", "worker.py")}


def write(path: Path, kernel: Kernel, environment: Path) -> None:
    with path.open("wb") as file:
        writer = Writer(file)
        for name in MOUNT_POINTS:
            writer.directory(PurePosixPath("/", name))
        # Isolated from variables and site-packages: init runs before the environment is in place.
        python = Path(sys.executable).resolve()
        writer.text("/init", f"#!{python} -ISE\n{SOURCES['init.py'].read_text()}", mode=0o755)
        writer.text(str(RIG / "worker.py"), SOURCES["worker.py"].read_text())
        for module in kernel.files:
            writer.data(RIG / "modules" / f"{module.name}.ko", module.elf)
        config = {
            "files": [module.name for module in kernel.files],
            "modules": str(kernel.directory),
            "prefix": sys.prefix,
            "python": str(names()[0]),
            "project": str(PROJECT),
        }
        writer.text(str(RIG / "config.json"), json.dumps(config))
        project.pack(writer, PROJECT)
        writer.close()
        # Whole archives may follow each other.
        with environment.open("rb") as packed:
            file.flush()
            size = os.fstat(packed.fileno()).st_size
            while size > 0:
                size -= os.sendfile(file.fileno(), packed.fileno(), None, size)
