# SPDX-License-Identifier: MIT
"""One GPU: its regions, registers and units put together, as vfio-user serves it.

Source of the registers: drivers/gpu/drm/xe/regs/xe_guc_regs.h, xe_regs.h; everything a virtual function does
not touch reads zero and ignores writes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from guest.emulator import klv, pci
from guest.emulator.adversary import Adversary
from guest.emulator.checks import Checks
from guest.emulator.ggtt import TABLE_OFFSET, TABLE_SIZE, GlobalTable
from guest.emulator.gt import Gt
from guest.emulator.kinds import MODELS, USUAL, Kind, Model
from guest.emulator.mailbox import Mailbox, Services
from guest.emulator.memory import Bus, Clock, RamTables, Tables, Vram
from guest.emulator.owners import Owners
from guest.emulator.pci import ConfigSpace
from guest.emulator.space import Memory
from guest.emulator.tlb import TranslationCache
from guest.emulator.trace import Trace
from guest.emulator.vfio_user import Region

BAR0_SIZE = 16 << 20
DOORBELLS = range(4 << 20, 8 << 20)
DOORBELL_VALUE = 0xDEADBEEF
"""Value read from a doorbell page that the function does not own."""

VF_CAP = 0x1901F8
VF_CAP_IS_FUNCTION = 1
MAIN_FLAGS = 0x190240
MAIN_DOORBELL = 0x1901F0
MEDIA_FLAGS = 0x190310
MEDIA_DOORBELL = 0x190304

REGION_BAR0, REGION_BAR2, REGION_CONFIG, REGIONS = 0, 2, 7, 9
MSI = 1
INTERRUPT_COUNTS = (0, 1, 0, 0, 0)
"""Vectors of INTx, MSI, MSI-X, error and request: one message signalled vector."""


@dataclass(frozen=True, slots=True)
class Platform:
    """State that the GPUs of one process share."""

    checks: Checks
    trace: Trace
    clock: Clock
    owners: dict[int, Owners]
    """By the identity of the VRAM."""
    adversary: Adversary = field(default_factory=Adversary)
    """The delays; none by default."""
    occupied: bool = False
    """Whether a page fault stops other engines (``Engine.group``) until it is answered."""

    def owners_of(self, vram: Vram) -> Owners:
        """The owners of a VRAM's pages."""
        return self.owners[id(vram)]


