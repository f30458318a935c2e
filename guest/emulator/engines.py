# SPDX-License-Identifier: MIT
"""The engines of this GPU, by GT.

The main GT has render, one compute, and two copy engines (the driver keeps the second for itself); the media GT has two
video decoders and two video enhancers.

Source: drivers/gpu/drm/xe/xe_hw_engine.c:engine_infos (instances, interrupts, register bases), xe_guc_fwif.h
(GUC_RENDER_CLASS ...), xe_hw_engine_types.h (the hardware's classes, in page faults).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One engine, as the GuC (class, bit in the submit mask), page faults and interrupts name it."""

    name: str
    guc_class: int
    logical: int
    hw_class: int
    instance: int
    irq_offset: int
    base: int
    """Offset of its registers."""

    @property
    def kind(self) -> str:
        """The kernel's name of its class."""
        return self.name.rstrip("0123456789")

    @property
    def group(self) -> str:
        """Engines of one group make no progress while one of them is stuck on a page fault.

        So xe_hw_engine_group_types.h; the groups are those of xe_hw_engine.c:xe_hw_engine_setup_groups. The copy engine
        that the driver keeps for itself (xe_hw_engine.c: reserved_bcs_instance) serves faults, and is in none of them.
        """
        return self.name if self.name == RESERVED else _GROUPS[self.kind]


RESERVED = "bcs8"
RENDER = "render"
_GROUPS = {"rcs": RENDER, "ccs": RENDER, "bcs": "copy", "vcs": "media", "vecs": "media"}

MAIN = (
    Engine(name="rcs0", guc_class=0, logical=0, hw_class=0, instance=0, irq_offset=0, base=0x2000),
    Engine(name="bcs0", guc_class=3, logical=0, hw_class=3, instance=0, irq_offset=15, base=0x22000),
    Engine(name="bcs8", guc_class=3, logical=1, hw_class=3, instance=8, irq_offset=23, base=0x3EE000),
    Engine(name="ccs0", guc_class=4, logical=0, hw_class=5, instance=0, irq_offset=4, base=0x1A000),
)
MEDIA = (
    Engine(name="vcs0", guc_class=1, logical=0, hw_class=1, instance=0, irq_offset=32, base=0x1C0000),
    Engine(name="vcs1", guc_class=1, logical=1, hw_class=1, instance=1, irq_offset=33, base=0x1C4000),
    Engine(name="vecs0", guc_class=2, logical=0, hw_class=2, instance=0, irq_offset=63, base=0x1C8000),
    Engine(name="vecs1", guc_class=2, logical=1, hw_class=2, instance=1, irq_offset=62, base=0x1D8000),
)


def find(engines: Sequence[Engine], guc_class: int, submit_mask: int, width: int = 1) -> list[Engine]:
    """The first ``width`` neighbours of a class whose first a submit mask allows; [] if there are none."""
    by_logical = {engine.logical: engine for engine in engines if engine.guc_class == guc_class}
    for first in sorted(by_logical):
        chosen = [by_logical[first + n] for n in range(width) if first + n in by_logical]
        if submit_mask >> first & 1 and len(chosen) == width:
            return chosen
    return []
