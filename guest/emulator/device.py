# SPDX-License-Identifier: MIT
"""One GPU: its regions, registers and units put together, as vfio-user serves it.

Source of the registers: drivers/gpu/drm/xe/regs/xe_guc_regs.h, xe_regs.h; everything a virtual function does
not touch reads zero and ignores writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from guest.emulator import klv, pci
from guest.emulator.checks import Checks
from guest.emulator.context import Context, Surroundings
from guest.emulator.ctb import Transport
from guest.emulator.engines import Engine
from guest.emulator.ggtt import TABLE_OFFSET, TABLE_SIZE, GlobalTable
from guest.emulator.guc import Guc
from guest.emulator.mailbox import Mailbox, Services
from guest.emulator.memirq import Interrupts
from guest.emulator.memory import Bus, Vram
from guest.emulator.owners import Clock, Owners
from guest.emulator.pci import ConfigSpace
from guest.emulator.scheduler import Scheduler
from guest.emulator.space import Memory
from guest.emulator.tlb import TranslationCache
from guest.emulator.trace import Trace
from guest.emulator.vfio_user import Region

BAR0_SIZE = 16 << 20
DOORBELLS = range(4 << 20, 8 << 20)
DOORBELL_VALUE = 0xDEADBEEF
"""What a doorbell page that was not given to the function reads."""

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
SWEEP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Platform:
    """What the GPUs of one process share."""

    checks: Checks
    trace: Trace
    clock: Clock
    owners: dict[int, Owners]
    """By the identity of the VRAM."""

    def owners_of(self, vram: Vram) -> Owners:
        """The owners of a VRAM's pages."""
        return self.owners[id(vram)]


