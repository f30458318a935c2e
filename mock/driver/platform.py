# SPDX-License-Identifier: MIT
"""Platform profiles: hardware that the mock presents. Facts from xe_pci.c, xe_pat.c and xe_hw_engine.c of Linux 7.3."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from common.near import near_or_all
from mock.driver.kconfig import COMPLETE, KernelConfig
from mock.driver.lib.sizes import SZ_4K, SZ_64K, MiB


class EngineClass(IntEnum):
    """DRM_XE_ENGINE_CLASS_* of the uAPI."""

    RENDER = 0
    COPY = 1
    VIDEO_DECODE = 2
    VIDEO_ENHANCE = 3
    COMPUTE = 4
    VM_BIND = 5


class Coherency(IntEnum):
    """XE_COH_* of xe_pat.h; RESERVED is a PAT index the hardware does not define."""

    RESERVED = 0
    NONE = 1
    ONE_WAY = 2
    TWO_WAY = 3


@dataclass(frozen=True)
class PatEntry:
    """One index of the page attribute table: the properties that the driver checks."""

    coherency: Coherency
    compressed: bool = False


def _xe2_pat() -> tuple[PatEntry, ...]:
    none = {0, 3, 6, 8, 13, 20, 24, 28}
    one_way = {1, 4, 5, 22, 26, 30}
    two_way = {2, 7, 23, 27, 31}
    compressed = {9, 10, 11, 12, 14, 15, 21, 25, 29}
    table = []
    for index in range(32):
        if index in none | compressed:
            table.append(PatEntry(Coherency.NONE, index in compressed))
        elif index in one_way:
            table.append(PatEntry(Coherency.ONE_WAY))
        elif index in two_way:
            table.append(PatEntry(Coherency.TWO_WAY))
        else:
            table.append(PatEntry(Coherency.RESERVED))
    return tuple(table)


XE2_PAT = _xe2_pat()

TRANSIENT_APP = 19
"""The index ("XA") of memory that the GPU writes back for the CPU whenever work ends, from Xe3p on (xe_pat.c)."""


def _xe3_lpg_pat() -> tuple[PatEntry, ...]:
    table = list(XE2_PAT)
    table[16] = PatEntry(Coherency.ONE_WAY, compressed=True)
    return tuple(table)


XE3_LPG_PAT = _xe3_lpg_pat()


def _xe3p_lpg_pat() -> tuple[PatEntry, ...]:
    table = list(XE3_LPG_PAT)
    table[18] = PatEntry(Coherency.NONE)
    table[TRANSIENT_APP] = PatEntry(Coherency.ONE_WAY)
    return tuple(table)


XE3P_LPG_PAT = _xe3p_lpg_pat()
XELP_PAT = (PatEntry(Coherency.ONE_WAY), *[PatEntry(Coherency.NONE)] * 3)
XEHPC_PAT = tuple(PatEntry(Coherency.ONE_WAY if index in {3, 5, 7} else Coherency.NONE) for index in range(8))


@dataclass(frozen=True)
class EngineProfile:
    """A group of user-visible engines of one class on one GT."""

    engine_class: EngineClass
    count: int


@dataclass(frozen=True)
class GtProfile:
    media: bool
    engines: tuple[EngineProfile, ...]
    ip_version: tuple[int, int, int]
    reference_clock: int = 19_200_000
    dss: int = 8
    eu_per_dss: int = 8
    simd16: bool = True
    report_l3: bool = True


@dataclass(frozen=True)
class TileProfile:
    gts: tuple[GtProfile, ...]
    vram: int = 0
    """Usable bytes of VRAM; 0 on an integrated GPU."""


@dataclass(frozen=True)
class DeviceProfile:
    """struct xe_device_desc, the graphics description, and the fuses of one product."""

    name: str
    device_id: int
    revision: int
    graphics_version: int
    media_version: int
    tiles: tuple[TileProfile, ...]
    discrete: bool
    pat: tuple[PatEntry, ...]
    va_bits: int = 48
    page_table_levels: int = 5
    has_usm: bool = True
    needs_scratch: bool = True
    needs_64k: bool = False
    has_flat_ccs: bool = True
    has_64bit_timestamp: bool = True
    has_atomic_enable_pte_bit: bool = True
    device_atomics_on_smem: bool = True
    forces_scratch: bool = False
    """Every VM gets SCRATCH_PAGE (workaround 22014953428)."""
    multi_lrc: frozenset[EngineClass] = frozenset({EngineClass.VIDEO_DECODE, EngineClass.VIDEO_ENHANCE})
    multi_queue: frozenset[EngineClass] = frozenset()
    """Classes that have multi-queue groups (multi_queue_engine_class_mask)."""

    @property
    def l2_flush_optimized(self) -> bool:
        """xe_device_is_l2_flush_optimized()."""
        return self.graphics_version >= 35 and not self.discrete

    def reaches_cpu(self, pat_index: int) -> bool:
        """With optimised L2 flush: whether the CPU sees GPU writes with this index once the job has ended."""
        return pat_index == TRANSIENT_APP or self.pat[pat_index].coherency is Coherency.TWO_WAY

    @property
    def has_vram(self) -> bool:
        return any(tile.vram for tile in self.tiles)

    @property
    def min_page_size(self) -> int:
        """Bytes; of VRAM regions and of DRM_XE_QUERY_CONFIG_MIN_ALIGNMENT."""
        return SZ_64K if self.needs_64k else SZ_4K


@dataclass(frozen=True)
class Platform:
    """One or several devices in a machine. ``links``: pairs of indices with a fast link between them."""

    name: str
    devices: tuple[DeviceProfile, ...]
    links: tuple[tuple[int, int], ...] = ()
    kconfig: KernelConfig = COMPLETE

    def links_of(self, index: int) -> set[int]:
        """Indices of the devices with a fast link to this one."""
        return {other for pair in self.links if index in pair for other in pair if other != index}


def _gt(*engines: tuple[EngineClass, int], ip: tuple[int, int, int], media: bool = False) -> GtProfile:
    return GtProfile(media, tuple(EngineProfile(cls, count) for cls, count in engines), ip)


def _integrated(graphics: tuple[int, int, int], media: tuple[int, int, int]) -> TileProfile:
    """The tile of an integrated GPU from Xe2 on, by the versions of its GTs."""
    return TileProfile(
        (
            _gt((EngineClass.RENDER, 1), (EngineClass.COPY, 1), (EngineClass.COMPUTE, 1), ip=graphics),
            _gt((EngineClass.VIDEO_DECODE, 1), (EngineClass.VIDEO_ENHANCE, 1), ip=media, media=True),
        )
    )


_LNL = DeviceProfile(
    name="LUNARLAKE",
    device_id=0x64A0,
    revision=4,
    graphics_version=20,
    media_version=20,
    tiles=(_integrated((20, 4, 4), media=(20, 0, 4)),),
    discrete=False,
    pat=XE2_PAT,
)


_PTL = DeviceProfile(
    name="PANTHERLAKE",
    device_id=0xB080,
    revision=0,
    graphics_version=30,
    media_version=30,
    tiles=(_integrated((30, 0, 4), media=(30, 0, 4)),),
    discrete=False,
    pat=XE3_LPG_PAT,
)


def _bmg(vram: int) -> DeviceProfile:
    return DeviceProfile(
        name="BATTLEMAGE",
        device_id=0xE20B,
        revision=0,
        graphics_version=20,
        media_version=13,
        tiles=(
            TileProfile(
                (
                    _gt(
                        (EngineClass.RENDER, 1),
                        (EngineClass.COPY, 1),
                        (EngineClass.COMPUTE, 1),
                        ip=(20, 1, 4),
                    ),
                    _gt(
                        (EngineClass.VIDEO_DECODE, 2),
                        (EngineClass.VIDEO_ENHANCE, 2),
                        ip=(13, 1, 4),
                        media=True,
                    ),
                ),
                vram=vram,
            ),
        ),
        discrete=True,
        pat=XE2_PAT[:28],  # Wa_16023588340: no CLOS3 (xe_pat.c: xe_pat_init_early)
    )


_NVL = DeviceProfile(
    name="NOVALAKE_P",
    device_id=0xD750,
    revision=0,
    graphics_version=35,
    media_version=35,
    tiles=(_integrated((35, 10, 0), media=(35, 0, 0)),),
    discrete=False,
    pat=XE3P_LPG_PAT,
    needs_scratch=False,
    multi_queue=frozenset({EngineClass.COPY, EngineClass.COMPUTE}),
)

_PVC = DeviceProfile(
    name="PVC",
    device_id=0x0BD5,
    revision=0x2F,
    graphics_version=12,
    media_version=0,
    tiles=tuple(
        TileProfile((_gt((EngineClass.COPY, 8), (EngineClass.COMPUTE, 1), ip=(0, 0, 0)),), vram=256 * MiB)
        for _ in range(2)
    ),
    discrete=True,
    pat=XEHPC_PAT,
    va_bits=57,
    needs_scratch=False,
    needs_64k=True,
    has_flat_ccs=False,
    has_64bit_timestamp=False,
    device_atomics_on_smem=False,
)

_DG2 = DeviceProfile(
    name="DG2",
    device_id=0x56A0,
    revision=8,
    graphics_version=12,
    media_version=12,
    tiles=(
        TileProfile(
            (
                _gt(
                    (EngineClass.RENDER, 1),
                    (EngineClass.COPY, 1),
                    (EngineClass.VIDEO_DECODE, 2),
                    (EngineClass.VIDEO_ENHANCE, 2),
                    (EngineClass.COMPUTE, 4),
                    ip=(0, 0, 0),
                ),
            ),
            vram=256 * MiB,
        ),
    ),
    discrete=True,
    pat=XELP_PAT,
    page_table_levels=4,
    has_usm=False,
    needs_scratch=False,
    needs_64k=True,
    has_64bit_timestamp=False,
    has_atomic_enable_pte_bit=False,
    device_atomics_on_smem=False,
    forces_scratch=True,
)

# VRAM is small on purpose, so that a test can trigger eviction in reasonable time and memory.
PLATFORMS: dict[str, Platform] = {
    platform.name: platform
    for platform in (
        Platform("lnl", (_LNL,)),
        Platform("ptl", (_PTL,)),
        Platform("bmg", (_bmg(256 * MiB),)),
        Platform("bmg2", (_bmg(256 * MiB), _bmg(256 * MiB)), links=((0, 1),)),
        Platform("bmg2-far", (_bmg(256 * MiB), _bmg(256 * MiB))),
        Platform("bmg3-chain", (_bmg(64 * MiB), _bmg(64 * MiB), _bmg(64 * MiB)), links=((0, 1), (1, 2))),
        Platform("bmg-nopagemap", (_bmg(256 * MiB),), kconfig=KernelConfig(drm_xe_pagemap=False)),
        Platform(
            "bmg-nomirror",
            (_bmg(256 * MiB),),
            kconfig=KernelConfig(drm_xe_gpusvm=False, drm_xe_pagemap=False),
        ),
        Platform(
            "bmg-nogpusvm",
            (_bmg(256 * MiB),),
            kconfig=KernelConfig(drm_gpusvm=False, drm_xe_gpusvm=False, drm_xe_pagemap=False),
        ),
        Platform("nvl", (_NVL,)),
        Platform("pvc", (_PVC,)),
        Platform("dg2", (_DG2,)),
    )
}


def find_platform(name: str) -> Platform:
    """Look up a platform. Raises ValueError with the list of names for an unknown one."""
    if name not in PLATFORMS:
        raise ValueError(f"no platform {name!r}{near_or_all(name, PLATFORMS)}")
    return PLATFORMS[name]
