# SPDX-License-Identifier: MIT
"""Garbage collection of SVM ranges of memory that the process unmapped.

munmap(2) zaps the memory's GPU mappings before it returns (see suites/notifier). Range, page tables and VRAM are freed
later, by a work item, as the notifier may not take the locks for that. So for some time there is a range of memory that
no longer exists. These tests check that no program can notice:

* everything that uses ranges collects first: VM_BIND, MADVISE, a GPU fault;
* without any of them the collector runs by itself, and frees VRAM;
* the mirror stays: memory mapped later at the address is used without a new bind;
* a range is removed as a whole, but only the unmapped memory is lost.

(xe_svm.c: xe_svm_garbage_collector; drm_gpusvm.c: DOC Partial Unmapping)
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from fixtures import acts, behaviour, each_size, gpu_finds, gpu_sees, landed, needs, refused, wait_until
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, READ_WRITE, Buffer
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC, UNMAP
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from ioctl import xe

pytestmark = needs("page-faults")


# Everything that uses ranges collects first


@behaviour("gc.flush-on-bind", "bind.cam.unmap-after-munmap")
@acts("refusal", "ioctl", "store")
@each_size
def test_vm_bind_right_after_munmap_finds_no_range(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """UNMAP of mirrored memory gives EBUSY while the GPU uses it, and succeeds right after munmap."""
    buffer, value = memory(size, align=size), sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    with refused(errno.EBUSY):
        mirror_vm.bind(UNMAP, addr=buffer.address, range=size)
    address = buffer.address
    buffer.munmap()
    mirror_vm.bind(UNMAP, addr=address, range=size)


@behaviour("gc.flush-on-bind")
@acts("refusal", "ioctl", "store")
def test_bo_bind_right_after_munmap_succeeds(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """A BO can be bound over mirrored memory right after its munmap, and the GPU then uses the BO."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    queue = mirror_vm.queue()
    queue.store(buffer.address, sentinel())
    made = bo(SZ_2M)
    with refused(errno.EBUSY):
        mirror_vm.bind(addr=buffer.address, range=SZ_2M, obj=made.handle)
    address = buffer.address
    buffer.munmap()
    mirror_vm.map(made, address)
    queue.store(address, value)
    landed(made.map(), 0, value)


