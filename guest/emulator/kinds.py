# SPDX-License-Identifier: MIT
"""The GPUs that the emulator can be, and the two kinds of GT that each has."""

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


@dataclass(frozen=True, slots=True)
class Model:
    """A GPU as its virtual function shows it (xe_pci.c)."""

    device_id: int
    discrete: bool
    """Whether it has VRAM, a BAR for it, and its page tables there."""
    main: Kind
    media: Kind

    @property
    def graphics(self) -> int:
        """Major version of the graphics IP."""
        return self.main.version >> 22


MODELS = {
    "bmg": Model(
        device_id=0xE20B,
        discrete=True,
        main=Kind(klv.GRAPHICS_VERSION, engines.MAIN, klv.MAIN_REGISTERS),
        media=Kind(klv.MEDIA_VERSION, engines.MEDIA, klv.media_registers(klv.MAIN_REGISTERS)),
    ),
    "ptl": Model(
        device_id=0xB080,
        discrete=False,
        main=Kind(klv.XE3_VERSION, engines.MAIN, klv.XE3_MAIN_REGISTERS),
        media=Kind(klv.XE3_VERSION, engines.MEDIA, klv.media_registers(klv.XE3_MAIN_REGISTERS)),
    ),
}
USUAL = "bmg"