class Gpu:
    """A GPU with `vram` bytes of memory, of which the first `bar` bytes are behind its BAR."""

    def __init__(self, name: str, vram: int, bar: int, platform: Platform) -> None:
        self.name = name
        self.vram = Vram(name, vram)
        self.bus = Bus()
        self._platform = platform
        self._bar = bar
        platform.owners[id(self.vram)] = Owners(self.vram, platform.clock)
        checks, trace = platform.checks, platform.trace
        self.ggtt = GlobalTable(self.vram, self.bus, self._ggtt_missing)
        self.config = ConfigSpace({0: (BAR0_SIZE, False), 2: (bar, True)})
        self.cache = TranslationCache(self.vram)
        self.memory = Memory(
            name, self.vram, self.bus, platform.owners_of, self.cache, checks, platform.clock
        )
        show_interrupt = partial(trace.line, name, "guc") if trace.guc else None
        self.interrupts = Interrupts(self.ggtt, show_interrupt)
        show_command = partial(trace.line, name, "command") if trace.command else None
        self._surroundings = Surroundings(self.memory, self.ggtt, self.interrupts.engine, show_command)
        self.transport = Transport(name, self.ggtt, checks, self.interrupts.guc)
        self.scheduler = Scheduler(name, self._make_context, self._send, checks, trace)
        self.guc = Guc(
            name,
            transport=self.transport,
            interrupts=self.interrupts,
            scheduler=self.scheduler,
            cache=self.cache,
            checks=checks,
            trace=trace,
        )
        provision = klv.Provision(vram)
        guc = self.guc
        services = Services(guc.reset, guc.configure, self.transport.enable, self.ggtt.write)
        silent = Services(lambda: None, lambda *_: True, lambda _: None, lambda *_: None)
        self._main = Mailbox(name, False, provision, services, trace)
        self._media = Mailbox(name, True, provision, silent, trace)
        self._sweep_at = 0.0
        self.regions: Sequence[Region] = self._make_regions()
        self.interrupt_counts: Sequence[int] = INTERRUPT_COUNTS

    def _make_regions(self) -> list[Region]:
        regions = [Region(0)] * REGIONS
        regions[REGION_BAR0] = Region(BAR0_SIZE, self.ggtt.descriptor, ((TABLE_OFFSET, TABLE_SIZE),))
        regions[REGION_BAR2] = Region(self._bar, self.vram.descriptor, ((0, self._bar),))
        regions[REGION_CONFIG] = Region(pci.SIZE)
        return regions

    # What vfio-user asks for.

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
            self.interrupts.connect(descriptors.pop(0) if descriptors else -1)
        for descriptor in descriptors:
            os.close(descriptor)

    def dma_map(self, address: int, size: int, descriptor: int, offset: int, writable: bool) -> None:
        """Guest RAM appears."""
        if self._platform.trace.pci:
            self._show("pci", f"memory {address:#x}+{size:#x}")
        if writable:  # firmware is none of a GPU's business
            self.bus.map(address, size, descriptor, offset)

    def dma_unmap(self, address: int, size: int) -> None:
        """Guest RAM goes away, and every translation to it."""
        if self._platform.trace.pci:
            self._show("pci", f"no memory {address:#x}+{size:#x}")
        self.cache.invalidate_all()
        self.bus.unmap(address, size)

    def device_reset(self) -> None:
        """A function level reset."""
        self.guc.reset()
        self.config.reset()

    def disconnected(self) -> None:
        """The client is gone: its memory and interrupts too."""
        self.guc.reset()
        self.interrupts.connect(-1)
        self.cache.invalidate_all()
        self.bus.clear()

    # Registers.

    def _register_read(self, offset: int, size: int) -> bytes:
        value = 0
        if offset == VF_CAP:
            value = VF_CAP_IS_FUNCTION
        elif (index := offset - MAIN_FLAGS >> 2) in range(4):
            value = self._main.registers[index]
        elif (index := offset - MEDIA_FLAGS >> 2) in range(4):
            value = self._media.registers[index]
        elif offset in DOORBELLS:
            value = DOORBELL_VALUE
        elif offset >= TABLE_OFFSET:
            at = offset - TABLE_OFFSET
            return bytes(self.ggtt.view[at : at + size]).ljust(size, b"\xff")
        return value.to_bytes(8, "little")[:size].ljust(size, b"\0")

    def _register_write(self, offset: int, data: bytes) -> None:
        value = int.from_bytes(data[:4], "little")
        if offset == MAIN_DOORBELL:
            self._main.ring()
            self.guc.turn()
        elif offset == MEDIA_DOORBELL:
            self._media.ring()
        elif (index := offset - MAIN_FLAGS >> 2) in range(4):
            self._main.write(index, value)
        elif (index := offset - MEDIA_FLAGS >> 2) in range(4):
            self._media.write(index, value)
        elif offset >= TABLE_OFFSET and offset + len(data) <= BAR0_SIZE:
            at = offset - TABLE_OFFSET
            self.ggtt.view[at : at + len(data)] = data

    # The rest of the loop.

    def turn(self) -> float | None:
        """Do a little work. Gives the seconds until this wants to be called again, None for: when a message
        came.
        """
        self.guc.turn()
        wanted = self.scheduler.turn()
        if wanted != 0.0:
            now = time.monotonic()
            if now >= self._sweep_at:
                self.cache.sweep(now)
                self._sweep_at = now + SWEEP_SECONDS
        return wanted

    def vram_window(self) -> tuple[int, int, Vram] | None:
        """Where on the bus this GPU's memory is, for its peers: address, size, memory."""
        window = self.config.bar_window(2)
        return None if window is None else (*window, self.vram)

    def _make_context(self, identity: int, engine: Engine, descriptor: int) -> Context:
        return Context(identity, engine, descriptor, self._surroundings)

    def _send(self, message: Sequence[int]) -> None:
        self.guc.send(message)

    def _ggtt_missing(self, address: int) -> None:
        self._platform.checks.report("ggtt-missing", self.name, address=address)

    def _show(self, kind: str, text: str) -> None:
        self._platform.trace.line(self.name, kind, text)


def connect_peers(gpus: Sequence[Gpu]) -> None:
    """Let every GPU reach the memory of every other, and its own, through their BARs."""
    for gpu in gpus:
        gpu.bus.peers.extend(other.vram_window for other in gpus)