class Gpu:
    """A GPU with ``vram`` bytes of memory, the first ``bar`` of them behind its BAR, and with a media GT or without.

    An integrated one has neither VRAM nor that BAR.
    """

    def __init__(
        self,
        name: str,
        vram: int,
        bar: int,
        platform: Platform,
        *,
        media: bool = False,
        model: Model = MODELS[USUAL],
    ) -> None:
        self.name = name
        if not model.discrete:
            vram = bar = 0
        self.vram = Vram(name, vram)
        self.bus = Bus()
        self._tables: Tables = self.vram if model.discrete else RamTables(self.bus, self._no_table)
        self._unmapped: set[int] = set()
        """Pages of the bus that were unmapped since the last look at translations to them."""
        self._platform = platform
        self._bar = bar
        platform.owners[id(self.vram)] = Owners(self.vram, platform.clock)
        self.ggtt = GlobalTable(self.vram, self.bus, self._ggtt_missing)
        bars = {0: (BAR0_SIZE, False)} | ({2: (bar, True)} if bar else {})
        self.config = ConfigSpace(model.device_id, bars)
        self.main = self._make_gt(name, model.main)
        self.gts = [self.main]
        self._main_mailbox = self.main.mailbox
        if media:
            self.gts.append(self._make_gt(f"{name}.media", model.media))
            self._media_mailbox = self.gts[1].mailbox
        else:
            absent = klv.Provision(vram, klv.NO_MEDIA)
            silent = Services(lambda: None, lambda *_: True, lambda _: None, lambda *_: None)
            self._media_mailbox = Mailbox(f"{name}.media", absent, silent, platform.trace)
        self.regions: Sequence[Region] = self._make_regions()
        self.interrupt_counts: Sequence[int] = INTERRUPT_COUNTS

    def _make_gt(self, name: str, kind: Kind) -> Gt:
        platform = self._platform
        cache = TranslationCache(self._tables, platform.clock)
        memory = Memory(
            name,
            self.vram,
            self._tables,
            self.bus,
            platform.owners_of,
            cache,
            platform.checks,
            platform.clock,
        )
        return Gt(
            name,
            kind,
            memory,
            self.ggtt,
            platform.checks,
            platform.trace,
            platform.adversary,
            lambda: self.config.masters_bus,
            platform.occupied,
        )

    def _make_regions(self) -> list[Region]:
        regions = [Region(0)] * REGIONS
        regions[REGION_BAR0] = Region(BAR0_SIZE, self.ggtt.descriptor, ((TABLE_OFFSET, TABLE_SIZE),))
        if self._bar:
            regions[REGION_BAR2] = Region(self._bar, self.vram.descriptor, ((0, self._bar),))
        regions[REGION_CONFIG] = Region(pci.SIZE)
        return regions

    # Requests from vfio-user.

    def region_read(self, region: int, offset: int, size: int) -> bytes:
        """A read that was trapped."""
        if region == REGION_CONFIG:
            data = self.config.read(offset, size)
        elif region == REGION_BAR0:
            data = self._register_read(offset, size)
        elif region == REGION_BAR2:
            data = bytes(self.vram.view[offset : min(offset + size, self._bar)]).ljust(size, b"\xff")
        else:
            data = bytes(size)
        if self._platform.trace.register:
            self._show("register", f"read {region}:{offset:#x} -> {data.hex()}")
        return data

    def region_write(self, region: int, offset: int, data: bytes) -> None:
        """A write that was trapped."""
        if self._platform.trace.register:
            self._show("register", f"write {region}:{offset:#x} <- {data.hex()}")
        if region == REGION_CONFIG:
            self.config.write(offset, data)
            if self._platform.trace.pci:
                self._show("pci", f"config {offset:#x} <- {data.hex()}, BAR2 {self.config.bar_window(2)}")
        elif region == REGION_BAR0:
            self._register_write(offset, data)
        elif region == REGION_BAR2 and offset + len(data) <= self._bar:
            self.vram.view[offset : offset + len(data)] = data

    def set_interrupts(self, kind: int, start: int, descriptors: list[int]) -> None:
        """The event descriptors of an interrupt type; the one MSI vector is used, others are closed."""
        if self._platform.trace.pci:
            self._show("pci", f"interrupts type {kind} from {start}: {descriptors}")
        if kind == MSI and start == 0:
            event = descriptors.pop(0) if descriptors else -1
            for gt in self.gts[1:]:
                gt.interrupts.connect(os.dup(event) if event >= 0 else -1)
            self.main.interrupts.connect(event)
        for descriptor in descriptors:
            os.close(descriptor)

    def dma_map(self, address: int, size: int, descriptor: int, offset: int, writable: bool) -> None:
        """Guest RAM appears, or a page of it in an IOMMU."""
        if self._platform.trace.pci:
            self._show("pci", f"memory {address:#x}+{size:#x}{'' if writable else ' read-only'}")
        self.bus.map(address, size, descriptor, offset, writable=writable)

    def dma_unmap(self, address: int, size: int) -> None:
        """Guest RAM is removed, with every translation to it; or pages of it in an IOMMU, without."""
        if self._platform.trace.pci:
            self._show("pci", f"no memory {address:#x}+{size:#x}")
        if not self.bus.in_pages:
            for gt in self.gts:
                gt.cache.invalidate_all()
        self._unmapped.update(self.bus.unmap(address, size))

    def _settle(self) -> None:
        """Look at what was unmapped in an IOMMU, before a later message or job changes the translations."""
        if self._unmapped:
            pages, self._unmapped = self._unmapped, set()
            for gt in self.gts:
                gt.unmap(pages)

    def device_reset(self) -> None:
        """A function level reset."""
        for gt in self.gts:
            gt.guc.reset()
        self.config.reset()

    def disconnected(self) -> None:
        """The client has disconnected: drop its memory and interrupts."""
        for gt in self.gts:
            gt.guc.reset()
            gt.interrupts.connect(-1)
        self._unmapped.clear()
        self.bus.clear()

    # Registers.

    def _register_read(self, offset: int, size: int) -> bytes:
        value = 0
        if offset == VF_CAP:
            value = VF_CAP_IS_FUNCTION
        elif (index := offset - MAIN_FLAGS >> 2) in range(4):
            value = self._main_mailbox.registers[index]
        elif (index := offset - MEDIA_FLAGS >> 2) in range(4):
            value = self._media_mailbox.registers[index]
        elif offset in DOORBELLS:
            value = DOORBELL_VALUE
        elif offset >= TABLE_OFFSET:
            at = offset - TABLE_OFFSET
            return bytes(self.ggtt.view[at : at + size]).ljust(size, b"\xff")
        return value.to_bytes(8, "little")[:size].ljust(size, b"\0")

    def _register_write(self, offset: int, data: bytes) -> None:
        value = int.from_bytes(data[:4], "little")
        self._settle()
        if offset == MAIN_DOORBELL:
            self.main.ring()
        elif offset == MEDIA_DOORBELL:
            self._media_mailbox.ring()
            for gt in self.gts[1:]:
                gt.guc.turn()
        elif (index := offset - MAIN_FLAGS >> 2) in range(4):
            self._main_mailbox.write(index, value)
        elif (index := offset - MEDIA_FLAGS >> 2) in range(4):
            self._media_mailbox.write(index, value)
        elif offset >= TABLE_OFFSET and offset + len(data) <= BAR0_SIZE:
            at = offset - TABLE_OFFSET
            self.ggtt.view[at : at + len(data)] = data

    # The rest of the loop.

    def turn(self) -> float | None:
        """Do a little work. Returns the seconds until it should be called again, None for: after a message."""
        self._settle()
        wanted = [seconds for gt in self.gts if (seconds := gt.turn()) is not None]
        return min(wanted, default=None)

    def vram_window(self) -> tuple[int, int, Vram] | None:
        """Location of this GPU's memory on the bus, for its peers: address, size, memory."""
        window = self.config.bar_window(2)
        return None if window is None else (*window, self.vram)

    def _no_table(self, address: int) -> None:
        self._platform.checks.report("table-missing", self.name, address=address)

    def _ggtt_missing(self, address: int) -> None:
        self._platform.checks.report("ggtt-missing", self.name, address=address)

    def _show(self, kind: str, text: str) -> None:
        self._platform.trace.line(self.name, kind, text)


def connect_peers(gpus: Sequence[Gpu]) -> None:
    """Let every GPU reach the memory of every other, and its own, through their BARs."""
    for gpu in gpus:
        gpu.bus.peers.extend(other.vram_window for other in gpus)
