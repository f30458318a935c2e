# SPDX-License-Identifier: MIT
"""EXEC where it waits, and a signal that ends the wait (xe_exec.c, xe_hw_engine_group.c: wait_syncs)."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from fixtures import PLAIN, acts, behaviour, landed, needs
from fixtures.counting import count
from fixtures.given import MakeBo, MakeSyncobj, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.overlap import missed
from fixtures.process import Caller, interruptions
from fixtures.xe.device import Device
from fixtures.xe.queue import Job
from fixtures.xe.sync import Syncobj, UserFence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe
from suites.exec.held import AT, Held, away

pytestmark = needs("page-faults", "cpu-addr-mirror")


@pytest.fixture
def pending(
    device: Device, make_vm: MakeVm, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel
) -> Iterator[tuple[Syncobj, Held]]:
    """A syncobj that a job on another group of engines signals, and what lets that job end."""
    holder, fence = Held(make_vm(PLAIN), bo, sentinel()), syncobj()
    holder.vm.queue(away(device)).start(holder.batch(), syncs=[fence.sync()])
    yield fence, holder
    holder.open()


@behaviour("exec.signal-interrupt", "race.signal-during-ioctl", "exec.mode-switch-syncs")
@acts("store", "refusal")
@pytest.mark.parametrize("signals", [1, 3])
def test_exec_interrupted_at_its_syncs_runs_nothing(
    mirror_vm: Vm,
    make_vm: MakeVm,
    bo: MakeBo,
    memory: Memory,
    syncobj: MakeSyncobj,
    sentinel: Sentinel,
    pending: tuple[Syncobj, Held],
    signals: int,
) -> None:
    """A signal while EXEC waits for its syncobj gives EINTR: no batch runs, no syncobj is signalled, VMs still work."""
    fence, holder = pending
    plain, made, faulting, buffer = make_vm(PLAIN), bo(2 * PAGE), mirror_vm.queue(), memory(PAGE)
    mapped = made.map()
    plain.map(made, AT)
    faulting.store(buffer.address, sentinel())  # long-running: the group changes its mode for the job to come
    queue, done, value = plain.queue(), syncobj(), sentinel()
    jobs: list[Job] = []

    def execute() -> None:
        jobs.append(queue.start(Batch().store_dword(AT, value), [fence.waiting(), done.sync()]))

    with interruptions() as came:
        for _ in range(signals):
            call = Caller(execute, xe.DRM_IOCTL_XE_EXEC)
            if not call.waits():
                missed("EXEC does not wait for its syncobj")
            call.interrupt()
            assert call.end() == errno.EINTR
            count("refusal")
    assert not jobs
    assert len(came) == signals
    # EXEC has released everything: the VM binds, the other kind of job runs.
    bound = UserFence(plain.device)
    plain.bind(addr=AT + PAGE, range=PAGE, obj=made.handle, obj_offset=PAGE, syncs=[bound.sync()])
    bound.wait()
    faulting.store(buffer.address, stored := sentinel())
    landed(buffer, 0, stored)
    holder.open()
    fence.wait()
    plain.queue().store(AT + PAGE, stored := sentinel())
    landed(mapped, PAGE, stored)
    assert mapped.u32(0) == 0
    execute()
    done.wait()
    jobs[0].wait()
    landed(mapped, 0, value)
