# SPDX-License-Identifier: MIT
"""CPU address mirror: where it can be bound, and what can be done to it while the GPU uses it."""

from __future__ import annotations

import ctypes
import errno
from typing import Any

import pytest

from fixtures import (
    Buffer,
    acts,
    behaviour,
    driver_only,
    gpu_fault,
    gpu_sees,
    kinds,
    known,
    landed,
    needs,
    refused,
)
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, READ_WRITE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import (
    ATOMIC,
    IMMEDIATE,
    MAP,
    MAP_USERPTR,
    MIRROR,
    NULL,
    PREFETCH,
    READONLY,
    UNMAP,
    UNMAP_ALL,
)
from fixtures.xe.sync import UserFence
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe
from suites.bind.pat import mirror_works

AT = 0x10_0000
"""A GPU address at which the process has nothing."""

pytestmark = needs("page-faults")


@behaviour("bind.cam.requires-fault-mode")
@acts("refusal")
@needs("range-attributes")
@pytest.mark.parametrize("mode", ["plain_vm", "lr_vm"])
@pytest.mark.parametrize("flags", [0, IMMEDIATE, READONLY], ids=["mirror", "immediate", "readonly"])
def test_mirror_without_fault_mode_is_einval(request: pytest.FixtureRequest, mode: str, flags: int) -> None:
    """CPU_ADDR_MIRROR in a VM without FAULT_MODE gives EINVAL and binds nothing."""
    vm = request.getfixturevalue(mode)
    with refused(errno.EINVAL):
        vm.bind(MAP, addr=0, range=vm.size, flags=MIRROR | flags)
    assert vm.attributes(0, vm.size) == []


@behaviour("bind.cam.obj-mbz")
@acts("refusal")
def test_mirror_with_bo_is_einval(fault_vm: Vm, bo: MakeBo) -> None:
    """CPU_ADDR_MIRROR with a BO gives EINVAL."""
    with refused(errno.EINVAL):
        fault_vm.bind(MAP, addr=AT, range=PAGE, flags=MIRROR, obj=bo(PAGE).handle)


@behaviour("bind.cam.offset-mbz")
@acts("refusal")
@pytest.mark.parametrize("offset", [PAGE, AT, 1, 1 << 63], ids=["page", "own-address", "odd", "high"])
def test_mirror_with_offset_is_einval(fault_vm: Vm, offset: int) -> None:
    """A mirrored address is the same for GPU and CPU: any cpu_addr_mirror_offset gives EINVAL."""
    with refused(errno.EINVAL):
        fault_vm.bind(MAP, addr=AT, range=PAGE, flags=MIRROR, obj_offset=offset)


@behaviour("bind.cam.map-only")
@acts("refusal")
@pytest.mark.parametrize(
    "op", [UNMAP, MAP_USERPTR, UNMAP_ALL, PREFETCH], ids=["unmap", "map-userptr", "unmap-all", "prefetch"]
)
def test_mirror_flag_is_only_for_map(fault_vm: Vm, op: int) -> None:
    """CPU_ADDR_MIRROR on any op other than MAP gives EINVAL."""
    with refused(errno.EINVAL):
        fault_vm.bind(op, addr=AT, range=PAGE, flags=MIRROR)


@behaviour("bind.cam.full-va", "query.config.has-cpu-addr-mirror")
@acts("ioctl", "query")
@needs("range-attributes", "cpu-addr-mirror")
def test_mirror_of_whole_va_is_bound(device: Device, fault_vm: Vm) -> None:
    """If CONFIG advertises mirrors, one MAP of [0, 1 << VA_BITS) succeeds, with or without CPU mappings."""
    assert device.config.has_cpu_addr_mirror
    fault_vm.mirror()
    (area,) = fault_vm.attributes(0, fault_vm.size)
    assert (area.start, area.end) == (0, fault_vm.size)


@behaviour("bind.cam.pat-ignored")
@acts("store")
@needs("xe2", "cpu-addr-mirror")
@pytest.mark.parametrize("index", [1, 2, 5, 22, 27])
def test_mirror_takes_any_coherent_pat(fault_vm: Vm, memory: Memory, sentinel: Sentinel, index: int) -> None:
    """A mirror can be bound with any coherent PAT index, and the GPU's store lands."""
    mirror_works(fault_vm, memory, sentinel, index)


