# SPDX-License-Identifier: MIT
"""Attributes of unmapped memory: the garbage collector resets them if the bind has MADVISE_AUTORESET.

madvise(2) forgets its advice when memory is unmapped, and a program may want its MADVISE to do so too: new
memory that happens to get the address of old memory should not inherit what was good for the old. The uAPI promises it
for the part of the bind that was unmapped (xe_drm.h: DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET). The driver does it when it
collects the range (xe_svm.c: xe_svm_range_set_default_attr); its VMAs are split and merged for it.
"""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, driver_only, each_size, gpu_sees, known, landed, needs
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_2M
from fixtures.xe.flags import ATOMIC, AUTORESET, DEFAULT_DEVICE, PREFERRED_LOC
from fixtures.xe.vm import Vm
from ioctl import xe

SYSTEM = xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM


pytestmark = needs("page-faults", "range-attributes")


@pytest.fixture
def vm(memory: Memory, fault_vm: Vm) -> Vm:
    """A VM that mirrors everything, with MADVISE_AUTORESET. It is closed before the test's memory is unmapped."""
    fault_vm.mirror(flags=AUTORESET)
    return fault_vm


def atomic_at(vm: Vm, address: int) -> int:
    """The attribute ATOMIC of the page at an address."""
    (area,) = vm.attributes(address, PAGE)
    mode: int = area.atomic.val
    return mode


def collect(vm: Vm, elsewhere: Buffer) -> None:
    """Run the garbage collector: any MADVISE does. This one sets the current value."""
    vm.madvise(elsewhere.address, elsewhere.size, ATOMIC, val=xe.DRM_XE_ATOMIC_UNDEFINED)


