# SPDX-License-Identifier: MIT
"""Loads and removes the driver's modules, in a guest: ``python -m sensitivity.modules NAME=FILE...`` exchanges them.

Nothing but the standard library is needed, so it starts quickly in a guest without KVM.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

DELETE_MODULE, FINIT_MODULE = 176, 313  # x86-64
NODES_S = 20.0
SLOW_S = 0.005

libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, what: str, *arguments: object) -> None:
    if libc.syscall(number, *arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def remove(modules: dict[str, str]) -> None:
    """Remove the modules, last first. Raises OSError."""
    for name in reversed(modules):
        _call(DELETE_MODULE, f"remove {name}", name.encode(), os.O_NONBLOCK)


def load(modules: dict[str, str]) -> None:
    """Load these modules. Raises OSError."""
    for name, path in modules.items():
        file = os.open(path, os.O_RDONLY)
        _call(FINIT_MODULE, f"load {name}", file, b"", 0)
        os.close(file)
    end = time.monotonic() + NODES_S
    while not list(Path("/dev/dri").glob("renderD*")):
        if time.monotonic() > end:
            raise OSError(0, "the driver makes no render node")
        time.sleep(SLOW_S)


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    remove(given)
    load(given)
