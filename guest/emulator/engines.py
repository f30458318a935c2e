# SPDX-License-Identifier: MIT
"""The engines of this GPU: render, one compute, and two copy engines (the driver keeps the second for itself).

Source: drivers/gpu/drm/xe/xe_hw_engine.c:engine_infos (instances, interrupts, register bases), xe_guc_fwif.h
(GUC_RENDER_CLASS ...), xe_hw_engine_types.h (the hardware's classes, in page faults).
"""

from __future__ import annotations

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


ENGINES = (
    Engine(name="rcs0", guc_class=0, logical=0, hw_class=0, instance=0, irq_offset=0, base=0x2000),
    Engine(name="bcs0", guc_class=3, logical=0, hw_class=3, instance=0, irq_offset=15, base=0x22000),
    Engine(name="bcs8", guc_class=3, logical=1, hw_class=3, instance=8, irq_offset=23, base=0x3EE000),
    Engine(name="ccs0", guc_class=4, logical=0, hw_class=5, instance=0, irq_offset=4, base=0x1A000),
)


def find(guc_class: int, submit_mask: int) -> Engine | None:
    """The first engine of a class that a submit mask allows."""
    for engine in ENGINES:
        if engine.guc_class == guc_class and submit_mask >> engine.logical & 1:
            return engine
    return None
