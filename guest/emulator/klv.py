# SPDX-License-Identifier: MIT
"""Configuration of a virtual function by the GuC: its share of the GPU.

Source: drivers/gpu/drm/xe/abi/guc_klvs_abi.h (keys), xe_gt_sriov_vf.c:vf_get_ggtt_info, vf_get_lmem_info,
vf_get_submission_cfg (what is asked), xe_gt_sriov_pf_service.c:ver_2000_runtime_regs and ver_3000_runtime_regs
(registers reported by relay).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

GMD_ID = 0x3000
GGTT_START = 0x0001
GGTT_SIZE = 0x0002
LMEM_SIZE = 0x0003
NUM_CONTEXTS = 0x0004
NUM_DOORBELLS = 0x0006
GROUP_SCHEDULING = 0x3001
PAGING_ENGINES = 0x3003

GRAPHICS_VERSION = 20 << 22 | 1 << 14 | 4
"""Xe2_HPG, release 1, stepping 4, as GMD_ID encodes it."""
MEDIA_VERSION = 13 << 22 | 1 << 14 | 4
"""Xe2_HPM."""
NO_MEDIA = 0

GGTT_BASE = 16 << 20
"""First GGTT address of the function: above the 4 MiB that no driver uses."""
GGTT_GRANTED = 2 << 30
"""Bytes of GGTT: 8192 contexts with their rings have room."""
CONTEXTS = 8192

MEDIA_OFFSET = 0x380000
"""Offset of the media GT's copies of the main GT's registers (xe_mmio.c:xe_mmio_adjusted_addr)."""
MEDIA_ENGINES = 0x0003_0003
"""GT_VEBOX_VDBOX_DISABLE, which despite its name has the engines that are there: two of each kind."""

XE3_VERSION = 30 << 22 | 0 << 14 | 4
"""Xe3_LPG, and Xe3_LPM, release 0, stepping 4."""

MAIN_REGISTERS: tuple[tuple[int, int], ...] = (
    (0x0D00, 0x0000000E),  # RPM_CONFIG0: 19.2 MHz crystal
    (0x9114, 0x00010000),  # XEHP_FUSE4: one compute engine
    (0x9118, 0x000100F0),  # MIRROR_FUSE3: one L3 node
    (0x911C, 0),
    (0x9134, 0x000000FF),  # XELP_EU_ENABLE: eight units each
    (0x913C, 0x0000000F),  # GEOMETRY_DSS_ENABLE
    (0x9140, 0),
    (0x9144, 0x0000000F),  # COMPUTE_DSS_ENABLE
    (0x9148, 0),
    (0x914C, 0),
    (0x9150, 0),
    (0x9154, 0),
    (0xC1DC, 0),
)
"""Offset and value of each fuse and capability register, in ascending order (the driver searches by halving)."""
_FUSES = dict(MAIN_REGISTERS)
EXECUTION_UNITS = _FUSES[0x9134].bit_count() * (_FUSES[0x913C] | _FUSES[0x9144]).bit_count()
"""As the driver counts them (xe_pagefault.c:xe_pagefault_queue_init)."""
XE3_MAIN_REGISTERS = tuple(
    sorted((*MAIN_REGISTERS, (0x9130, 0x0000000F)))
)  # MIRROR_L3BANK_ENABLE: four banks


def media_registers(main: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The registers of a media GT."""
    return tuple(
        (offset + MEDIA_OFFSET, MEDIA_ENGINES if offset == 0x9140 else value) for offset, value in main
    )


MAX_SLICES, MAX_EU_PER_SUBSLICE, THREADS_PER_EU, MAX_SUBSLICES = 1, 3, 15, 70
_ATTRIBUTES = {MAX_SLICES: 1, MAX_EU_PER_SUBSLICE: 8, THREADS_PER_EU: 8, MAX_SUBSLICES: 4}
HWCONFIG = b"".join(struct.pack("<III", key, 1, value) for key, value in _ATTRIBUTES.items())
"""The hardware configuration table: for each attribute its key, its length in dwords and its value. It tells the layout
that the fuses above leave (xe_gt_mcr.c:dss_per_group asks for two of them).
"""


@dataclass(frozen=True, slots=True)
class Provision:
    """Resources of this function, as one GuC reports them; sizes in bytes."""

    vram: int
    version: int = GRAPHICS_VERSION
    """GMD_ID of the GuC's GT."""
    ggtt_start: int = GGTT_BASE
    ggtt_size: int = GGTT_GRANTED
    contexts: int = CONTEXTS

    def answer(self, key: int) -> tuple[int, ...] | None:
        """The value of a key in dwords, None for a key that does not exist."""
        wide = {GGTT_START: self.ggtt_start, GGTT_SIZE: self.ggtt_size, LMEM_SIZE: self.vram}
        if key in wide:
            return wide[key] & 0xFFFF_FFFF, wide[key] >> 32
        narrow = {
            GMD_ID: self.version,
            NUM_CONTEXTS: self.contexts,
            NUM_DOORBELLS: 0,
            GROUP_SCHEDULING: 0,
            PAGING_ENGINES: 0,
        }
        return (narrow[key],) if key in narrow else None
