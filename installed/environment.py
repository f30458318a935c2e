# SPDX-License-Identifier: MIT
"""Fills the environment of a checkout by a lock file, and says how far it is: ``python -m installed.environment LOCK``.

pip is silent for minutes where it is quiet, and prints several lines for each package where it is not.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common.heartbeat import Progress

PIP = (
    sys.executable,
    "-m",
    "pip",
    "install",
    "--disable-pip-version-check",
    "--no-input",
    "--require-hashes",
)
_PACKAGE = re.compile(r"^([\w.-]+)==", re.MULTILINE)
_BEGINS = re.compile(r"(?:Collecting|Requirement already satisfied:|Ignoring) ([\w.-]+)")


def install(lock: Path, pip: Sequence[str] = PIP) -> int:
    """Exit status of pip, whose errors and warnings are shown."""
    count = len(_PACKAGE.findall(lock.read_text(encoding="utf-8")))
    doing = f"svm-cts: {lock}:"
    print(f"{doing} {count} packages into {Path(sys.prefix).name}", flush=True)
    with (
        Progress(doing) as progress,
        subprocess.Popen([*pip, "-r", lock], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout
        begun: set[str] = set()
        for line in process.stdout:
            if found := _BEGINS.match(line):
                begun.add(found[1])
                progress.tell(f"{len(begun)} of {count}, {found[1]}")
            elif line.startswith("Installing"):
                progress.tell("all are there, installing")
    return process.returncode


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])))
