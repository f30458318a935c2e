# SPDX-License-Identifier: MIT
"""GT reset while page faults are queued (xe_gt.c: gt_reset_worker; xe_pagefault.c: xe_pagefault_reset)."""

from __future__ import annotations

import errno

import pytest

from fixtures import QueueError, acts, behaviour, landed, needs, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.gate import Gate
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.userfault import Userfault
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.reset import reset_gt
from fixtures.xe.vm import Vm
from gpu import Batch

pytestmark = [needs("page-faults", "gt-reset"), pytest.mark.timeout(60)]


@pytest.fixture
def held(memory: Memory) -> list[Buffer]:
    """Two pages that are not there, each in a mapping of its own."""
    return [memory(PAGE, populate=False) for _ in range(2)]


@behaviour("fault.reset-squash", "fault.userfaultfd")
@acts("store")
@needs("user-faults", "two-engines")
def test_gt_reset_ends_waiting_faults(
    mirror_vm: Vm, held: list[Buffer], gate: Gate, memory: Memory, sentinel: Sentinel
) -> None:
    """Faults that wait when their GT is reset end, served or not; faults after the reset are served."""
    # In system memory: to move memory to VRAM takes a lock of the driver that the waiting fault would hold.
    mirror_vm.madvise(
        0,
        1 << 47,
        PREFERRED_LOC,
        devmem_fd=DEFAULT_SYSTEM,
    )
    engine = mirror_vm.device.engine()
    others = [one for one in mirror_vm.device.known_engines if one.gt_id == engine.gt_id]
    queues = [mirror_vm.queue(one) for one in others[:2]]
    here, fresh = memory(PAGE, shared=True), memory(PAGE)
    sign, value = sentinel(), sentinel()
    queues[1].store(here.address, sentinel())
    with Userfault(held[0]) as served, Userfault(held[1]) as waits:
        # EXEC waits for the fault that is being served, so the batch with the other one is started first.
        batch = gate.hold(Batch()).store_dword(here.address, sign).store_dword(held[1].address, sentinel())
        second = queues[1].start(batch)
        gate.reached()
        first = queues[0].start(Batch().store_dword(held[0].address, sentinel()))
        assert served.waits() == 0
        gate.open()
        wait_until(lambda: here.u32(0) == sign, what="the store before the one that faults")
        reset_gt(mirror_vm.device, engine.gt_id)
        served.give(0, b"")
        if waits.waits(0) is not None:  # a driver that serves the faults of a VM in parallel
            waits.give(0, b"")
        for job in first, second:
            try:
                job.wait()
                chose("a fault that waits when its GT is reset: served")
            except QueueError as error:
                if error.errno != errno.EIO:
                    raise
                count("refusal")
                chose("a fault that waits when its GT is reset: fails")
        mirror_vm.queue(engine).store(fresh.address, value)
        landed(fresh, 0, value)
