# SPDX-License-Identifier: MIT
"""The console script of the wheel: runs svmcts of the suite that is installed next to this file.

Only this module is importable from outside. The suite's own packages have names that others have too (ioctl is
python-ioctl's), so they are in a folder that no other program has on sys.path.
"""

from __future__ import annotations

import runpy
from pathlib import Path

TREE = Path(__file__).resolve().parent / "tree"


def main() -> None:
    """Does not return: svmcts ends with its exit status."""
    runpy.run_path(str(TREE / "svmcts"), run_name="__main__")
