# SPDX-License-Identifier: MIT
"""The command streamer: executes a batch, or a ring with its batches, and can stop and continue at any instruction.

Guarantees:

- ``run`` returns a Stop for any contents of memory; the only exceptions are those of the AddressSpace other than
  GpuFault.
- After a fault the instruction is run again. Nothing is stored twice: an atomic is done once or not at all, and a
  command that stores more than a page keeps its progress (and data that was read but not stored yet), so every served
  fault is progress even if its handler removes the pages before it.
- Instructions are fetched ahead to the end of the page. The fetch is dropped at every run, jump and
  MI_ARB_CHECK, and by a store of this context into it; other changes of a batch that is running are seen
  after one of those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gpu.address import PAGE_SIZE, AddressSpace, GpuFault, translated
from gpu.commands import SetPredicate
from gpu.encoding import Command
from gpu.lookup import lookup
from gpu.registers import RING_BASES, Clocks, Registers
from gpu.semantics import SEMANTICS
from gpu.stop import Exhausted, IllegalInstruction, Progress, Reason, Stop, Waiting


@dataclass
class Ring:
    """A ring buffer in the GGTT. ``head`` and ``tail`` are byte offsets; a submission moves ``tail``.

    Raises ValueError for a size that is not whole pages.
    """

    start: int
    size: int
    head: int = 0
    tail: int = 0

    def __post_init__(self) -> None:
        if self.size <= 0 or self.size % PAGE_SIZE:
            raise ValueError(f"a ring of {self.size} bytes")
        self.head &= ~3

    @property
    def available(self) -> int:
        """Bytes between head and tail."""
        return ((self.tail & ~3) - self.head) % self.size


def _nothing() -> None:
    pass


@dataclass
class Engine:
    """The engine that a context runs on: its registers' base, and effects of its commands outside memory.

    ``clock`` gives the timestamp in ticks, ``context_clock`` that of the context's running time; without them,
    time is the number of instructions that the context has executed. ``kind`` is the kernel's name of the engine's
    class ("rcs", "ccs", "bcs", "vcs", "vecs"): commands that such an engine does not have are illegal. Without
    it all commands are legal.
    """

    kind: str = ""
    base: int = RING_BASES["bcs0"]
    ident: int = 0
    clock: Callable[[], int] | None = None
    context_clock: Callable[[], int] | None = None
    user_interrupt: Callable[[], None] = _nothing
    invalidate_tlb: Callable[[], None] = _nothing
    # called with address and instruction before each execution, for traces
    watch: Callable[[int, Command], None] | None = None


class _Frame:
    """One level of command fetching: 0 the ring, 1 a batch, 2 a second level batch."""

    __slots__ = ("level", "pc", "privileged", "space")

    def __init__(self, level: int, space: AddressSpace, pc: int, privileged: bool) -> None:
        self.level = level
        self.space = space
        self.pc = pc
        self.privileged = privileged


@dataclass(slots=True)
class _Window:
    """Instructions fetched ahead."""

    space: AddressSpace | None = None
    start: int = 0
    words: memoryview = field(default_factory=lambda: memoryview(b"").cast("I"))


_NO_WINDOW = _Window()


class Execution:
    """A context in execution. ``space`` is its PPGTT, where the batch at ``pc`` is.

    A batch in a PPGTT has no access to the GGTT: its accesses and the batches that it starts are in the PPGTT, even
    with the GGTT bit. ``Execution.on_ring`` makes one that runs a ring, with the privileges of the kernel.
    """

    def __init__(self, space: AddressSpace, pc: int, *, engine: Engine | None = None) -> None:
        self._start(engine, space, None)
        self._frames.append(_Frame(1, space, translated(pc) & ~3, privileged=False))

    @classmethod
    def on_ring(
        cls,
        ring: Ring,
        ggtt: AddressSpace,
        ppgtt: AddressSpace | None = None,
        *,
        engine: Engine | None = None,
        status_page: int | None = None,
    ) -> Execution:
        """A context that runs ``ring``; batches it starts with the PPGTT bit are in ``ppgtt``.

        ``status_page`` is the GGTT address of the context's PPHWSP, where post-sync writes by index go; they
        are dropped without one.
        """
        self = cls.__new__(cls)
        self._start(engine, ppgtt, ggtt)
        self.ring = ring
        self.status_page = status_page
        self._frames.append(_Frame(0, ggtt, ring.start + ring.head, privileged=True))
        return self

    def _start(self, engine: Engine | None, ppgtt: AddressSpace | None, ggtt: AddressSpace | None) -> None:
        self.engine = engine or Engine()
        self._watch = self.engine.watch
        self._kind = self.engine.kind
        self.ppgtt = ppgtt
        self.ggtt = ggtt
        self.ring: Ring | None = None
        self.status_page: int | None = None
        # instructions done
        self.retired = 0
        # False between MI_ARB_ON_OFF off and on: the hardware would not switch to another context
        self.arbitration = True
        # commands are not executed (MI_SET_PREDICATE)
        self.predicated_off = False
        self.general_state: int | None = None
        self.instructions: int | None = None
        self.satisfied = False
        count = self._count
        clocks = Clocks(self.engine.clock or count, self.engine.context_clock or self.engine.clock or count)
        self.registers = Registers(self.engine.base, clocks, self.engine.ident)
        self.progress: Progress | None = None
        self._frames: list[_Frame] = []
        self._window = _NO_WINDOW
        self._budget = 0
        self._ended: Stop | None = None
        self._last = 0

    def _count(self) -> int:
        return self.retired

    @property
    def pc(self) -> int:
        """Address of the instruction to run next."""
        return self._frames[-1].pc if self._frames else 0

    @property
    def in_ppgtt(self) -> bool:
        """Whether the next instruction is in the PPGTT."""
        return bool(self._frames) and not self._frames[-1].privileged

    @property
    def level(self) -> int:
        """Level of the next instruction: 0 the ring, 1 a batch, 2 a second level batch."""
        return self._frames[-1].level if self._frames else 0

    def run(self, budget: int) -> Stop:
        """Run until something stops it, for at most ``budget`` instructions; 64 KiB of a blit count as one."""
        if self._ended is not None:
            return self._ended
        self._budget = budget
        self._window = _NO_WINDOW
        try:
            return self._run()
        except GpuFault as fault:
            return Stop(Reason.FAULT, self.pc, str(fault), fault=fault)
        except Waiting as waiting:
            return Stop(Reason.WAITING, self.pc, str(waiting.wait), wait=waiting.wait)
        except Exhausted:
            return Stop(Reason.BUDGET, self.pc)
        except IllegalInstruction as illegal:
            self._ended = Stop(Reason.ILLEGAL, self.pc, str(illegal))
            return self._ended

    def satisfy(self) -> None:
        """Let the next MI_SEMAPHORE_WAIT continue unconditionally."""
        self.satisfied = True

    def _run(self) -> Stop:
        frames = self._frames
        while frames:
            frame = frames[-1]
            if frame.level == 0 and self.ring is not None and not self.ring.available:
                return Stop(Reason.FINISHED, frame.pc)
            if self._budget <= 0:
                return Stop(Reason.BUDGET, frame.pc)
            self._budget -= 1
            self._step(frame)
        self._ended = Stop(Reason.FINISHED, self._last)
        return self._ended

    def _step(self, frame: _Frame) -> None:
        progress = self.progress
        command = self._fetch(frame) if progress is None else progress.command
        pc = self._last = frame.pc
        if self._watch is not None:
            self._watch(pc, command)
        self._advance(frame, pc + 4 * len(command.words))
        kind = type(command)
        perform = SEMANTICS.get(kind)
        if perform is not None and not (self.predicated_off and kind is not SetPredicate):
            try:
                perform(self, command)
            except BaseException:
                self._advance(frame, pc)
                raise
            self.progress = None
        self.retired += 1

    def _advance(self, frame: _Frame, pc: int) -> None:
        ring = self.ring
        if frame.level == 0 and ring is not None:
            ring.head = (pc - ring.start) % ring.size
            pc = ring.start + ring.head
        frame.pc = pc

    # Fetching

    def _fetch(self, frame: _Frame) -> Command:
        window = self._window
        index = (frame.pc - window.start) >> 2
        words = window.words
        if window.space is not frame.space or not 0 <= index < len(words):
            words = self._fill(frame)
            index = 0
        header = words[index]
        command = lookup(header)
        if command is None:
            raise IllegalInstruction(f"no command has the header {header:#010x}")
        if command.engines and self._kind and self._kind not in command.engines:
            raise IllegalInstruction(f"{command.name} on a {self._kind} engine")
        count = command.size(header)
        if count not in command.lengths:
            raise IllegalInstruction(f"{command.name} of {count} dwords (header {header:#010x})")
        if index + count <= len(words):
            return command(words[index : index + count])
        return command(self._read_across(frame, 4 * count))

    def _fill(self, frame: _Frame) -> memoryview:
        pc = frame.pc
        size = PAGE_SIZE - pc % PAGE_SIZE
        if frame.level == 0 and self.ring is not None:
            size = min(self.ring.available, self.ring.size - self.ring.head)
        words = memoryview(frame.space.read(pc, size)).cast("I")
        self._window = _Window(frame.space, pc, words)
        return words

    def _read_across(self, frame: _Frame, size: int) -> memoryview:
        """An instruction that crosses a page, or the end of the ring."""
        ring = self.ring
        if frame.level == 0 and ring is not None:
            if size > ring.available:
                raise IllegalInstruction("an instruction goes beyond the ring's tail")
            first = min(size, ring.size - ring.head)
            data = frame.space.read(frame.pc, first)
            if first < size:
                data += frame.space.read(ring.start, size - first)
        else:
            data = frame.space.read(frame.pc, size)
        return memoryview(data).cast("I")

    # For the commands (gpu.semantics, gpu.blit)

    @property
    def privileged(self) -> bool:
        """The current instruction is in the ring or in a batch in the GGTT."""
        return self._frames[-1].privileged

    def space(self, ggtt: int) -> AddressSpace | None:
        """The address space that a command's GGTT bit selects; None if the context has no PPGTT.

        The bit counts as clear in a batch that is not privileged.
        """
        return self.ggtt if ggtt and self._frames[-1].privileged else self.ppgtt

    def store(self, command: Command, space: AddressSpace, address: int, data: bytes) -> None:
        """Store ``data``, the one store of ``command``, exactly once. Raises GpuFault."""
        progress = self.progress
        done = 0 if progress is None else progress.done
        fault = self.write(space, address + done, data[done:] if done else data)
        if fault is not None:
            if fault.address > address:
                self.progress = Progress(command, fault.address - address)
            raise fault

    def write(self, space: AddressSpace, address: int, data: bytes) -> GpuFault | None:
        """Store what can be stored of ``data``; return the fault (at or after ``address``) that stopped it."""
        self.forget_fetched(space, address, len(data))
        try:
            space.write(address, data)
        except GpuFault as fault:
            ahead = fault.address - address
            if 0 < ahead < len(data):
                space.write(address, data[:ahead])
            elif ahead:
                raise
            return fault
        return None

    def forget_fetched(self, space: AddressSpace, address: int, size: int) -> None:
        """Drop what was fetched ahead if it overlaps a store of ``size`` bytes."""
        window = self._window
        end = window.start + 4 * len(window.words)
        if space is window.space and address < end and window.start < address + size:
            self._window = _NO_WINDOW

    def spend(self) -> None:
        """Count a part of a long instruction. Raises Exhausted when it has to stop."""
        if self._budget <= 0:
            raise Exhausted
        self._budget -= 1

    def drop_fetched(self) -> None:
        """Fetch the next instruction from memory."""
        self._window = _NO_WINDOW

    def start_batch(self, address: int, ppgtt: bool, second_level: bool) -> None:
        """MI_BATCH_BUFFER_START.

        From the ring: a call. From a batch: a jump on its level, a call if ``second_level`` asks for the level
        above it, and a return to the first level if a second level batch starts one without ``second_level``.
        """
        frame = self._frames[-1]
        space = self.ppgtt if ppgtt or not frame.privileged else self.ggtt
        if space is None:
            raise IllegalInstruction("a batch in a PPGTT, and the context has none")
        privileged = frame.privileged and space is self.ggtt
        level = 2 if second_level and frame.level else 1
        if level < frame.level:
            self._frames.pop()
        elif level > frame.level:
            self._frames.append(_Frame(level, space, 0, privileged))
        frame = self._frames[-1]
        frame.space, frame.privileged, frame.pc = space, privileged, translated(address) & ~3
        self._window = _NO_WINDOW

    def end_batch(self, all_levels: bool = False) -> None:
        """MI_BATCH_BUFFER_END: back to the level below; with ``all_levels`` to the ring."""
        while True:
            level = self._frames[-1].level
            if level == 0:
                raise IllegalInstruction("a batch ends in the ring")
            self._frames.pop()
            if level == 1 or not all_levels:
                break
        self._window = _NO_WINDOW
