# SPDX-License-Identifier: MIT
"""A driver double: the parts of xe that are needed to drive an emulated GPU without a kernel.

It speaks the mailbox, the command transport, GGTT and page table entries, and contexts, in the driver's own order. GPU
and guest memory are real shared mappings; the GPU runs only when the test lets it, so everything is deterministic.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gpu import Batch
from gpu import commands as c
from guest.emulator import device, hxg, page_tables
from guest.emulator.adversary import Adversary
from guest.emulator.checks import Checks
from guest.emulator.context import (
    ASID,
    INT_SOURCE_PTR,
    INT_STATUS_PTR,
    PDP0_LDW,
    PDP0_UDW,
    RING_CTL,
    RING_START,
    RING_TAIL,
    STATE_OFFSET,
)
from guest.emulator.device import Gpu, Platform, connect_peers
from guest.emulator.engines import MAIN, MEDIA, Engine
from guest.emulator.ggtt import LOCAL_MEMORY, PRESENT
from guest.emulator.hxg import Action, Type
from guest.emulator.kinds import MODELS
from guest.emulator.memory import Clock
from guest.emulator.trace import Trace

RAM = 16 << 20
VRAM = 256 << 20
PAGE = 4096
H2G_SIZE, G2H_SIZE = 4096, 16384
DEADLINE = 10.0
ENGINE = {engine.name: engine for engine in (*MAIN, *MEDIA)}

RW = page_tables.PRESENT | page_tables.WRITABLE
LOCAL = page_tables.LOCAL_MEMORY
AE = page_tables.ATOMIC
NULL = page_tables.NULL


def platform(
    trace: Trace | None = None, adversary: Adversary | None = None, *, occupied: bool = False
) -> Platform:
    """State that GPUs share; the test can read the reports."""
    return Platform(Checks(), trace or Trace(), Clock(), {}, adversary or Adversary(), occupied)


@dataclass
class Allocator:
    """Allocates pages, and never frees one."""

    next: int

    def take(self, size: int, align: int = PAGE) -> int:
        start = -(-self.next // align) * align
        self.next = start + size
        return start


class Guest:
    """Guest RAM, shared by all GPUs of a machine."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("ram")
        os.truncate(self.descriptor, RAM)
        self.ram = memoryview(mmap.mmap(self.descriptor, RAM))
        self.pages = Allocator(PAGE)  # page 0 stays unused: address 0 is a mistake


