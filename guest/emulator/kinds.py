# SPDX-License-Identifier: MIT
"""The two kinds of GT that a GPU has."""

from __future__ import annotations

from dataclasses import dataclass

from guest.emulator import engines, klv
from guest.emulator.engines import Engine


@dataclass(frozen=True, slots=True)
class Kind:
    """Differences between GTs: version, engines, and the registers that the driver reads."""

    version: int
    engines: tuple[Engine, ...]
    registers: tuple[tuple[int, int], ...]


MAIN = Kind(klv.GRAPHICS_VERSION, engines.MAIN, klv.MAIN_REGISTERS)
MEDIA = Kind(klv.MEDIA_VERSION, engines.MEDIA, klv.MEDIA_REGISTERS)
