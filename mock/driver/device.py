# SPDX-License-Identifier: MIT
"""The objects of one GPU: device, tiles, GTs, engines (xe_device_types.h, xe_gt_types.h, xe_hw_engine_types.h)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mock.driver.kconfig import KernelConfig
from mock.driver.level import FEATURES, Level
from mock.driver.lib.blocking import WaitQueue
from mock.driver.pagemap.devmem import Pagemap
from mock.driver.platform import DeviceProfile, EngineClass, GtProfile, TileProfile
from mock.driver.stats import GtStats
from mock.driver.ttm.device import TtmDevice

if TYPE_CHECKING:
    from collections.abc import Collection

    from mock.driver.lib.exports import Exports
    from mock.driver.lib.fault_inject import FaultInjection
    from mock.driver.pagemap.interconnect import Owners
    from mock.driver.pagemap.process import Processes
    from mock.driver.ttm.dma_buf import DmaBufs
    from mock.kernel import File, Services


class HwEngine:
    """A hardware engine that user space can address: (class, logical instance, GT)."""

    def __init__(self, gt: Gt, engine_class: EngineClass, instance: int) -> None:
        self.gt = gt
        self.engine_class = engine_class
        self.instance = instance

    def __repr__(self) -> str:
        return f"<{self.engine_class.name.lower()}{self.instance} gt{self.gt.id}>"


class Gt:
    """One GT: engines and statistics."""

    def __init__(self, tile: Tile, number: int, profile: GtProfile) -> None:
        self.tile = tile
        self.id = number
        self.profile = profile
        self.stats = GtStats()
        self.engines = [
            HwEngine(self, group.engine_class, instance)
            for group in profile.engines
            for instance in range(group.count)
        ]

    def engine(self, engine_class: int, instance: int) -> HwEngine | None:
        for engine in self.engines:
            if (engine.engine_class, engine.instance) == (engine_class, instance):
                return engine
        return None


class Tile:
    """One tile: its GTs and its VRAM (None on integrated GPUs).

    pagemap  its VRAM as memory of processes, None if the kernel was built without that
    """

    def __init__(
        self, device: Device, number: int, profile: TileProfile, gt_ids: itertools.count[int]
    ) -> None:
        self.device = device
        self.id = number
        self.gts = [Gt(self, next(gt_ids), gt) for gt in profile.gts]
        self.vram = device.ttm.vram[number]
        self.pagemap: Pagemap | None = None
        if self.vram is not None and device.kconfig.drm_xe_pagemap:
            self.pagemap = Pagemap(
                self.vram,
                self.primary_gt.stats,
                device.index,
                device.machine.owners,
                device.machine.faults,
                large_pages=device.has("large-device-pages"),
            )

    @property
    def primary_gt(self) -> Gt:
        return self.gts[0]


@dataclass(frozen=True)
class Machine:
    """State that the GPUs of a machine share.

    exports     syncobjs and fences that clients hold descriptors of
    dma_bufs    buffer objects that they hold descriptors of
    processes   address spaces of clients
    open_files  open nodes, with their owners
    owners      groups of GPUs that map each other's VRAM
    faults      fault injection
    """

    exports: Exports
    dma_bufs: DmaBufs
    processes: Processes
    open_files: dict[File, Device]
    owners: Owners
    faults: FaultInjection


class Device:
    """One GPU and its driver state.

    index       its number in the machine
    minor       of its render node; the card node is minor - 128
    links       numbers of the GPUs with which it has a fast link
    wedged      every ioctl answers ECANCELED (xe_device.c: xe_drm_ioctl)
    master      the open file that is DRM master
    """

    def __init__(
        self,
        profile: DeviceProfile,
        index: int,
        minor: int,
        level: Level,
        kconfig: KernelConfig,
        links: Collection[int],
        services: Services,
        machine: Machine,
    ) -> None:
        self.profile = profile
        self.index = index
        self.minor = minor
        self.level = level
        self.kconfig = kconfig
        self.links = frozenset(links)
        self.services = services
        self.machine = machine
        self.wedged = False
        self.master: object = None
        self.ttm = TtmDevice(index, (tile.vram for tile in profile.tiles), profile.min_page_size)
        self.min_run_period_ms = {"lr": 5, "pf": 0}
        """Stored only: work takes no time on the mock, so no queue is preempted before its minimum run period."""
        gt_ids = itertools.count()
        self.tiles = [Tile(self, number, tile, gt_ids) for number, tile in enumerate(profile.tiles)]
        self.ufence_wq = WaitQueue()

    def has(self, feature: str) -> bool:
        """Whether the uAPI level has a feature of level.FEATURES."""
        return FEATURES[feature] <= self.level

    @property
    def pci_address(self) -> str:
        return f"0000:{3 + self.index:02x}:00.0"

    def timestamp(self) -> int:
        """Ticks of the reference clock, which the engines' timestamp registers count."""
        return int(self.services.loop.time() * self.profile.tiles[0].gts[0].reference_clock)

    @property
    def gts(self) -> list[Gt]:
        return [gt for tile in self.tiles for gt in tile.gts]

    def gt(self, number: int) -> Gt | None:
        """A GT by its id. Only the low 8 bits of the id count: xe_device_get_gt() takes a u8."""
        number &= 0xFF
        return next((gt for gt in self.gts if gt.id == number), None)

    @property
    def tile_mask(self) -> int:
        return (1 << len(self.tiles)) - 1

    @property
    def mem_region_mask(self) -> int:
        """Bit 0 system memory, bit 1 + n the VRAM of tile n (xe->info.mem_region_mask)."""
        return 1 | sum(1 << tile.id + 1 for tile in self.tiles if tile.vram)

    def tile_of_region(self, instance: int) -> Tile | None:
        """The tile whose VRAM is a region instance; None for system memory and unknown instances."""
        if 1 <= instance <= len(self.tiles) and self.tiles[instance - 1].vram:
            return self.tiles[instance - 1]
        return None