class Driver:
    """One GT of a GPU and its driver, from power-on to running contexts."""

    def __init__(self, gpu: Gpu, shared: Platform, guest: Guest, main: Driver | None = None) -> None:
        """``main`` is the driver of the GPU's main GT: this one is for the media GT and shares memory with it."""
        self.gpu = gpu
        self.gt = gpu.gts[0 if main is None else 1]
        self.bell = device.MAIN_DOORBELL if main is None else device.MEDIA_DOORBELL
        self.checks = shared.checks
        self.guest = guest
        self.memory = gpu.vram.view if gpu.vram.size else guest.ram
        """The place of page tables, contexts and batches: VRAM, or system memory without any."""
        own = Allocator(1 << 20) if gpu.vram.size else guest.pages
        self.vram: Allocator = own if main is None else main.vram
        self.ggtt_next: Allocator = Allocator(0x0100_0000) if main is None else main.ggtt_next
        self.event = os.eventfd(0, os.EFD_NONBLOCK)
        self.received: list[list[int]] = []
        self.replies: dict[int, list[int]] = {}
        self._fence = 0
        self._guc_id = 0
        self._seqno = 0
        if main is None:
            gpu.dma_map(0, RAM, guest.descriptor, 0, True)
            gpu.set_interrupts(device.MSI, 0, [os.dup(self.event)])

    # Registers and memory

    @property
    def local(self) -> int:
        """Flags of an entry that leads to memory of ``vram``."""
        return LOCAL if self.gpu.vram.size else 0

    def write(self, offset: int, value: int) -> None:
        self.gpu.region_write(0, offset, value.to_bytes(4, "little"))

    def read(self, offset: int) -> int:
        return int.from_bytes(self.gpu.region_read(0, offset, 4), "little")

    def mailbox(self, *request: int) -> list[int]:
        flags = device.MAIN_FLAGS if self.bell == device.MAIN_DOORBELL else device.MEDIA_FLAGS
        for index, word in enumerate(request):
            self.write(flags + 4 * index, word)
        self.write(self.bell, 0)
        return [self.read(flags + 4 * index) for index in range(4)]

    def ram(self, size: int = PAGE) -> int:
        """A piece of guest RAM: its bus address."""
        return self.guest.pages.take(size)

    def global_map(self, address: int, size: int, local: bool = False) -> int:
        """GGTT entries for memory: the GGTT address."""
        start = self.ggtt_next.take(size)
        entries = self.gpu.ggtt.view.cast("Q")
        for offset in range(0, size, PAGE):
            entry = address + offset | PRESENT | (LOCAL_MEMORY if local and self.gpu.vram.size else 0)
            entries[start + offset >> 12] = entry
        return start

    def ram_u32(self, address: int) -> int:
        return int.from_bytes(self.guest.ram[address : address + 4], "little")

    def vram_u32(self, address: int) -> int:
        return int.from_bytes(self.memory[address : address + 4], "little")

    # The GuC

    def configure(self, key: int, value: int, length: int = 2) -> list[int]:
        return self.mailbox(Action.SELF_CFG, key << 16 | length, value & 0xFFFF_FFFF, value >> 32)

    def start(self) -> None:
        """Initialise the GuC until messages can be sent."""
        assert self.mailbox(Action.VF_RESET)[0] == hxg.success()
        assert self.mailbox(Action.MATCH_VERSION, 1 << 16 | 2 << 8)[1] == 0x00010200
        self.irq_page = self.ram()
        irq = self.global_map(self.irq_page, PAGE)
        self.irq_source, self.irq_status = irq + 0x400, irq
        self.configure(0x0901, irq + 0x400 + 25)
        self.configure(0x0900, irq + 25 * 16)
        self.descriptors = self.ram()
        descriptors = self.global_map(self.descriptors, PAGE)
        self.h2g, self.g2h = self.ram(H2G_SIZE), self.ram(G2H_SIZE)
        for key, value, length in (
            (0x0903, descriptors, 2),
            (0x0902, self.global_map(self.h2g, H2G_SIZE), 2),
            (0x0904, H2G_SIZE, 1),
            (0x0906, descriptors + 64, 2),
            (0x0905, self.global_map(self.g2h, G2H_SIZE), 2),
            (0x0907, G2H_SIZE, 1),
        ):
            assert self.configure(key, value, length)[0] == hxg.success(1)
        assert self.mailbox(Action.CONTROL_CTB, 1)[0] == hxg.success()

    def send(self, header: int, *payload: int, fence: int = 0, doorbell: bool = True) -> None:
        """Send a message by the transport, and ring the doorbell as the driver does."""
        message = [header, *payload]
        descriptor = self.guest.ram[self.descriptors : self.descriptors + 64].cast("I")
        tail, words = descriptor[1], H2G_SIZE // 4
        if tail + 1 + len(message) > words:
            for index in range(tail, words):
                self._put(self.h2g + 4 * index, 0)
            tail = 0
        for index, word in enumerate([fence << 16 | len(message), *message]):
            self._put(self.h2g + 4 * (tail + index), word)
        descriptor[1] = (tail + 1 + len(message)) % words
        if doorbell:
            self.write(self.bell, 0)
            self.drain()

    def _put(self, address: int, word: int) -> None:
        self.guest.ram[address : address + 4] = word.to_bytes(4, "little")

    def fast(self, action: int, *payload: int) -> None:
        self.send(Type.FAST_REQUEST << 28 | action, *payload)

    def request(self, action: int, *payload: int) -> list[int]:
        self._fence += 1
        self.send(Type.REQUEST << 28 | action, *payload, fence=self._fence)
        return self.replies.pop(self._fence)

    def drain(self) -> None:
        """Read messages of the GuC: events go into ``received``, replies by their fence."""
        descriptor = self.guest.ram[self.descriptors + 64 : self.descriptors + 128].cast("I")
        buffer = self.guest.ram[self.g2h : self.g2h + G2H_SIZE].cast("I")
        words = G2H_SIZE // 4
        while descriptor[0] != descriptor[1]:
            head = descriptor[0]
            header = buffer[head]
            length = header & 0xFF
            message = [buffer[(head + 1 + index) % words] for index in range(length)]
            descriptor[0] = (head + 1 + length) % words
            if hxg.type_of(message[0]) == Type.EVENT:
                self.received.append(message)
            else:
                self.replies[header >> 16] = message

    def take(self, action: int) -> list[int]:
        """The payload of the first event of an action."""
        for index, message in enumerate(self.received):
            if hxg.action_of(message[0]) == action:
                del self.received[index]
                return message[1:]
        shown = [hxg.name_of(message[0]) for message in self.received]
        raise AssertionError(f"no {Action(action).name}; received: {shown}")

    def has(self, action: int) -> bool:
        """Whether there is an event of an action that was not taken."""
        return any(hxg.action_of(message[0]) == action for message in self.received)

    def fault(self) -> list[int]:
        """Wait for the report of a page fault, and take it."""
        self.until(lambda: self.has(Action.REPORT_PAGE_FAULT))
        return self.take(Action.REPORT_PAGE_FAULT)

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the GPU work until the condition holds."""
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, f"nothing; received {self.received}, reports {self.checks.reports}"
            self.gpu.turn()
            self.drain()

    def rest(self) -> None:
        """Let the GPU work until it has nothing to do now."""
        end = time.monotonic() + DEADLINE
        while self.gpu.turn() == 0.0:
            assert time.monotonic() < end, "the GPU does not come to rest"
        self.drain()

    def invalidate(self, asid: int, address: int, size: int) -> None:
        """TLB_INVALIDATION of pages."""
        log = (size >> 12).bit_length() - 1
        self._seqno = seqno = self._seqno + 1
        self.fast(
            Action.TLB_INVALIDATION, seqno, 1 | 1 << 31, asid, address & 0xFFFF_FFFF, address >> 32, log
        )
        assert self.take(Action.TLB_INVALIDATION_DONE) == [seqno]

    def answer_fault(self, fault: Sequence[int], served: bool = True, prefetch: bool = False) -> None:
        """PAGE_FAULT_RES_DESC for the four dwords of a fault."""
        number = fault[0] >> 28 | (fault[1] & 0xFFF) << 4
        first = 1 | (0 if served else 2) | 1 << 10 | fault[1] & 0xFFFF_F000
        second = (fault[0] >> 19 & 0x3F) << 7 | (fault[0] >> 25 & 7) << 13 | number << 16 | prefetch << 6
        self.fast(Action.PAGE_FAULT_RESPONSE, first, second)

    # Address spaces and contexts

    def vm(self, asid: int) -> Vm:
        return Vm(self, asid)

    def queue(self, vm: Vm | None, engine: str = "bcs0") -> Queue:
        self._guc_id += 1
        return Queue(self, vm, ENGINE[engine], self._guc_id)


class Vm:
    """A page table, written as the driver does: tables in VRAM, or in system memory."""

    def __init__(self, driver: Driver, asid: int) -> None:
        self.driver = driver
        self.asid = asid
        self.root = self.new_table()
        self._tables: dict[tuple[int, int], int] = {}

    def new_table(self) -> int:
        """An empty page table."""
        return self.driver.vram.take(PAGE)

    def entry_address(self, address: int, level: int, extra: int = 0) -> int:
        """VRAM offset of the entry for an address at a level; tables above it are made as needed."""
        table, qwords = self.root, self.driver.memory.cast("Q")
        for above in range(page_tables.TOP_LEVEL, level, -1):
            shift = 12 + 9 * above
            at = table + (address >> shift & 511) * 8
            key = (above, address >> shift)
            if key not in self._tables:
                self._tables[key] = self.new_table()
                qwords[at >> 3] = self._tables[key] | RW | (extra if above == level + 1 else 0)
            table = self._tables[key]
        if extra & page_tables.COMPACT:
            return table + (address >> 16 & 31) * 8
        return table + (address >> 12 + 9 * level & 511) * 8

    def set(self, address: int, entry: int, shift: int = 12) -> int:
        """Write the entry of one page of 1 << shift bytes. Returns its VRAM offset."""
        level = {12: 0, 16: 0, 21: 1, 30: 2}[shift]
        at = self.entry_address(address, level, page_tables.COMPACT if shift == 16 else 0)
        self.driver.memory.cast("Q")[at >> 3] = entry | (page_tables.HUGE if level else 0) * bool(entry)
        return at

    def map(self, address: int, physical: int, size: int = PAGE, flags: int = RW, shift: int = 12) -> None:
        """Entries for a piece of memory: a bus address, or with LOCAL in flags a VRAM offset."""
        for offset in range(0, size, 1 << shift):
            self.set(address + offset, physical + offset | flags, shift)

    def unmap(self, address: int, size: int = PAGE) -> None:
        for offset in range(0, size, PAGE):
            self.set(address + offset, 0)


@dataclass
class Queue:
    """A context with its ring, image and a page for its fences."""

    driver: Driver
    vm: Vm | None
    engine: Engine
    identity: int
    ring_size: int = PAGE
    seqno: int = 0
    tail: int = 0
    _batches: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        driver = self.driver
        self.memory = driver.vram.take(self.ring_size + 3 * PAGE)
        self.ggtt = driver.global_map(self.memory, self.ring_size + 3 * PAGE, local=True)
        self.lrca = self.ggtt + self.ring_size
        self.fence = driver.ram()
        self.fence_ggtt = driver.global_map(self.fence, PAGE)
        state = {
            RING_START: self.ggtt,
            RING_CTL: self.ring_size - PAGE | 1,
            INT_SOURCE_PTR: driver.irq_source,
            INT_STATUS_PTR: driver.irq_status,
        }
        if self.vm is not None:
            state |= {ASID: self.vm.asid, PDP0_LDW: self.vm.root & 0xFFFF_FFFF, PDP0_UDW: self.vm.root >> 32}
        for index, value in state.items():
            self.set_state(index, value)

    @property
    def _state(self) -> int:
        return self.memory + self.ring_size + STATE_OFFSET

    def set_state(self, index: int, value: int) -> None:
        at = self._state + 4 * index
        self.driver.memory[at : at + 4] = value.to_bytes(4, "little")

    def state(self, index: int) -> int:
        return self.driver.vram_u32(self._state + 4 * index)

    def register(self) -> Queue:
        low = self.lrca | 1 | (1 << 8 if self.vm is not None else 0)
        mask = 1 << self.engine.logical
        self.driver.fast(
            Action.REGISTER_CONTEXT, 1, self.identity, self.engine.guc_class, mask, 0, 0, 0, 0, 0, low, 0
        )
        return self

    def enable(self) -> Queue:
        self.driver.fast(Action.SCHED_CONTEXT_MODE_SET, self.identity, 1)
        assert self.driver.take(Action.SCHED_CONTEXT_MODE_DONE) == [self.identity, 1]
        return self

    def disable(self) -> None:
        self.driver.fast(Action.SCHED_CONTEXT_MODE_SET, self.identity, 0)
        assert self.driver.take(Action.SCHED_CONTEXT_MODE_DONE) == [self.identity, 0]

    def deregister(self) -> None:
        self.driver.fast(Action.DEREGISTER_CONTEXT, self.identity)
        assert self.driver.take(Action.DEREGISTER_CONTEXT_DONE) == [self.identity]

    def ring(self, words: Sequence[int]) -> None:
        """Commands into the ring, and the tail into the image."""
        words = list(words)
        if len(words) % 2:
            words.append(0)
        for word in words:
            at = self.memory + self.tail
            self.driver.memory[at : at + 4] = word.to_bytes(4, "little")
            self.tail = (self.tail + 4) % self.ring_size
        self.set_state(RING_TAIL, self.tail)

    def submit(self, batch_address: int) -> int:
        """A job: the batch, then its sequence number into the fence page and an interrupt."""
        self.seqno += 1
        self.ring_job(batch_address)
        self.driver.fast(Action.SCHED_CONTEXT, self.identity)
        return self.seqno

    def ring_job(self, batch_address: int) -> None:
        """A job's commands into the ring."""
        self.ring(
            [
                *self.flush(invalidate_tlb=1),
                *c.BatchBufferStart.encode(ppgtt=int(self.vm is not None), address=batch_address),
                *self.store_global(self.fence_ggtt, self.seqno),
                *c.UserInterrupt.encode(),
            ]
        )

    def flush(self, **fields: int) -> list[int]:
        """The engine's own command for a flush."""
        if self.engine.kind not in ("rcs", "ccs"):
            return c.FlushDw.encode(4, **fields)
        return c.PipeControl.encode(**fields)

    def store_global(self, address: int, value: int) -> list[int]:
        """A flush that stores a value at a GGTT address."""
        if self.engine.kind not in ("rcs", "ccs"):
            return c.FlushDw.encode(5, post_sync=1, ggtt=1, address=address, data=[value, 0])
        return c.PipeControl.encode(post_sync=1, ggtt=1, address=address, low=value)

    @property
    def completed(self) -> int:
        """Sequence number of the last job done."""
        return self.driver.ram_u32(self.fence)

    def run(self, batch_address: int) -> None:
        """Run a job to its end."""
        seqno = self.submit(batch_address)
        self.driver.until(lambda: self.completed >= seqno)

    def place(self, batch: Batch, address: int) -> int:
        """Put a batch into memory that its VM maps at ``address`` (in VRAM, 64 KiB); returns the address."""
        assert self.vm is not None
        data = batch.encode(address)
        at = self.driver.vram.take(len(data) + 64, 1 << 16)
        self.driver.memory[at : at + len(data)] = data
        self.vm.map(address, at, -(-len(data) // PAGE) * PAGE, RW | self.driver.local)
        return address


def media(main: Driver) -> Driver:
    """The media GT of a GPU that has one, started."""
    driver = Driver(main.gpu, Platform(main.checks, Trace(), Clock(), {}), main.guest, main=main)
    driver.start()
    return driver


_machines: list[tuple[Guest, list[Driver]]] = []


def end_machines() -> None:
    """Close the descriptors of all machines that were made: thousands of tests share a process."""
    while _machines:
        guest, drivers = _machines.pop()
        for driver in drivers:
            driver.gpu.disconnected()
            os.close(driver.event)
            os.close(driver.gpu.vram.descriptor)
        os.close(guest.descriptor)


def machine(
    count: int = 1,
    vram: int = VRAM,
    bar: int | None = None,
    *,
    media_gt: bool = False,
    adversary: Adversary | None = None,
    model: str = "bmg",
    occupied: bool = False,
) -> list[Driver]:
    """GPUs that reach each other, each started by a driver."""
    shared = platform(adversary=adversary, occupied=occupied)
    guest = Guest()
    gpus = [
        Gpu(f"gpu{index}", vram, bar or vram, shared, media=media_gt, model=MODELS[model])
        for index in range(count)
    ]
    connect_peers(gpus)
    drivers = [Driver(gpu, shared, guest) for gpu in gpus]
    _machines.append((guest, drivers))
    for index, driver in enumerate(drivers):
        # BAR 2 as the host would place it, and memory decoding on.
        driver.gpu.region_write(device.REGION_CONFIG, 0x18, struct.pack("<Q", (16 << 30) + (index << 34)))
        driver.gpu.region_write(device.REGION_CONFIG, 0x04, struct.pack("<H", 6))
        driver.start()
    return drivers
