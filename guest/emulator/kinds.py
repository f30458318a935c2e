# SPDX-License-Identifier: MIT
"""The two kinds of GT that a GPU has."""

from __future__ import annotations

from dataclasses import dataclass

from guest.emulator import engines, klv
from guest.emulator.engines import Engine


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells one GT from another: its version, its engines, and the registers that its driver asks for."""

    version: int
    engines: tuple[Engine, ...]
    registers: tuple[tuple[int, int], ...]


MAIN = Kind(klv.GRAPHICS_VERSION, engines.MAIN, klv.MAIN_REGISTERS)
MEDIA = Kind(klv.MEDIA_VERSION, engines.MEDIA, klv.MEDIA_REGISTERS)
