# SPDX-License-Identifier: MIT
"""Kernel versions, and ranges of them."""

from __future__ import annotations

import re
from dataclasses import dataclass


def release(version: str) -> tuple[int, ...]:
    """``(7, 0, 13)`` of ``7.0.13+deb13-amd64``, for comparing kernels; raises ValueError."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if match is None:
        raise ValueError(f"{version!r} is not a kernel version")
    return tuple(int(part) for part in match.groups() if part is not None)


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels from ``first`` to ``last``, all stable releases of ``last`` included; None: no bound."""

    first: tuple[int, ...] | None = None
    last: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Kernels:
        """``6.17..7.0``, ``..7.0``, ``6.17..`` or one version; raises ValueError."""
        first, dots, last = (part.strip() for part in text.partition(".."))
        if not first and not last:
            raise ValueError(f"{text!r} is not a range of kernels: write 6.17..7.0, ..7.0, 6.17.. or 7.0")
        if not dots:
            return cls(release(first), release(first))
        return cls(release(first) if first else None, release(last) if last else None)

    def __contains__(self, kernel: tuple[int, ...]) -> bool:
        """Whether a kernel is in the range; one that is not known is not."""
        if not kernel:
            return self.first is None and self.last is None
        if self.first is not None and kernel < self.first:
            return False
        return self.last is None or kernel[: len(self.last)] <= self.last
