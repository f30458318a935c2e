# SPDX-License-Identifier: MIT
"""uAPI levels: the kernel version whose documented behaviour the mock implements."""

from __future__ import annotations

import re

from common.kernels import Version


class Level(Version):
    """A kernel version that the mock can play: major and minor."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Level:
        """From text such as "7.3". Raises ValueError for anything else, with the reason."""
        if not re.fullmatch(r"\d+\.\d+", text):
            raise ValueError(f"uAPI level {text!r} is not a kernel version such as 7.3")
        level = super().parse(text)
        if not LEVELS[0] <= level <= LEVELS[-1]:
            raise ValueError(f"uAPI level {level}: the mock plays those of Linux {LEVELS[0]} to {LEVELS[-1]}")
        return level


V6_17, V6_18, V6_19, V7_0, V7_1, V7_2, V7_3 = LEVELS = (
    Level(6, 17), Level(6, 18), Level(6, 19), Level(7, 0), Level(7, 1), Level(7, 2), Level(7, 3)
)  # fmt: skip
"""Kernels that the mock can play, oldest first."""

# Additions of later kernels, by the name for Device.has. Properties and ioctls that a level does not
# know are answered as unknown ones; so are flags and values, whose age is recorded (mock/driver/arguments.py).
# Versions: the recorded headers and sources of Linux 6.17 to 7.3.
FEATURES: dict[str, Level] = {
    "madvise": V6_18,
    "consult-preferred-location": V6_18,
    "no-compression": V7_0,
    "multi-queue": V7_0,
    "compressed-userptr-refused": V7_0,
    "hang-replay-state": V7_0,
    "idle-in-sync-refused": V7_0,
    "job-limit": V7_0,
    "min-run-period": V7_0,
    "preferred-location-region": V7_0,
    "mirror-merge": V7_0,
    "autoreset-forgets-pat": V7_0,
    "unwind-whole": V6_19,
    "vm-faults": V7_1,
    "large-device-pages": V7_1,
    "state-cache-perf-fix": V7_1,
    "purgeable": V7_1,
    "l2-flush-pat": V7_1,
    "incoherent-mirror-refused": V7_2,
    "engine-cycles-cut-gt-id": V7_2,
    "stats-cleared-by-write": V7_3,
}
