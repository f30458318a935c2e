# SPDX-License-Identifier: MIT
"""GPU atomics on mirrored memory in the default atomic mode (xe_vm.c: xe_vma_need_vram_for_atomic)."""

from __future__ import annotations

import mmap

from fixtures import acts, behaviour, driver_only, known, landed, needs
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.counters import Counters
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "vram", "svm-vram", "atomic", "debugfs")


@behaviour("atomic.default-dgpu", "obs.size-class-counters")
@acts("migrate", "store")
def test_gpu_atomic_migrates_memory_to_vram(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """GPU atomic adds move mirrored memory to VRAM, and the CPU reads the sum; adjacent data is unchanged."""
    buffer, start, near = memory(SZ_2M, align=SZ_2M), sentinel(), sentinel()
    buffer.set_u32(PAGE, start)
    buffer.set_u32(PAGE + 4, near)
    batch, total, before = Batch(), start, counters.snapshot()
    for _ in range(8):
        added = sentinel()
        batch.atomic(buffer.address + PAGE, "add", added)
        total += added
    queue.run(batch)
    with driver_only("obs.size-class-counters"):
        counters.rose("svm_2M_migrate_count", since=before)
        assert not buffer.present(PAGE)
    landed(buffer, PAGE, total & MASK)
    assert buffer.u32(PAGE + 4) == near


@behaviour("atomic.preference-system-overridden", "atomic.valid-mapping-still-faults")
@acts("fault", "store")
def test_gpu_atomic_overrides_sysmem_preference(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """Memory whose preferred location is system memory, mapped there, faults on an atomic and moves to VRAM."""
    buffer, start, added = memory(SZ_2M, align=SZ_2M), sentinel(), sentinel()
    mirror_vm.madvise(
        buffer.address,
        SZ_2M,
        PREFERRED_LOC,
        devmem_fd=DEFAULT_SYSTEM,
        migration_policy=xe.DRM_XE_MIGRATE_ALL_PAGES,
    )
    queue = mirror_vm.queue()
    queue.store(buffer.address, start)
    assert buffer.present()
    before = counters.snapshot()
    queue.run(Batch().atomic(buffer.address, "add", added))
    counters.rose("svm_pagefault_count", since=before)
    assert not buffer.present()
    landed(buffer, 0, (start + added) & MASK)


@behaviour("atomic.default-dgpu")
@acts("store")
@known(
    "A GPU atomic fails in a range that two CPU mappings share",
    first="6.18",
    signature="EIO: DRM_IOCTL_XE_WAIT_USER_FENCE on fd #: Input/output error",
)
def test_gpu_atomic_in_range_of_two_cpu_mappings(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """A GPU atomic has its result, too, if a range has got two CPU mappings, as by MADV_DONTFORK of a half of it."""
    buffer, start, added = memory(SZ_2M, align=SZ_2M), sentinel() >> 1, sentinel() >> 1
    queue.store(buffer.address, start)
    landed(buffer, 0, start)  # by the CPU: the memory comes back, the range stays what it is
    buffer.madvise(mmap.MADV_DONTFORK, SZ_2M // 2, SZ_2M // 2)
    queue.run(Batch().atomic(buffer.address, "add", added))
    landed(buffer, 0, (start + added) & MASK)
