# SPDX-License-Identifier: MIT
"""Jobs with dma fences and jobs that may fault share the engines of a GPU (xe_hw_engine_group.c)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures import PLAIN, acts, behaviour, landed, needs
from fixtures.counting import count
from fixtures.gate import Gate
from fixtures.given import MakeBo, MakeSyncobj, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.process import Caller
from fixtures.userfault import Userfault
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.queue import Job
from fixtures.xe.sync import Syncobj
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe
from suites.exec.held import AT, Held, away

pytestmark = needs("page-faults", "cpu-addr-mirror")


@behaviour("exec.mode-switch")
@acts("store")
@pytest.mark.parametrize("rounds", [1, 8])
def test_both_kinds_of_jobs_finish(
    mirror_vm: Vm, make_vm: MakeVm, bo: MakeBo, memory: Memory, sentinel: Sentinel, rounds: int
) -> None:
    """Jobs of a fault-mode VM and of a dma-fence VM, alternating on one engine, all complete with correct data."""
    plain, made, buffer = make_vm(PLAIN), bo(PAGE), memory(rounds * PAGE)
    mapped = made.map()
    plain.map(made, AT)
    faulting_queue, plain_queue = mirror_vm.queue(), plain.queue()
    for turn in range(rounds):
        values = sentinel(), sentinel()
        first = faulting_queue.start(Batch().store_dword(buffer.address + turn * PAGE, values[0]))
        second = plain_queue.start(Batch().store_dword(AT + 4 * turn, values[1]))
        second.wait()
        first.wait()
        landed(buffer, turn * PAGE, values[0])
        landed(mapped, 4 * turn, values[1])


@behaviour("exec.mode-switch")
@acts("store")
def test_suspended_job_goes_on(
    mirror_vm: Vm, make_vm: MakeVm, bo: MakeBo, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """A running fault-mode job is suspended for a dma-fence job, resumes after it, and then faults."""
    plain, made, target = make_vm(PLAIN), bo(PAGE), memory(PAGE)
    plain.map(made, AT)
    queue, first, second = mirror_vm.queue(), sentinel(), sentinel()
    running = queue.start(gate.hold(Batch()).store_dword(target.address, first))
    gate.reached()
    plain.queue().store(AT, second)  # ends although the other has not
    landed(made.map(), 0, second)
    assert not running.done
    gate.open()
    running.wait()
    landed(target, 0, first)


@behaviour("exec.mode-switch")
@acts("exec", "store")
@needs("user-faults")
def test_job_ends_while_fault_waits(
    mirror_vm: Vm, make_vm: MakeVm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """A dma-fence job ends while a fault of a job on the same engine waits for user space."""
    plain, made, target = make_vm(PLAIN), bo(PAGE), memory(PAGE, populate=False)
    plain.map(made, AT)
    first, second = sentinel(), sentinel()
    with Userfault(target) as fault:
        waiting = mirror_vm.queue().start(Batch().store_dword(target.address, first))
        assert fault.waits() == 0
        plain.queue().store(AT, second)
        landed(made.map(), 0, second)
        assert not waiting.done
        fault.give(0, b"")
        waiting.wait()
    landed(target, 0, first)


@pytest.fixture
def held(make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel) -> Iterator[Held]:
    """See Held; opened after the test, so that nothing hangs."""
    made = Held(make_vm(PLAIN), bo, sentinel())
    yield made
    made.open()


@behaviour("exec.add-queue-in-dma-mode")
@acts("store")
def test_queue_made_under_dma_fence_job_runs_after(
    device: Device, mirror_vm: Vm, held: Held, memory: Memory, sentinel: Sentinel
) -> None:
    """A queue that may fault, made while a job that may not runs, does not run before its end, and does so then."""
    source, target, value = memory(PAGE), memory(PAGE), sentinel()
    source.set_u32(0, sentinel())
    running = held.vm.queue().start(held.batch().store_dword(AT + 64, value))
    job = mirror_vm.queue().start(Batch().copy_mem(target.address, source.address))
    mirror_vm.queue(away(device)).store(
        target.address + 64, sentinel()
    )  # which takes its time, on another group
    assert not running.done
    assert not job.done
    source.set_u32(0, late := sentinel())
    held.open()
    running.wait()
    landed(held.seen, 64, value)
    job.wait()
    landed(target, 0, late)


@pytest.fixture
def pending(
    device: Device, make_vm: MakeVm, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel
) -> Iterator[tuple[Syncobj, Held]]:
    """A syncobj that a job on another group of engines signals, and what lets that job end."""
    holder, fence = Held(make_vm(PLAIN), bo, sentinel()), syncobj()
    holder.vm.queue(away(device)).start(holder.batch(), syncs=[fence.sync()])
    yield fence, holder
    holder.open()


@behaviour("exec.mode-switch-syncs")
@acts("store")
@needs("debugfs", "svm-counters")
@pytest.mark.parametrize("at", [0, 1, 2], ids=["first", "middle", "last"])
def test_job_waits_for_its_syncs_before_mode_switch(
    mirror_vm: Vm,
    make_vm: MakeVm,
    bo: MakeBo,
    memory: Memory,
    syncobj: MakeSyncobj,
    sentinel: Sentinel,
    counters: Counters,
    pending: tuple[Syncobj, Held],
    at: int,
) -> None:
    """A job that may not fault waits for its dependencies while faulting jobs run, and only then suspends them."""
    fence, holder = pending
    faulting, buffer = mirror_vm.queue(), memory(PAGE)
    faulting.store(buffer.address, sentinel())
    plain, made, value = make_vm(PLAIN), bo(PAGE), sentinel()
    mapped = made.map()
    plain.map(made, AT)
    queue = plain.queue()
    syncs = [syncobj(signalled=True).waiting() for _ in range(3)]
    syncs[at] = fence.waiting()
    before = counters.snapshot()
    jobs: list[Job] = []
    batch = Batch().store_dword(AT, value)
    call = Caller(lambda: jobs.append(queue.start(batch, syncs)), xe.DRM_IOCTL_XE_EXEC)
    assert call.waits(), "EXEC did not wait for its syncobj"
    for offset in (4, 8):
        faulting.store(buffer.address + offset, stored := sentinel())  # ends, and so is not suspended
        landed(buffer, offset, stored)
    counters.still("hw_engine_group_suspend_lr_queue_count", since=before)
    assert mapped.u32(0) == 0
    holder.open()
    assert call.end() == 0
    jobs[0].wait()
    landed(mapped, 0, value)
    counters.rose("hw_engine_group_suspend_lr_queue_count", since=before, by=1)
    faulting.store(buffer.address, stored := sentinel())
    landed(buffer, 0, stored)


@behaviour("obs.mode-switch-counters")
@acts("store")
@needs("debugfs")
@pytest.mark.parametrize("queues", [1, 3])
def test_mode_switches_count_their_queues(
    mirror_vm: Vm, held: Held, memory: Memory, sentinel: Sentinel, counters: Counters, queues: int
) -> None:
    """A switch counts each queue that it suspends, and each that it waits for; work without a switch counts none."""
    suspended, waited = (
        "hw_engine_group_suspend_lr_queue_count",
        "hw_engine_group_wait_dma_queue_count",
    )
    buffer = memory(PAGE)
    faulting = [mirror_vm.queue() for _ in range(queues)]
    for _ in range(2):
        before = counters.snapshot()
        for queue in faulting:
            queue.store(buffer.address, value := sentinel())
            landed(buffer, 0, value)
        counters.still(suspended, since=before)
        counters.still(waited, since=before)
        held.seen.set_u32(0, 0)
        running = held.vm.queue().start(held.batch())  # one more queue than in the round before
        counters.rose(suspended, since=before, by=queues)
        held.open()
        running.wait()
        faulting[0].store(buffer.address, value := sentinel())  # not before the switch back
        landed(buffer, 0, value)
        counters.rose(waited, since=before, by=len(held.vm.queues))
        now = counters.snapshot()
        assert now[suspended] - before[suspended] == queues
        for time in ("hw_engine_group_suspend_lr_queue_us", "hw_engine_group_wait_dma_queue_us"):
            assert now[time] >= before[time]
    count("ioctl")