@behaviour("gc.flush-on-madvise")
@acts("store", "ioctl")
@needs("range-attributes")
@each_size
def test_madvise_right_after_munmap_takes_effect(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """MADVISE of a VMA right after munmap of memory in use there succeeds and takes effect."""
    buffer, value = memory(size, align=size), sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    address = buffer.address
    buffer.munmap()
    mirror_vm.madvise(address, size, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    (area,) = mirror_vm.attributes(address, size)
    assert (area.start, area.end, area.atomic.val) == (address, address + size, xe.DRM_XE_ATOMIC_CPU)


@behaviour("gc.on-fault", "gc.replaces-range-with-mirror")
@acts("load", "store")
@each_size
def test_fault_after_munmap_uses_new_memory(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """After munmap and a different mmap at the same address the GPU uses the new memory, without a new bind."""
    buffer = memory(size, align=size)
    queue.store(buffer.address, sentinel())
    address = buffer.address
    buffer.munmap()
    memory(size, align=size, fill=b"\x99")  # the kernel hands the pages out again
    again, value = memory(size, address=address), sentinel()
    again.set_u32(8, value)
    gpu_finds(queue, {address: 0, address + 8: value})
    value = sentinel()
    queue.store(address, value)
    landed(again, 0, value)


# After garbage collection


def smaller(address: int, memory: Memory) -> Buffer:
    """4 KiB where 2 MiB were."""
    return memory(PAGE, address=address)


def two_parts(address: int, memory: Memory) -> Buffer:
    """Two mappings, of which one may not be written."""
    memory(SZ_2M // 2, address=address + SZ_2M // 2, protection=PROT_READ)
    return memory(SZ_2M // 2, address=address)


def shared(address: int, memory: Memory) -> Buffer:
    """Memory that cannot go to VRAM."""
    return memory(SZ_2M, address=address, shared=True)


@behaviour("gc.replaces-range-with-mirror", "gc.on-fault")
@acts("store")
@pytest.mark.parametrize("then", [smaller, two_parts, shared], ids=lambda then: then.__name__)
def test_remapped_memory_gets_ranges_of_other_size(
    queue: Queue, memory: Memory, sentinel: Sentinel, then: Callable[[int, Memory], Buffer]
) -> None:
    """After a 2 MiB range is unmapped, memory of any other size or kind can be mapped and used."""
    buffer = memory(SZ_2M, align=SZ_2M)
    queue.store(buffer.address, sentinel())
    address = buffer.address
    buffer.munmap()
    again, value = then(address, memory), sentinel()
    queue.store(address, value)
    landed(again, 0, value)


@behaviour("gc.repeat-cycles")
@acts("store")
@each_size
def test_map_store_unmap_repeatedly(queue: Queue, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """Many rounds of mmap, GPU store and munmap at one address all succeed."""
    buffer = memory(size, align=size)
    for _ in range(16):
        value = sentinel()
        queue.store(buffer.address, value)
        landed(buffer, 0, value)
        queue.store(buffer.address, sentinel())  # the GPU uses the memory that goes
        buffer.remap_fresh()


# The collector comes by itself


@behaviour("gc.async")
@acts("ioctl", "load")
@needs("vram", "svm-vram")
def test_vram_is_freed_after_munmap(queue: Queue, device: Device, memory: Memory, sentinel: Sentinel) -> None:
    """After munmap of memory in VRAM, the VRAM is freed soon, without any further call."""
    instance = device.vram[0]
    buffer = memory(8 * SZ_2M, align=SZ_2M)
    before = device.region(instance).used
    values = {buffer.address + offset: sentinel() for offset in range(0, buffer.size, SZ_2M)}
    queue.store_all(values)
    gpu_finds(queue, values)
    assert device.region(instance).used >= before + buffer.size - SZ_2M
    buffer.munmap()
    wait_until(lambda: device.region(instance).used <= before + SZ_2M, what="the release of VRAM")


@behaviour("gc.repeat-cycles", "gc.async")
@acts("ioctl", "load")
@needs("vram")
def test_map_store_unmap_cycles_leak_no_vram(
    queue: Queue, device: Device, memory: Memory, sentinel: Sentinel
) -> None:
    """Many rounds of mmap, GPU store and munmap, each through VRAM, leak no VRAM."""
    instance = device.vram[0]
    queue.store(memory(PAGE).address, sentinel())
    before = device.region(instance).used
    for _ in range(8):
        buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
        queue.store(buffer.address, value)
        gpu_sees(queue, buffer.address, value)
        buffer.munmap()
    wait_until(lambda: device.region(instance).used <= before, what="the release of VRAM")


# A range goes as a whole, its memory does not


@behaviour("gc.partial-evict", "invalidate.partial-munmap-keeps-rest")
@acts("load", "store")
@pytest.mark.parametrize(
    ("gone", "size"),
    [(0, PAGE), (0, SZ_2M // 2), (SZ_2M // 2, SZ_2M // 2), (SZ_2M - PAGE, PAGE), (SZ_2M // 4, SZ_2M // 2)],
    ids=["first-page", "first-half", "second-half", "last-page", "middle"],
)
def test_partial_munmap_of_range_keeps_rest(
    queue: Queue, memory: Memory, sentinel: Sentinel, gone: int, size: int
) -> None:
    """After munmap of part of a range the range is collected, and the rest keeps its data, for GPU and CPU."""
    buffer = memory(SZ_2M, align=SZ_2M)
    kept = [offset for offset in range(0, SZ_2M, SZ_2M // 8) if not gone <= offset < gone + size]
    values = {buffer.address + offset + 16: sentinel() for offset in kept}
    queue.store_all(values)
    buffer.munmap(gone, size)
    gpu_finds(queue, values)
    for offset in kept:
        landed(buffer, offset + 16, values[buffer.address + offset + 16])


@behaviour("gc.partial-evict")
@acts("store", "load")
def test_munmap_of_range_in_steps_keeps_rest(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """Memory that is unmapped in eight steps is usable by the GPU until each part is unmapped."""
    step = SZ_2M // 8
    buffer = memory(SZ_2M, align=SZ_2M)
    values = {buffer.address + offset: sentinel() for offset in range(0, SZ_2M, step)}
    queue.store_all(values)
    while values:
        first = min(values)
        gpu_finds(queue, values)
        landed(buffer, first - buffer.address, values.pop(first))
        buffer.munmap(first - buffer.address, step)


@behaviour("gc.partial-evict", "gc.replaces-range-with-mirror")
@acts("store", "load")
def test_filled_hole_in_range_is_used_with_rest(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """New memory in the hole of a partially unmapped range is usable, and the rest keeps its data."""
    buffer = memory(SZ_2M, align=SZ_2M)
    values = {buffer.address + offset: sentinel() for offset in (0, SZ_2M - PAGE)}
    queue.store_all(values)
    buffer.munmap(SZ_2M // 2, PAGE)
    filled = memory(PAGE, address=buffer.address + SZ_2M // 2)
    gpu_finds(queue, values | {filled.address: 0})
    value = sentinel()
    queue.store(filled.address, value)
    landed(filled, 0, value)
    gpu_finds(queue, values)


@behaviour("gc.on-fault")
@acts("store", "load")
def test_mprotect_of_part_of_range_keeps_data(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """mprotect(2) to read-only and back is not an unmap: no data is lost."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    queue.store(buffer.address + PAGE, value)
    buffer.mprotect(PROT_READ, PAGE, PAGE)
    buffer.mprotect(READ_WRITE, PAGE, PAGE)
    gpu_sees(queue, buffer.address + PAGE, value)
    landed(buffer, PAGE, value)