@behaviour("bind.cam.coh-none-igpu")
@acts("ioctl")
@needs("xe2", "cpu-addr-mirror")
@pytest.mark.parametrize("index", [0, 3, 13])
def test_mirror_with_incoherent_pat_needs_vram(device: Device, fault_vm: Vm, index: int) -> None:
    """A mirror with an incoherent PAT index is accepted on a GPU with VRAM, and gives EINVAL without."""
    if device.config.has_vram:
        fault_vm.bind_and_wait(addr=AT, range=PAGE, flags=MIRROR, pat_index=index)
    else:
        with refused(errno.EINVAL):
            fault_vm.bind(addr=AT, range=PAGE, flags=MIRROR, pat_index=index)
        fault_vm.mirror(AT, PAGE)


@behaviour("bind.cam.no-population", "bind.cam.immediate-ignored", "obs.svm-pagefault-count")
@acts("fault", "store")
@needs("debugfs", "cpu-addr-mirror")
@pytest.mark.parametrize("flags", [0, IMMEDIATE], ids=["mirror", "immediate"])
def test_mirror_bind_populates_nothing(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters, flags: int
) -> None:
    """Binding a mirror maps no page, not even with IMMEDIATE: the first GPU access faults."""
    buffer = memory(SZ_2M, populate=False)
    device = fault_vm.device
    before_bind = [device.region(instance).used for instance in device.vram]
    fault_vm.mirror(flags=flags)
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
    # The whole address space is bound: a page table for each of its pages would take more than there is.
    after_bind = [device.region(instance).used for instance in device.vram]
    assert all(after - before < SZ_2M for before, after in zip(before_bind, after_bind, strict=True))
    queue, value = fault_vm.queue(), sentinel()
    queue.run(Batch().noop())
    before = counters.snapshot()
    queue.store(buffer.address, value)
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before)
    landed(buffer, 0, value)


@behaviour("bind.cam.over-bo")
@acts("store")
@needs("cpu-addr-mirror")
def test_mirror_replaces_bo(fault_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel) -> None:
    """A mirror bound over a BO takes its place: the GPU then reaches the process's memory."""
    buffer = memory(SZ_64K, align=SZ_64K)
    behind = bo(SZ_64K)
    content = behind.map()
    fault_vm.map(behind, buffer.address)
    fault_vm.mirror(buffer.address, buffer.size)
    value, kept = sentinel(), sentinel()
    content.set_u32(0, kept)
    fault_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    assert content.u32(0) == kept


