# SPDX-License-Identifier: MIT
"""A ring with the programs that Linux xe puts on it (xe_ring_ops.c, xe_gt.c, xe_migrate.c)."""

from __future__ import annotations

import struct

import pytest

from gpu import Batch, Engine, Execution, Reason, Ring, alu
from gpu import commands as c
from gpu.registers import CTX_TIMESTAMP, RING_BASES, gpr
from tests.gpu.space import Pages

RING, PPHWSP, SEQNO, GOLDEN = 0x100_0000, 0x101_0000, 0x102_0000, 0x103_0000
BATCH, USER_FENCE = 0x7F00_0000_0000, 0x7F00_0001_0000
RING_SIZE = 0x4000


class Context:
    """A context with a ring in the GGTT and a VM, and what reaches the engine from it."""

    def __init__(self) -> None:
        self.ggtt = Pages(range(RING // 4096, GOLDEN // 4096 + 2))
        self.ppgtt = Pages([BATCH // 4096, BATCH // 4096 + 1, USER_FENCE // 4096])
        self.events: list[str] = []
        self.ring = Ring(RING, RING_SIZE)
        engine = Engine(
            base=RING_BASES["bcs8"],
            clock=lambda: 0x1_0000_0007,
            user_interrupt=lambda: self.events.append(f"interrupt {self.ggtt.u32(SEQNO)}"),
            invalidate_tlb=lambda: self.events.append("invalidate"),
        )
        self.execution = Execution.on_ring(
            self.ring, self.ggtt, self.ppgtt, engine=engine, status_page=PPHWSP
        )

    def submit(self, *commands: list[int]) -> None:
        """Write to the ring as the kernel does: dwords wrap at its end, a qword's padding follows."""
        words = [word for command in commands for word in command]
        words += [0] * (len(words) % 2)
        for word in words:
            self.ggtt.poke(RING + self.ring.tail, struct.pack("<I", word))
            self.ring.tail = (self.ring.tail + 4) % RING_SIZE

    def run(self, budget: int = 1000) -> Reason:
        return self.execution.run(budget).reason


@pytest.fixture
def context() -> Context:
    return Context()


def copy_job(seqno: int, batch: int) -> list[list[int]]:
    """xe_ring_ops.c:__emit_job_gen12_simple with a user fence."""
    return [
        c.StoreRegisterMem.encode(ggtt=1, cs_mmio=1, register=CTX_TIMESTAMP, address=PPHWSP + 0x20),
        c.StoreDataImm.encode(ggtt=1, address=SEQNO + 8, data=[seqno]),
        c.BatchBufferStart.encode(ppgtt=1, address=batch),
        c.ArbOnOff.encode(),
        c.FlushDw.encode(4),
        c.StoreDataImm.encode(qword=1, address=USER_FENCE, data=[seqno, 0xFE]),
        c.FlushDw.encode(4, post_sync=1, ggtt=1, address=SEQNO, data=[seqno]),
        c.UserInterrupt.encode(),
        c.ArbOnOff.encode(enable=1),
        c.ArbCheck.encode(),
    ]


def test_copy_job_runs_its_batch_then_signals(context: Context) -> None:
    context.ppgtt.poke(BATCH, Batch().store_dword(BATCH + 0x800, 0xC0FFEE).end().encode())
    context.submit(*copy_job(5, BATCH))
    assert context.run() is Reason.FINISHED
    assert context.ppgtt.u32(BATCH + 0x800) == 0xC0FFEE
    assert context.ppgtt.u64(USER_FENCE) == 0xFE << 32 | 5
    assert (context.ggtt.u32(SEQNO), context.ggtt.u32(SEQNO + 8)) == (5, 5)
    assert context.ggtt.u32(PPHWSP + 0x20) == 7
    assert context.events == ["interrupt 5"]
    assert context.execution.arbitration
    assert context.ring.head == context.ring.tail


def test_render_job_signals_by_pipe_control(context: Context) -> None:
    """xe_ring_ops.c:__emit_job_gen12_render_compute: the invalidation writes by index into the status page."""
    context.ggtt.poke(PPHWSP + 0xD0, b"\xee" * 16)
    context.ppgtt.poke(BATCH, Batch().end().encode())
    context.submit(
        c.ArbCheck.encode(mask=1, disable=1),
        c.PipeControl.encode(
            flags0=4, post_sync=1, store_index=1, invalidate_tlb=1, cs_stall=1, address=0xD0
        ),
        c.ArbCheck.encode(mask=1),
        c.StoreDataImm.encode(ggtt=1, address=SEQNO + 8, data=[9]),
        c.BatchBufferStart.encode(ppgtt=1, address=BATCH),
        c.ArbOnOff.encode(),
        c.PipeControl.encode(cs_stall=1),
        c.PipeControl.encode(ggtt=1, post_sync=1, cs_stall=1, address=SEQNO, low=9),
        c.UserInterrupt.encode(),
        c.ArbOnOff.encode(enable=1),
        c.ArbCheck.encode(),
    )
    assert context.run() is Reason.FINISHED
    assert context.ggtt.peek(PPHWSP + 0xD0, 16) == bytes(8) + b"\xee" * 8
    assert context.ggtt.u64(SEQNO) == 9
    assert context.events == ["invalidate", "interrupt 9"]


def test_migration_job_writes_page_tables_then_copies(context: Context) -> None:
    """xe_ring_ops.c:emit_migration_job_gen12: two batches, the translations invalidated between them."""
    entries = [0x1000 | 3, 0x2000 | 3]
    context.ppgtt.poke(BATCH, Batch().store_qwords(BATCH + 0x900, entries).end().encode())
    context.ppgtt.poke(BATCH + 0x100, Batch().copy(BATCH + 0xA00, BATCH + 0x900, 16).end().encode())
    context.submit(
        c.StoreDataImm.encode(ggtt=1, address=SEQNO + 8, data=[3]),
        c.ArbOnOff.encode(),
        c.BatchBufferStart.encode(ppgtt=1, address=BATCH),
        c.ArbCheck.encode(mask=1, disable=1),
        c.FlushDw.encode(4, post_sync=1, invalidate_tlb=1, ggtt=1, address=SEQNO + 8, data=[3]),
        c.ArbCheck.encode(mask=1),
        c.BatchBufferStart.encode(ppgtt=1, address=BATCH + 0x100),
        c.FlushDw.encode(4, post_sync=1, invalidate_tlb=1, ggtt=1, address=SEQNO, data=[3]),
        c.UserInterrupt.encode(),
    )
    assert context.run() is Reason.FINISHED
    assert [context.ppgtt.u64(BATCH + offset) for offset in (0xA00, 0xA08)] == entries
    assert context.events == ["invalidate", "invalidate", "interrupt 3"]
    assert not context.execution.arbitration


def test_golden_context_job_modifies_registers_in_a_ggtt_batch(context: Context) -> None:
    """xe_gt.c:emit_wa_job: read, clear bits, set bits, write back; render state in between is skipped."""
    register, clear, add = 0xB11C, 0x00FF, 0x0042
    steps = [
        ("load", "srca", "r0"),
        ("loadinv", "srcb", "r1"),
        ("and",),
        ("store", "r0", "accu"),
        ("load", "srca", "r0"),
        ("load", "srcb", "r2"),
        ("or",),
        ("store", "r0", "accu"),
    ]
    batch = Batch()
    batch.command(c.LoadRegisterImm, pairs=[register, 0x12345678])
    batch.command(c.LoadRegisterReg, destination_cs_mmio=1, source=register, destination=gpr(0))
    batch.command(c.LoadRegisterImm, cs_mmio=1, pairs=[gpr(1), clear, gpr(2), add])
    batch.command(c.Math, alu=[alu.instruction(*step) for step in steps])
    batch.command(c.LoadRegisterReg, source_cs_mmio=1, source=gpr(0), destination=register)
    batch.raw(0x78150009, *[0] * 10, 0x69040003)
    batch.command(c.StoreRegisterMem, ggtt=1, register=register, address=SEQNO).end()
    context.ggtt.poke(GOLDEN, batch.encode())
    context.submit(c.BatchBufferStart.encode(address=GOLDEN))
    assert context.run() is Reason.FINISHED
    assert context.ggtt.u32(SEQNO) == 0x12345642


def test_fake_watchdog_waits_until_it_is_satisfied_from_outside(context: Context) -> None:
    """xe_ring_ops.c:emit_fake_watchdog: the condition never holds; hardware resets the engine there."""
    context.submit(
        c.LoadRegisterImm.encode(cs_mmio=1, pairs=[0x17C, 2, 0x178, 0]),
        c.SemaphoreWait.encode(ggtt=1, poll=1, compare=4, data=0xDEAD, address=PPHWSP),
        c.StoreDataImm.encode(ggtt=1, address=SEQNO, data=[1]),
    )
    stop = context.execution.run(100)
    assert stop.wait is not None
    assert (stop.wait.where, stop.wait.address, stop.wait.data) == ("ggtt", PPHWSP, 0xDEAD)
    context.execution.satisfy()
    assert context.run() is Reason.FINISHED
    assert context.ggtt.u32(SEQNO) == 1


def test_ring_wraps_within_an_instruction(context: Context) -> None:
    """The kernel's writes wrap at any dword (xe_lrc.c:xe_lrc_write_ring)."""
    context.ppgtt.poke(BATCH, Batch().end().encode())
    for seqno in range(1, 1000):
        context.submit(*copy_job(seqno, BATCH))
        assert context.run() is Reason.FINISHED
        assert context.ggtt.u32(SEQNO) == seqno
    assert len(context.events) == 999


def test_fault_of_a_user_fence_leaves_the_ring_at_its_store(context: Context) -> None:
    context.ppgtt.poke(BATCH, Batch().end().encode())
    context.ppgtt.absent = {USER_FENCE // 4096}
    job = copy_job(5, BATCH)
    context.submit(*job)
    stop = context.execution.run(1000)
    assert stop.fault is not None
    assert stop.fault.address == USER_FENCE
    assert context.ring.head == 4 * sum(len(command) for command in job[:5])
    assert not context.events
    context.ppgtt.serve(stop.fault)
    assert context.run() is Reason.FINISHED
    assert context.events == ["interrupt 5"]


def test_user_batch_has_none_of_the_rings_privileges(context: Context) -> None:
    """GGTT bits, a GGTT batch, the arbitration switch and engine registers: a PPGTT batch has its VM only."""
    context.ggtt.poke(
        GOLDEN, Batch().command(c.StoreDataImm, ggtt=1, address=SEQNO, data=[99]).end().encode()
    )
    context.ppgtt.memory[GOLDEN // 4096] = bytearray(4096)
    context.ppgtt.memory[SEQNO // 4096] = bytearray(4096)
    context.ppgtt.poke(GOLDEN, Batch().store_dword(USER_FENCE, 1).end().encode())
    batch = (
        Batch()
        .command(c.StoreDataImm, ggtt=1, address=SEQNO, data=[98])
        .command(c.Atomic, ggtt=1, operation=5, address=SEQNO)
        .command(c.FlushDw, dwords=4, post_sync=1, ggtt=1, address=SEQNO + 8, data=[97])
        .command(c.FlushDw, dwords=4, post_sync=1, store_index=1, address=0x20, data=[97])
        .command(c.PipeControl, post_sync=1, ggtt=1, address=SEQNO + 16, low=96)
        .command(c.ArbOnOff)
        .load_register(0x244, 0x10001)
        .command(c.BatchBufferStart, address=GOLDEN)
    )
    context.ppgtt.poke(BATCH, batch.encode())
    context.submit(c.BatchBufferStart.encode(ppgtt=1, address=BATCH))
    assert context.run() is Reason.FINISHED
    assert context.ggtt.peek(SEQNO, 64) == bytes(64)
    assert context.ggtt.peek(PPHWSP, 64) == bytes(64)
    assert [context.ppgtt.u32(SEQNO + offset) for offset in (0, 8, 16)] == [99, 97, 96]
    assert context.ppgtt.u32(USER_FENCE) == 1
    assert context.execution.arbitration
    assert context.execution.registers.relative(0x244) == 0


def test_ppgtt_batch_needs_a_ppgtt() -> None:
    ggtt = Pages(range(RING // 4096, RING // 4096 + 4))
    ring = Ring(RING, RING_SIZE, tail=16)
    ggtt.poke(RING, struct.pack("<4I", *c.BatchBufferStart.encode(ppgtt=1), 0))
    assert Execution.on_ring(ring, ggtt).run(10).reason is Reason.ILLEGAL


def test_instruction_beyond_the_tail_is_illegal(context: Context) -> None:
    context.submit(c.StoreDataImm.encode(ggtt=1, address=SEQNO, data=[1]))
    context.ring.tail -= 4
    assert context.run() is Reason.ILLEGAL


def test_batch_end_in_the_ring_is_illegal(context: Context) -> None:
    context.submit(c.BatchBufferEnd.encode())
    assert context.run() is Reason.ILLEGAL


@pytest.mark.parametrize("size", [0, -4096, 100])
def test_ring_is_whole_pages(size: int) -> None:
    with pytest.raises(ValueError, match="a ring of"):
        Ring(RING, size)