@behaviour("gc.autoreset-runs-here", "madvise.autoreset.munmap")
@acts("store", "ioctl")
@needs("cpu-addr-mirror")
@each_size
def test_autoreset_after_munmap_restores_defaults(
    vm: Vm, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """After memory that the GPU used is unmapped and collected, its attributes are those of the bind."""
    buffer, elsewhere, value = memory(size, align=size), memory(SZ_2M, align=SZ_2M), sentinel()
    # The advice is for more than the memory: what is collected is a part of an area.
    vm.madvise(buffer.address - SZ_2M, 3 * SZ_2M, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    address = buffer.address
    assert atomic_at(vm, address) == xe.DRM_XE_ATOMIC_CPU
    buffer.munmap()
    collect(vm, elsewhere)
    assert atomic_at(vm, address) == xe.DRM_XE_ATOMIC_UNDEFINED
    assert atomic_at(vm, address + size - PAGE) == xe.DRM_XE_ATOMIC_UNDEFINED
    assert atomic_at(vm, address - PAGE) == xe.DRM_XE_ATOMIC_CPU
    assert atomic_at(vm, address + size) == xe.DRM_XE_ATOMIC_CPU


@behaviour("gc.autoreset-runs-here", "madvise.autoreset.munmap", "madvise.pat.default-kept")
@acts("store", "ioctl")
@each_size
@known(
    "An autoreset of a whole area warns, and loses the PAT index of the bind",
    first="7.0",
    signature="assert after.pat_index.val == before.pat_index.val: # == #",
    log="the kernel complained: *WARNING: * at xe_vm_alloc_vma*",
)
def test_autoreset_of_whole_vma_restores_pat(vm: Vm, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """After all memory of a VMA is unmapped and collected, it has the attributes and PAT index of the bind."""
    buffer, elsewhere, value = memory(size, align=size), memory(SZ_2M, align=SZ_2M), sentinel()
    (before,) = vm.attributes(buffer.address, size)
    vm.madvise(buffer.address, size, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    vm.madvise(buffer.end, PAGE, ATOMIC, val=xe.DRM_XE_ATOMIC_GLOBAL)  # no default area, from which to learn
    vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    address = buffer.address
    buffer.munmap()
    collect(vm, elsewhere)
    (after,) = vm.attributes(address, size)
    assert after.atomic.val == xe.DRM_XE_ATOMIC_UNDEFINED
    assert after.pat_index.val == before.pat_index.val


@behaviour("gc.autoreset-runs-here", "madvise.autoreset.without-flag")
@acts("store", "ioctl")
def test_attributes_stay_without_autoreset(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """Without MADVISE_AUTORESET the collector keeps the attributes: new memory has them."""
    buffer, elsewhere, value = memory(SZ_2M, align=SZ_2M), memory(SZ_2M, align=SZ_2M), sentinel()
    mirror_vm.madvise(buffer.address, SZ_2M, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    address = buffer.address
    buffer.munmap()
    collect(mirror_vm, elsewhere)
    again = memory(SZ_2M, address=address)
    assert atomic_at(mirror_vm, address) == xe.DRM_XE_ATOMIC_CPU
    value = sentinel()
    mirror_vm.queue().store(address, value)
    landed(again, 0, value)
    assert atomic_at(mirror_vm, address) == xe.DRM_XE_ATOMIC_CPU


@behaviour("gc.autoreset-runs-here")
@acts("store", "ioctl")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("gone", range(3), ids=["first", "middle", "last"])
def test_autoreset_keeps_attributes_of_neighbours(
    vm: Vm, memory: Memory, sentinel: Sentinel, gone: int
) -> None:
    """If one of three ranges of a VMA is unmapped, only its attributes are reset."""
    buffer, elsewhere = memory(3 * SZ_2M, align=SZ_2M), memory(SZ_2M, align=SZ_2M)
    vm.madvise(buffer.address, buffer.size, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    queue = vm.queue()
    for offset in range(0, buffer.size, SZ_2M):
        value = sentinel()
        queue.store(buffer.address + offset, value)
        landed(buffer, offset, value)
    places = [buffer.address + offset for offset in range(0, buffer.size, SZ_2M)]
    buffer.munmap(gone * SZ_2M, SZ_2M)
    collect(vm, elsewhere)
    expected = [xe.DRM_XE_ATOMIC_CPU] * 3
    expected[gone] = xe.DRM_XE_ATOMIC_UNDEFINED
    assert [atomic_at(vm, place) for place in places] == expected
    assert [atomic_at(vm, place + SZ_2M - PAGE) for place in places] == expected


@behaviour("gc.autoreset-runs-here", "gc.flush-on-madvise")
@acts("store", "ioctl")
@needs("cpu-addr-mirror")
def test_madvise_after_munmap_is_not_reset(vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """MADVISE right after munmap applies to new memory: the pending reset happens before it, not after."""
    buffer, elsewhere, value = memory(SZ_2M, align=SZ_2M), memory(SZ_2M, align=SZ_2M), sentinel()
    vm.madvise(buffer.address - SZ_2M, 3 * SZ_2M, PREFERRED_LOC, devmem_fd=SYSTEM & 0xFFFF_FFFF)
    vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    address = buffer.address
    buffer.munmap()
    vm.madvise(address, SZ_2M, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    collect(vm, elsewhere)
    (area,) = vm.attributes(address, SZ_2M)
    with driver_only("gc.flush-on-madvise"):
        assert area.atomic.val == xe.DRM_XE_ATOMIC_CPU
    assert area.preferred_mem_loc.devmem_fd == DEFAULT_DEVICE


@behaviour("gc.autoreset-merge")
@acts("store", "ioctl")
@needs("cpu-addr-mirror")
def test_reset_vma_merges_with_default_neighbour(vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """After part of a VMA is reset, that part and the adjacent default VMA are merged in the query."""
    buffer, elsewhere, value = memory(2 * SZ_2M, align=SZ_2M), memory(SZ_2M, align=SZ_2M), sentinel()
    vm.madvise(buffer.address, buffer.size, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    around = buffer.address - SZ_2M, 3 * SZ_2M
    assert next(area.end for area in vm.attributes(*around)) == buffer.address
    buffer.munmap(0, SZ_2M)
    collect(vm, elsewhere)
    assert next(area.end for area in vm.attributes(*around)) == buffer.address + SZ_2M


@behaviour("gc.vma-changed-during-fault", "gc.on-fault")
@acts("load", "store")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("gone", range(3), ids=["first", "middle", "last"])
def test_fault_survives_vma_split_by_autoreset(vm: Vm, memory: Memory, sentinel: Sentinel, gone: int) -> None:
    """A GPU fault in new memory, right after munmap of the old, succeeds although the reset splits its VMA."""
    buffer = memory(3 * SZ_2M, align=SZ_2M)
    vm.madvise(buffer.address, buffer.size, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    queue = vm.queue()
    for offset in range(0, buffer.size, SZ_2M):
        queue.store(buffer.address + offset, sentinel())
    again, value = memory_over(memory, buffer, gone * SZ_2M), sentinel()
    again.set_u32(8, value)
    gpu_sees(queue, again.address + 8, value)
    value = sentinel()
    queue.store(again.address, value)
    landed(again, 0, value)
    assert atomic_at(vm, again.address) == xe.DRM_XE_ATOMIC_UNDEFINED


def memory_over(memory: Memory, buffer: Buffer, offset: int) -> Buffer:
    """New memory of one chunk at the address of ``buffer``."""
    buffer.munmap(offset, SZ_2M)
    made: Buffer = memory(SZ_2M, address=buffer.address + offset)
    return made


@behaviour("gc.vma-changed-during-fault")
@acts("load", "ioctl")
@needs("cpu-addr-mirror")
def test_fault_survives_vma_merge_by_autoreset(vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A GPU fault in a VMA succeeds although the pending reset of the adjacent VMA merges both."""
    buffer = memory(2 * SZ_2M, align=SZ_2M)
    vm.madvise(buffer.address - SZ_2M, 2 * SZ_2M, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU)
    queue, value = vm.queue(), sentinel()
    queue.store(buffer.address, sentinel())
    address = buffer.address
    buffer.munmap(0, SZ_2M)
    buffer.set_u32(SZ_2M, value)
    gpu_sees(queue, buffer.address + SZ_2M, value)
    assert atomic_at(vm, address) == xe.DRM_XE_ATOMIC_UNDEFINED
