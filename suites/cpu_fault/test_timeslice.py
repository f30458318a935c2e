# SPDX-License-Identifier: MIT
"""Memory that a GPU atomic moved to VRAM stays there for a timeslice, so that the GPU makes progress.

A CPU access within the timeslice waits; one after a move without an atomic does not (drm_pagemap.c:
__drm_pagemap_migrate_to_ram, timeslice_expiration).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import acts, behaviour, landed, needs, returned, untested
from fixtures.given import Memory, Sentinel
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import DEBUGFS
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from gpu import Batch

TIMESLICE = 0.2
"""Seconds, set for a test that measures: long enough not to be the time of anything else."""

pytestmark = needs("page-faults", "vram", "svm-vram", "atomic")


@pytest.fixture
def long_timeslice(device: Device) -> Iterator[None]:
    """The driver's timeslice is TIMESLICE."""
    file: Path = DEBUGFS / str(device.minor) / "atomic_svm_timeslice_ms"
    try:
        before = file.read_text()
        file.write_text(f"{int(TIMESLICE * 1000)}\n")
    except OSError as error:
        untested("MACHINE:timeslice", f"the driver's timeslice cannot be set: {error}")
    yield
    file.write_text(before)


@behaviour("cpu-fault.timeslice")
@acts("store", "exec")
@pytest.mark.parametrize("size", [SZ_64K, SZ_2M], ids=["64K", "2M"])
def test_cpu_reads_sum_after_gpu_atomic(queue: Queue, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """A CPU access right after a GPU atomic completes, within or after the timeslice, and sees its result."""
    buffer, start = memory(size, align=size), sentinel() & 0xFFFF
    buffer.set_u32(0, start)
    for turn in range(1, 4):
        queue.run(Batch().atomic(buffer.address, "add", 5))
        landed(buffer, 0, start + 6 * turn - 1)
        buffer.set_u32(0, start + 6 * turn)


@behaviour("cpu-fault.timeslice")
@acts("store")
@needs("debugfs", "root")
def test_cpu_fault_waits_for_end_of_timeslice(
    long_timeslice: None, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """The first CPU access after a GPU atomic does not complete before the timeslice ends."""
    buffer, start = memory(SZ_2M, align=SZ_2M), sentinel() & 0xFFFF
    buffer.set_u32(0, start)
    began = time.monotonic()
    queue.run(Batch().atomic(buffer.address, "add", 1))
    landed(buffer, 0, start + 1)
    assert time.monotonic() - began > TIMESLICE / 2


@behaviour("cpu-fault.no-timeslice-normal")
@acts("cpu-fault")
def test_migration_without_atomic_has_no_timeslice(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """A CPU access right after a GPU store gets the value, whether it waits or not."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    queue.store(buffer.address, value)
    returned(buffer, 0, value.to_bytes(4, "little"))