@behaviour("bind.cam.bo-inside")
@acts("store")
def test_bo_inside_mirror_takes_its_own_addresses(
    mirror_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """A BO bound inside a mirror replaces it in the BO's range only."""
    buffer = memory(3 * SZ_64K, align=SZ_64K)
    inside = bo(SZ_64K)
    content = inside.map()
    mirror_vm.map(inside, buffer.address + SZ_64K)
    values = [sentinel() for _ in range(3)]
    kept = sentinel()
    buffer.set_u32(SZ_64K, kept)
    batch = Batch()
    for index, value in enumerate(values):
        batch.store_dword(buffer.address + index * SZ_64K, value)
    mirror_vm.queue().run(batch.end())
    landed(buffer, 0, values[0])
    landed(content, 0, values[1])
    landed(buffer, 2 * SZ_64K, values[2])
    assert buffer.u32(SZ_64K) == kept


@behaviour("bind.cam.unmap-active-busy")
@acts("refusal", "store")
def test_unmap_of_active_mirror_is_ebusy(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """UNMAP over memory that the GPU has mapped gives EBUSY, and the GPU can still use it."""
    buffer, queue = memory(PAGE), mirror_vm.queue()
    for offset in 0, 4:
        value = sentinel()
        queue.store(buffer.address + offset, value)
        landed(buffer, offset, value)
        with refused(errno.EBUSY):
            mirror_vm.bind(UNMAP, addr=buffer.address, range=PAGE)


@behaviour("bind.cam.bo-over-active-busy")
@acts("refusal", "store")
@pytest.mark.parametrize("kind", ["bo", "userptr", "null"])
def test_map_over_active_mirror_is_ebusy(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel, kind: str
) -> None:
    """A BO, userptr or NULL mapping over mirrored memory in use gives EBUSY, and the mirror still works."""
    size = SZ_64K
    buffer, other, queue = memory(size, align=size), memory(size), mirror_vm.queue()
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    fields: dict[str, Any] = {
        "bo": lambda: {"op": MAP, "obj": bo(size).handle},
        "userptr": lambda: {"op": MAP_USERPTR, "obj_offset": other.address},
        "null": lambda: {"op": MAP, "flags": NULL},
    }[kind]()
    with refused(errno.EBUSY):
        mirror_vm.bind(addr=buffer.address, range=size, **fields)
    value = sentinel()
    queue.store(buffer.address + 8, value)
    landed(buffer, 8, value)


@behaviour("bind.cam.unmap-idle-ok", "fault.no-gpu-vma")
@acts("refusal", "exec")
def test_unmap_of_idle_mirror_succeeds(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """UNMAP of mirrored memory that the GPU never used succeeds, and a GPU access then fails."""
    buffer = memory(SZ_2M, align=SZ_2M)
    kept = sentinel()
    buffer.set_u32(0, kept)
    queue = mirror_vm.queue()
    queue.run(Batch().noop())
    mirror_vm.unmap(buffer.address, buffer.size)
    with gpu_fault(queue):
        queue.store(buffer.address, sentinel())
    assert buffer.u32(0) == kept


@behaviour("bind.cam.unmap-after-munmap", "gc.flush-on-bind")
@acts("ioctl", "store")
def test_unmap_of_mirror_after_munmap_succeeds(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """After munmap an UNMAP of the VMA succeeds at once: VM_BIND first collects unmapped ranges."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    address, size = buffer.address, buffer.size
    buffer.munmap()
    mirror_vm.bind(UNMAP, addr=address, range=size)


@behaviour("bind.cam.partial-unmap-split")
@acts("store", "ioctl")
@needs("range-attributes")
def test_unmap_of_idle_middle_splits_mirror(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """UNMAP of an idle part leaves a mirror on both sides, and memory in use there stays mapped."""
    chunk = SZ_2M
    buffer, queue = memory(3 * chunk, align=chunk), mirror_vm.queue()
    for side in 0, 2 * chunk:
        value = sentinel()
        queue.store(buffer.address + side, value)
        landed(buffer, side, value)
    mirror_vm.unmap(buffer.address + chunk, chunk)
    areas = mirror_vm.attributes(buffer.address, buffer.size)
    assert [(area.start > buffer.address, area.end < buffer.end) for area in areas] == [
        (False, True),
        (True, False),
    ]
    assert areas[0].end == buffer.address + chunk
    assert areas[1].start == buffer.address + 2 * chunk
    for side in 0, 2 * chunk:
        value = sentinel()
        queue.store(buffer.address + side + 4, value)
        landed(buffer, side + 4, value)


@behaviour("bind.cam.partial-unmap-straddle")
@acts("refusal", "store")
@pytest.mark.parametrize("start", [-1, 0, 1], ids=["before", "at", "after"])
def test_unmap_overlapping_active_range_is_ebusy(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, start: int
) -> None:
    """UNMAP that overlaps a range in use gives EBUSY, however small the overlap."""
    chunk = SZ_64K
    buffer, queue = memory(3 * chunk, align=SZ_2M), mirror_vm.queue()
    middle = buffer.address + chunk
    value = sentinel()
    queue.store(middle, value)
    landed(buffer, chunk, value)
    with refused(errno.EBUSY):
        mirror_vm.bind(UNMAP, addr=middle + start * (chunk - PAGE), range=chunk)
    landed(buffer, chunk, value)


@behaviour("bind.cam.rebind-over-active")
@acts("store", "ioctl")
def test_rebind_of_active_mirror_succeeds(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A mirror over a whole default mirror succeeds while the GPU uses memory in it, and does not disturb it."""
    buffer, queue = memory(PAGE), mirror_vm.queue()
    for offset in 0, 4:
        value = sentinel()
        queue.store(buffer.address + offset, value)
        landed(buffer, offset, value)
        if not offset:
            mirror_vm.bind_and_wait(addr=buffer.address, range=PAGE, flags=MIRROR)


@behaviour("bind.cam.merge-neighbours")
@acts("ioctl")
@needs("range-attributes", "cpu-addr-mirror")
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 2, 1)], ids=["upwards", "downwards", "gap-last"])
def test_adjacent_default_mirrors_merge(fault_vm: Vm, order: tuple[int, ...]) -> None:
    """Adjacent mirrors with default attributes are one VMA in the attribute query."""
    size = SZ_2M
    for index in order:
        fault_vm.mirror(AT + index * size, size)
    (area,) = fault_vm.attributes(AT, len(order) * size)
    assert (area.start, area.end) == (AT, AT + len(order) * size)


@behaviour("bind.cam.rebind-resets-attrs")
@acts("ioctl")
@needs("range-attributes", "cpu-addr-mirror")
def test_rebind_of_mirror_resets_attributes(fault_vm: Vm) -> None:
    """A mirror over a VMA with attributes set resets them to the defaults."""
    size = SZ_2M
    fault_vm.mirror(AT, size)
    (default,) = fault_vm.attributes(AT, size)
    fault_vm.madvise(AT, size, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)
    (advised,) = fault_vm.attributes(AT, size)
    assert advised.atomic.val == xe.DRM_XE_ATOMIC_DEVICE
    fault_vm.mirror(AT, size)
    (after,) = fault_vm.attributes(AT, size)
    assert bytes(after) == bytes(default)


@behaviour("bind.cam.rebind-partial-nondefault-busy")
@acts("refusal", "store")
@needs("cpu-addr-mirror")
def test_rebind_of_part_of_advised_mirror_is_ebusy(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A mirror over part of a VMA with attributes set gives EBUSY while the GPU uses memory in it."""
    buffer = memory(SZ_2M, align=SZ_2M)
    fault_vm.mirror(buffer.address, buffer.size)
    fault_vm.madvise(buffer.address, buffer.size, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)
    value = sentinel()
    fault_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    with refused(errno.EBUSY):
        fault_vm.bind(MAP, addr=buffer.address, range=buffer.size // 2, flags=MIRROR)


@behaviour("bind.cam.readonly", "fault.gpu-readonly-write")
@acts("load", "refusal")
@needs("cpu-addr-mirror")
def test_readonly_mirror_can_be_read_not_written(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """Through a READONLY mirror the GPU can read, even memory that is read-only for the CPU, and cannot write."""
    buffer, value = memory(PAGE), sentinel()
    buffer.set_u32(0, value)
    buffer.mprotect(PROT_READ)
    fault_vm.mirror(buffer.address, buffer.size, flags=READONLY)
    gpu_sees(fault_vm.queue(), buffer.address, value)
    buffer.mprotect(READ_WRITE)
    with gpu_fault(fault_vm.queue()) as queue:
        queue.store(buffer.address, sentinel())
    assert buffer.u32(0) == value


@behaviour("bind.cam.flags-only-inside")
@acts("store")
@known(
    "A READONLY mirror makes its neighbours read-only",
    first="7.0",
    signature="EIO: DRM_IOCTL_XE_WAIT_USER_FENCE on fd #: Input/output error",
    acts=("ioctl",),
)
def test_readonly_mirror_leaves_neighbours_writable(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel
) -> None:
    """A READONLY mirror bound inside a default one is read-only in its own range only."""
    inside, outside, value = memory(PAGE), memory(PAGE), sentinel()
    mirror_vm.mirror(inside.address, inside.size, flags=READONLY)
    mirror_vm.queue().store(outside.address, value)
    landed(outside, 0, value)


@behaviour("bind.cam.ufence-not-attached")
@acts("ioctl")
@needs("cpu-addr-mirror")
def test_user_fence_of_mirror_does_not_make_it_busy(device: Device, fault_vm: Vm) -> None:
    """The user fence of a mirror bind is signalled, and an UNMAP right after the bind does not give EBUSY."""
    fence = UserFence(device)
    fault_vm.bind(MAP, addr=AT, range=SZ_2M, flags=MIRROR, syncs=[fence.sync()])
    fault_vm.bind(UNMAP, addr=AT, range=SZ_2M)
    fence.wait()


@behaviour("bind.cam.unmap-all-unaffected")
@acts("store", "ioctl")
@needs("range-attributes")
def test_unmap_all_of_bo_leaves_mirrors_alone(
    mirror_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """UNMAP_ALL of a BO inside a mirror removes its mappings and leaves memory in use elsewhere alone."""
    size = SZ_64K
    buffer, inside, queue = memory(size, align=size), bo(size), mirror_vm.queue()
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    hole = memory(size, align=size)
    mirror_vm.map(inside, hole.address)
    mirror_vm.bind(UNMAP_ALL, obj=inside.handle)
    value = sentinel()
    queue.store(buffer.address + 4, value)
    landed(buffer, 4, value)
    assert mirror_vm.attributes(hole.address, size) == []


@behaviour("bind.mirror-noncontiguous-cpu", "fault.any-pointer")
@acts("store")
def test_one_mirror_spans_many_cpu_vmas(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """One mirror covers heap, file, private, shared and widely separated mappings: the GPU stores into each."""
    heap = ctypes.create_string_buffer(16)
    buffers = [
        memory(PAGE),
        memory(PAGE, shared=True),
        memory(SZ_2M, align=SZ_2M),
        memory(3 * PAGE),
        memory(PAGE, kind=kinds.FILE_SHARED),
        memory(PAGE, kind=kinds.FILE_PRIVATE),
        Buffer(ctypes.addressof(heap) + 7 & ~7, 8),
    ]
    values = [sentinel() for _ in buffers]
    batch = Batch()
    for buffer, value in zip(buffers, values, strict=True):
        batch.store_dword(buffer.address + buffer.size - 4, value)
    mirror_vm.queue().run(batch.end())
    for buffer, value in zip(buffers, values, strict=True):
        landed(buffer, buffer.size - 4, value)
