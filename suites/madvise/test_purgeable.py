# SPDX-License-Identifier: MIT
"""BOs that are marked DONTNEED and not yet purged (xe_vm_madvise.c: madvise_purgeable, xe_bo.c)."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from fixtures import acts, behaviour, driver_only, gpu_fault, gpu_sees, in_child, landed, needs, refused
from fixtures.counting import count
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import DONTNEED, WILLNEED
from fixtures.xe.vm import Vm
from ioctl import xe

AT, ELSEWHERE = 1 << 40, 1 << 41

pytestmark = needs("purging")


def fill_vram(device: Device, bo: MakeBo) -> None:
    """New BOs take all VRAM: what is purgeable there is purged."""
    part = device.region(device.vram[0]).total_size // 16
    for _ in range(16):
        bo(part, placement=1 << device.vram[0])


@behaviour("madvise.purge.retained-value", "madvise.purge.willneed-restores")
@acts("store", "load")
def test_willneed_before_a_purge_restores_all(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """MADVISE WILLNEED of a BO that was not purged reports retained 1; data, mmap, bind and export are as before."""
    made, value = bo(SZ_2M), sentinel()
    mapped, queue = made.map(), plain_vm.queue()
    plain_vm.map(made, AT)
    queue.store(AT + PAGE, value)
    landed(mapped, PAGE, value)
    for _ in range(2):
        assert plain_vm.purgeable(AT, SZ_2M, DONTNEED) == 1
    for _ in range(2):
        assert plain_vm.purgeable(AT, SZ_2M, WILLNEED) == 1
    landed(mapped, PAGE, value)
    gpu_sees(queue, AT + PAGE, value)
    landed(made.map(), PAGE, value)
    plain_vm.map(made, ELSEWHERE)
    gpu_sees(queue, ELSEWHERE + PAGE, value)
    os.close(made.export())


@behaviour("madvise.purge.retained-value")
@acts("ioctl")
@needs("vram")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("purged", [0, 4, 8], ids=["first", "middle", "last"])
def test_one_purged_bo_is_reported(device: Device, plain_vm: Vm, bo: MakeBo, purged: int) -> None:
    """MADVISE over many BOs of which one was purged reports retained 0; without that one it reports 1."""
    places = [AT + n * SZ_2M for n in range(9)]
    for n, at in enumerate(places):
        plain_vm.map(bo(SZ_2M, placement=1 << device.vram[0] if n == purged else SYSTEM), at)
    assert plain_vm.purgeable(AT, 9 * SZ_2M, WILLNEED) == 1
    assert plain_vm.purgeable(places[purged], SZ_2M, DONTNEED) == 1
    fill_vram(device, bo)
    assert plain_vm.purgeable(AT, 9 * SZ_2M, WILLNEED) == 0
    for n, at in enumerate(places):
        assert plain_vm.purgeable(at, SZ_2M, WILLNEED) == (n != purged)
    count("ioctl")


@behaviour("madvise.purge.default-willneed")
@acts("load", "query")
@needs("vram")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("asked", [False, True], ids=["pressure", "asked-first"])
def test_bo_without_madvise_is_not_purged(
    device: Device, plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, asked: bool
) -> None:
    """Bos that were bound and never advised keep their data when others take the VRAM; WILLNEED reports retained 1."""
    places = [AT + n * SZ_2M for n in range(3)]
    made = [bo(SZ_2M, placement=1 << device.vram[0] | SYSTEM) for _ in places]
    values = {at + SZ_2M - 4: sentinel() for at in places}
    for at, one in zip(places, made, strict=True):
        plain_vm.map(one, at)
        one.map().set_u32(SZ_2M - 4, values[at + SZ_2M - 4])
    if asked:
        assert plain_vm.purgeable(AT, 3 * SZ_2M, WILLNEED) == 1
    before = device.region(device.vram[0]).used
    fill_vram(device, bo)
    assert device.region(device.vram[0]).used > before
    for at in places:
        assert plain_vm.purgeable(at, SZ_2M, WILLNEED) == 1
    assert plain_vm.purgeable(AT, 3 * SZ_2M, WILLNEED) == 1
    queue = plain_vm.queue()
    for address, value in values.items():
        gpu_sees(queue, address, value)
    for one, value in zip(made, values.values(), strict=True):
        assert one.map().u32(SZ_2M - 4) == value


@behaviour("madvise.purge.non-bo")
@acts("load", "store")
@needs("page-faults", "userptr", "cpu-addr-mirror")
@pytest.mark.parametrize("kind", ["mirror", "userptr"])
def test_dontneed_leaves_process_memory_alone(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, kind: str
) -> None:
    """MADVISE DONTNEED of a mirror or a userptr reports retained 1, and the GPU can still use the memory."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    at = buffer.address if kind == "mirror" else AT
    if kind == "mirror":
        fault_vm.mirror(at, SZ_2M)
    else:
        fault_vm.map_userptr(at, buffer.address, SZ_2M)
    queue = fault_vm.queue()
    queue.store(at + PAGE, value)
    landed(buffer, PAGE, value)
    assert fault_vm.purgeable(at, SZ_2M, DONTNEED) == 1
    gpu_sees(queue, at + PAGE, value)
    value = sentinel()
    queue.store(at + SZ_2M - 4, value)
    landed(buffer, SZ_2M - 4, value)


