# SPDX-License-Identifier: MIT
"""Kernel versions, and ranges of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

DEFAULT_KERNEL = "7.3"
"""The default kernel of mock and guests."""


class Version(tuple[int, ...]):
    """``(7, 0, 13)``, ordered like kernels: 7.0 is before 7.0.13, and that before 7.1."""

    __slots__ = ()

    def __new__(cls, *parts: int) -> Self:
        """From the numbers."""
        return super().__new__(cls, parts)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``7.3``, ``v7.3`` or ``7.0.13+deb13-amd64``; raises ValueError."""
        match = re.match(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?!\d)", text)
        if match is None:
            raise ValueError(f"{text!r} is not a kernel version")
        return cls(*(int(part) for part in match.groups() if part is not None))

    def __str__(self) -> str:
        return ".".join(map(str, self))

    @property
    def series(self) -> Version:
        """``7.0`` of ``7.0.13``."""
        return Version(*self[:2])


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels from ``first`` to ``last``, all stable releases of ``last`` included; None: no bound."""

    first: Version | None = None
    last: Version | None = None

    @classmethod
    def between(cls, first: str, last: str) -> Kernels:
        """From two versions, of which each may be empty: no bound; raises ValueError."""
        return cls(Version.parse(first) if first else None, Version.parse(last) if last else None)

    @classmethod
    def parse(cls, text: str) -> Kernels:
        """``6.17..7.0``, ``..7.0``, ``6.17..`` or one version; raises ValueError."""
        first, dots, last = (part.strip() for part in text.partition(".."))
        if not first and not last:
            raise ValueError(f"{text!r} is not a range of kernels: write 6.17..7.0, ..7.0, 6.17.. or 7.0")
        return cls.between(first, last if dots else first)

    def __contains__(self, kernel: tuple[int, ...] | None) -> bool:
        """Whether a kernel is in the range; one that is not known is not."""
        if not kernel:
            return self.first is None and self.last is None
        if self.first is not None and kernel < self.first:
            return False
        return self.last is None or kernel[: len(self.last)] <= self.last
