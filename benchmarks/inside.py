# SPDX-License-Identifier: MIT
"""``python -m benchmarks.inside FILE``: in a guest, measures its driver and its emulated GPU.

The file gets ``{name: [[microseconds, ...], ...]}``, a list for each round.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import memory
from benchmarks.subject import Operation, Subject, timed

MMIO = "register of the GPU: a read that is trapped"
_NODE = Path("/dev/dri/renderD128")
_SYSFS = Path("/sys/class/drm") / _NODE.name / "device/resource0"
_REGISTER = 0xD8C  # GMD_ID (xe_gt_regs.h): reading it changes nothing


def operations() -> Mapping[str, Operation]:
    """Operations by name, with the driver of this machine."""
    return {"register": timed(MMIO, _register()), **memory.operations(str(_NODE))}


def _register() -> Callable[[], object]:
    fd = os.open(_SYSFS, os.O_RDWR)
    bar = mmap.mmap(fd, mmap.PAGESIZE)
    os.close(fd)
    register = ctypes.c_uint32.from_buffer(bar, _REGISTER)
    return lambda: register.value


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    subject = Subject(operations)
    try:
        series = memory.series(subject, arguments.rounds, arguments.scale)
    finally:
        subject.close()
    arguments.file.write_text(json.dumps(series))


if __name__ == "__main__":
    main()