@behaviour("madvise.purge.no-inval", "obs.vma-fault-counters")
@acts("store")
@needs("page-faults", "debugfs")
def test_dontneed_bo_is_used_without_a_fault(
    fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, counters: Counters
) -> None:
    """MADVISE DONTNEED and WILLNEED zap no mapping: the GPU uses the BO without a fault."""
    made, queue = bo(SZ_2M), fault_vm.queue()
    mapped = made.map()
    fault_vm.map(made, AT, flags=xe.DRM_XE_VM_BIND_FLAG_IMMEDIATE)
    queue.store(AT, sentinel())
    before = counters.snapshot()
    for state in (DONTNEED, WILLNEED, DONTNEED, WILLNEED):
        assert fault_vm.purgeable(AT, SZ_2M, state) == 1
        value = sentinel()
        queue.store(AT + SZ_2M - 4, value)
    landed(mapped, SZ_2M - 4, value)
    with driver_only("obs.vma-fault-counters"):
        counters.still("vma_pagefault_count", since=before)


@behaviour("madvise.purge.dontneed-blocks")
@acts("refusal")
def test_dontneed_bo_takes_no_new_user(plain_vm: Vm, bo: MakeBo) -> None:
    """mmap, VM_BIND and dma-buf export of a BO in state DONTNEED give EBUSY; after WILLNEED they succeed."""
    made = bo(SZ_2M)
    plain_vm.map(made, AT)
    plain_vm.purgeable(AT, SZ_2M, DONTNEED)
    with refused(errno.EBUSY):
        made.map()
    with refused(errno.EBUSY):
        plain_vm.bind(addr=ELSEWHERE, range=SZ_2M, obj=made.handle)
    with refused(errno.EBUSY):
        os.close(made.export())
    plain_vm.purgeable(AT, SZ_2M, WILLNEED)
    made.map()
    plain_vm.map(made, ELSEWHERE)
    os.close(made.export())


@behaviour("madvise.purge.dontneed-blocks")
@acts("ioctl")
@needs("bo-cpu-faults")
def test_cpu_touch_of_a_dontneed_bo_is_sigbus(plain_vm: Vm, bo: MakeBo) -> None:
    """A CPU access through an unpopulated mapping of a BO in state DONTNEED raises SIGBUS."""
    made = bo(SZ_2M)
    mapped = made.map()
    plain_vm.map(made, AT)
    plain_vm.purgeable(AT, SZ_2M, DONTNEED)
    assert in_child(lambda: mapped.u32(SZ_2M - PAGE)).signal == signal.SIGBUS
    count("ioctl")


