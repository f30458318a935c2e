# SPDX-License-Identifier: MIT
"""Arrays of binds with mirrors in them: later operations see what earlier ones did (xe_vm.c: xe_vm_bind_ioctl)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from fixtures import acts, behaviour, driver_only, known, landed, needs, refused
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_1M, SZ_2M
from fixtures.timeouts import scale_timeout
from fixtures.xe.counters import Counters
from fixtures.xe.flags import IMMEDIATE, MAP, MIRROR, PREFETCH, UNMAP
from fixtures.xe.sync import SECOND, UserFence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

SIZE = SZ_2M

pytestmark = needs("page-faults")


@behaviour("bind.array.two-prefetch-one-map", "obs.svm-pagefault-count")
@acts("store")
@needs("debugfs", "cpu-addr-mirror")
@pytest.mark.parametrize(
    "region", [0, pytest.param(1, marks=needs("vram", "svm-vram"))], ids=["system", "vram"]
)
def test_array_prefetch_finds_mirror_mapped_before(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters, region: int
) -> None:
    """A PREFETCH after the MAP of its mirror in the same array populates it: the first access does not fault."""
    buffer, value, queue = memory(SIZE, align=SIZE), sentinel(), fault_vm.queue()
    queue.run(Batch().noop())
    place = {"addr": buffer.address, "range": SIZE}
    fence = UserFence(fault_vm.device)
    fault_vm.bind_array(
        [
            fault_vm.operation(MAP, flags=MIRROR, **place),
            fault_vm.operation(PREFETCH, region=fault_vm.device.vram[0] if region else 0, **place),
        ],
        syncs=[fence.sync()],
    )
    fence.wait()
    assert buffer.present(PAGE) == (not region)
    before = counters.snapshot()
    queue.store(buffer.address + PAGE, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.still("svm_pagefault_count", since=before)
    landed(buffer, PAGE, value)


@pytest.fixture
def used(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> Buffer:
    """Mirrored memory that the GPU has in use."""
    buffer, value = memory(SIZE, align=SIZE), sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    return buffer


@behaviour("bind.array.unmap-active-busy")
@acts("refusal", "store")
@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "second", "last"])
def test_array_unmap_of_active_range_is_ebusy(
    mirror_vm: Vm, used: Buffer, bo: MakeBo, memory: Memory, sentinel: Sentinel, position: int
) -> None:
    """UNMAP of memory in use gives EBUSY wherever it is in an array, and the GPU can still use it."""
    hole = memory(SIZE, align=SIZE)
    operations = [
        mirror_vm.operation(MAP, addr=hole.address, range=SIZE, obj=bo(SIZE).handle),
        mirror_vm.operation(UNMAP, addr=hole.address, range=SIZE),
    ]
    operations.insert(position, mirror_vm.operation(UNMAP, addr=used.address, range=SIZE))
    with refused(errno.EBUSY):
        mirror_vm.bind_array(operations)
    value = sentinel()
    mirror_vm.queue().store(used.address + PAGE, value)
    landed(used, PAGE, value)


@behaviour("bind.array.unmap-active-busy")
@acts("refusal")
@known(
    "A mirror in an array of binds lets memory in use be unbound",
    first="7.0",
    signature="expected EBUSY, but the call succeeded",
    acts=("ioctl",),
)
def test_array_unmap_after_mirror_map_is_ebusy(mirror_vm: Vm, used: Buffer, memory: Memory) -> None:
    """UNMAP of a whole VMA in use gives EBUSY even after another mirror is bound earlier in the array."""
    other = memory(SIZE, align=SIZE)
    operations = [
        mirror_vm.operation(MAP, addr=other.address, range=SIZE, flags=MIRROR),
        mirror_vm.operation(UNMAP, addr=0, range=mirror_vm.size),
    ]
    with refused(errno.EBUSY):
        mirror_vm.bind_array(operations)


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """The test stays on one CPU: memory that the kernel frees there is what it allocates next."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@behaviour("bind.array.order")
@acts("store")
@needs("uncleared-memory")  # in memory that is cleared the driver finds a harmless operation
@known(
    "VM_BIND executes operations that were left in freed memory",
    first="6.17",
    signature="ETIME: DRM_IOCTL_XE_WAIT_USER_FENCE on fd #: Timer expired",
    acts=("ioctl",),
    log="the emulated GPU reports gpu*: fault-not-served: *",
)
@pytest.mark.parametrize("pairs", [1, 2, 4])
def test_unmap_of_unbound_bo_leaves_binds_of_array(
    fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, one_cpu: None, pairs: int
) -> None:
    """Bos that an array maps stay mapped when it unmaps others that have no page table entries yet."""
    at, others, unbound, step = 1 << 40, (1 << 40) + SZ_1M, 1 << 41, 4 * PAGE
    bos, other = [bo(PAGE) for _ in range(pairs)], bo(PAGE)
    fault_vm.map(other, others + pairs * step, flags=IMMEDIATE)  # keeps the page table

    def unmap(start: int) -> list[xe.drm_xe_vm_bind_op]:
        return [fault_vm.operation(UNMAP, addr=start + i * step, range=PAGE) for i in range(pairs)]

    for i, made in enumerate(bos):
        fault_vm.map(made, at + i * step, flags=IMMEDIATE)
        fault_vm.map(other, others + i * step, flags=IMMEDIATE)
        fault_vm.map(other, unbound + i * step)
    fault_vm.bind_array(unmap(others) + unmap(at))
    place = [
        fault_vm.operation(MAP, addr=at + i * step, range=PAGE, obj=made.handle, flags=IMMEDIATE)
        for i, made in enumerate(bos)
    ]
    fault_vm.bind_array(place + unmap(unbound))  # as many operations as before
    queue, values = fault_vm.queue(), [sentinel() for _ in bos]
    for i, value in enumerate(values):
        queue.run(Batch().store_dword(at + i * step, value), int(scale_timeout(2 * SECOND)))
    for made, value in zip(bos, values, strict=True):
        landed(made.map(), 0, value)