@behaviour("madvise.purge.dontneed-blocks")
@acts("ioctl")
@needs("page-faults")
def test_gpu_fault_on_a_dontneed_bo_fails(fault_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """A GPU fault on a BO in state DONTNEED that was never mapped on the GPU fails and bans the queue."""
    made, queue = bo(SZ_2M), fault_vm.queue()
    fault_vm.map(made, AT)
    fault_vm.purgeable(AT, SZ_2M, DONTNEED)
    with gpu_fault(queue):
        queue.store(AT, sentinel())
    count("ioctl")


@behaviour("madvise.purge.per-vma")
@acts("refusal")
@pytest.mark.parametrize("first", [AT, ELSEWHERE], ids=["first", "second"])
def test_dontneed_of_one_mapping_is_not_enough(plain_vm: Vm, bo: MakeBo, first: int) -> None:
    """With two mappings of a BO DONTNEED of one has no effect; of both it blocks use; WILLNEED of one unblocks it."""
    made = bo(SZ_2M)
    for at in (AT, ELSEWHERE):
        plain_vm.map(made, at)
    second = AT + ELSEWHERE - first
    plain_vm.purgeable(first, SZ_2M, DONTNEED)
    made.map()
    plain_vm.purgeable(second, SZ_2M, DONTNEED)
    with refused(errno.EBUSY):
        made.map()
    plain_vm.purgeable(first, SZ_2M, WILLNEED)
    made.map()


@behaviour("madvise.purge.per-vma", "madvise.purge.unmap-while-dontneed")
@acts("refusal")
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("start", [0, SZ_2M // 2, SZ_2M], ids=["all", "half", "none"])
def test_unmapped_mapping_does_not_keep_a_bo(plain_vm: Vm, bo: MakeBo, start: int, late: bool) -> None:
    """UNMAP of a mapping ends its say: after DONTNEED of the rest mmap gives EBUSY, after WILLNEED it succeeds."""
    made = bo(SZ_2M)
    for at in (AT, ELSEWHERE):
        plain_vm.map(made, at)
    if late:
        plain_vm.purgeable(AT, SZ_2M, DONTNEED)
        made.map()
    if start < SZ_2M:
        plain_vm.unmap(ELSEWHERE + start, SZ_2M - start)
    if start:
        plain_vm.purgeable(ELSEWHERE, start, DONTNEED)
    if not late:
        made.map()
        plain_vm.purgeable(AT, SZ_2M, DONTNEED)
    with refused(errno.EBUSY):
        made.map()
    plain_vm.purgeable(AT, SZ_2M, WILLNEED)
    made.map()


@behaviour("madvise.purge.per-vma", "madvise.purge.unmap-while-dontneed")
@acts("store")
def test_unmapped_dontneed_mapping_takes_nothing_away(plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """UNMAP of a DONTNEED mapping changes nothing for a BO with another that is needed: mmap and VM_BIND succeed."""
    made, value = bo(SZ_2M), sentinel()
    for at in (AT, ELSEWHERE):
        plain_vm.map(made, at)
    plain_vm.purgeable(AT, SZ_2M, DONTNEED)
    plain_vm.unmap(AT, SZ_2M)
    mapped = made.map()
    plain_vm.map(made, AT)
    plain_vm.queue().store(AT + PAGE, value)
    landed(mapped, PAGE, value)


@behaviour("madvise.purge.shared")
@acts("store", "ioctl")
@needs("vram")
@pytest.mark.timeout(60)
def test_exported_bo_is_not_purged(device: Device, plain_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """A BO exported as a dma-buf keeps its data under VRAM pressure despite DONTNEED."""
    made, value = bo(SZ_2M, placement=SYSTEM | 1 << device.vram[0]), sentinel()
    mapped, queue = made.map(), plain_vm.queue()
    plain_vm.map(made, AT)
    fd = made.export()
    try:
        queue.store(AT + PAGE, value)
        landed(mapped, PAGE, value)
        assert plain_vm.purgeable(AT, SZ_2M, DONTNEED) == 1
        fill_vram(device, bo)
        assert plain_vm.purgeable(AT, SZ_2M, WILLNEED) == 1
        gpu_sees(queue, AT + PAGE, value)
    finally:
        os.close(fd)
    count("ioctl")


@behaviour("madvise.purge.unmap-while-dontneed")
@acts("store")
@pytest.mark.parametrize(
    ("start", "size"), [(0, SZ_2M), (0, SZ_2M // 2), (SZ_2M // 4, SZ_2M // 2), (SZ_2M // 2, SZ_2M // 2)]
)
def test_dontneed_bo_can_be_unmapped(
    plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, start: int, size: int
) -> None:
    """UNMAP of all or part of a BO in state DONTNEED succeeds; what stays mapped works after WILLNEED."""
    made, other, value = bo(SZ_2M), bo(SZ_2M), sentinel()
    plain_vm.map(made, AT)
    plain_vm.purgeable(AT, SZ_2M, DONTNEED)
    plain_vm.unmap(AT + start, size)
    if size < SZ_2M:
        plain_vm.purgeable(AT, SZ_2M, WILLNEED)
        rest = 0 if start else size
        plain_vm.queue().store(AT + rest, value)
        landed(made.map(), rest, value)
    plain_vm.map(other, AT + start, size=size)
    value = sentinel()
    plain_vm.queue().store(AT + start, value)
    landed(other.map(), 0, value)
