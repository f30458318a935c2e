# SPDX-License-Identifier: MIT
"""MADVISE PREFERRED_LOC of mirrored memory, and what a change of attributes does to GPU mappings."""

from __future__ import annotations

from typing import Protocol

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs
from fixtures.choices import chose
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_2M
from fixtures.xe.counters import Counters
from fixtures.xe.flags import ATOMIC, PAT, PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

MASK = 0xFFFF_FFFF

pytestmark = needs("page-faults", "range-attributes", "cpu-addr-mirror")


def prefer(vm: Vm, buffer: Buffer, place: str) -> None:
    """MADVISE: the memory is to be in system memory, or in the VRAM of the tile that faults."""
    fd = {"system": xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM, "device": xe.DRM_XE_PREFERRED_LOC_DEFAULT_DEVICE}[
        place
    ]
    vm.madvise(buffer.address, buffer.size, PREFERRED_LOC, devmem_fd=fd & MASK)


def in_system(buffer: Buffer) -> set[bool]:
    """Whether pages are in system memory: of all pages of the buffer."""
    return {buffer.present(offset) for offset in range(0, buffer.size, PAGE)}


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Two chunks of memory, all of it written by the CPU."""
    made = memory(2 * SZ_2M, align=SZ_2M)
    made.fill(b"\x5a")
    return made


PLACES = [0, PAGE, SZ_2M - 4, SZ_2M, 2 * SZ_2M - 4]
"""Offsets: the first and the last of both chunks."""


def gpu_uses(queue: Queue, buffer: Buffer, sentinel: Sentinel) -> None:
    """The GPU reads what the CPU stored, and its stores land. Leaves the memory where the GPU has put it."""
    values = {offset: sentinel() for offset in PLACES}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)


@behaviour("madvise.pref.system")
@acts("load", "store")
@needs("vram", "svm-vram")
def test_memory_stays_where_system_is_preferred(mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """With devmem_fd -1 GPU accesses leave all pages in system memory, and stores land there."""
    prefer(mirror_vm, buffer, "system")
    queue = mirror_vm.queue()
    gpu_uses(queue, buffer, sentinel)
    assert in_system(buffer) == {True}
    for offset in PLACES:
        value = sentinel()
        queue.store(buffer.address + offset, value)
        landed(buffer, offset, value)


@behaviour("madvise.pref.system")
@acts("load", "store")
@needs("vram", "svm-vram")
def test_vram_pages_keep_data_when_system_preferred(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel
) -> None:
    """Memory in VRAM keeps its data when devmem_fd becomes -1; after a CPU access it stays in system memory."""
    queue = mirror_vm.queue()
    gpu_uses(queue, buffer, sentinel)
    assert in_system(buffer) == {False}
    values = {offset: queue.load(buffer.address + offset) for offset in PLACES}
    prefer(mirror_vm, buffer, "system")
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    # Pages that were collected in VRAM are still valid for drm_gpusvm_get_pages (7.3), which takes them again.
    chose(f"memory in VRAM at the next GPU fault: {'comes back' if in_system(buffer) == {True} else 'stays'}")
    for offset, value in values.items():
        landed(buffer, offset, value)
    for page in range(0, buffer.size, PAGE):
        buffer.u32(page)
    gpu_uses(queue, buffer, sentinel)
    assert in_system(buffer) == {True}


@behaviour("madvise.pref.device")
@acts("load", "store")
@needs("vram", "svm-vram")
@pytest.mark.parametrize("before", ["initial", "system"])
def test_memory_moves_where_the_device_is_preferred(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel, before: str
) -> None:
    """With devmem_fd 0, which is also the default, GPU accesses migrate all pages of a range to VRAM."""
    if before == "system":
        prefer(mirror_vm, buffer, "system")
        gpu_uses(mirror_vm.queue(), buffer, sentinel)
        assert in_system(buffer) == {True}
        prefer(mirror_vm, buffer, "device")
    queue = mirror_vm.queue()
    gpu_uses(queue, buffer, sentinel)
    assert in_system(buffer) == {False}
    value = sentinel()
    queue.store(buffer.address + SZ_2M, value)
    landed(buffer, SZ_2M, value)


class Advise(Protocol):
    """MADVISE with another value, or with that which the memory has."""

    def __call__(self, vm: Vm, buffer: Buffer, *, changes: bool) -> None: ...


def _location(vm: Vm, buffer: Buffer, *, changes: bool) -> None:
    vm.madvise(buffer.address, buffer.size, PREFERRED_LOC, devmem_fd=-1 & MASK if changes else 0)


def _atomic(vm: Vm, buffer: Buffer, *, changes: bool) -> None:
    vm.madvise(buffer.address, buffer.size, ATOMIC, val=xe.DRM_XE_ATOMIC_CPU if changes else 0)


def _pat(vm: Vm, buffer: Buffer, *, changes: bool) -> None:
    bound, other, *_ = vm.device.coherent_pats
    vm.madvise(buffer.address, buffer.size, PAT, val=other if changes else bound)


KINDS = pytest.mark.parametrize("advise", [_location, _atomic, _pat], ids=["location", "atomic", "pat"])


@behaviour("madvise.change-invalidates")
@acts("load", "fault")
@needs("debugfs", "svm-counters")
@KINDS
def test_changed_value_makes_the_next_access_fault(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel, counters: Counters, advise: Advise
) -> None:
    """After MADVISE changed a value the next GPU access to each range faults, and the data is intact."""
    queue = mirror_vm.queue()
    gpu_uses(queue, buffer, sentinel)
    values = {offset: queue.load(buffer.address + offset) for offset in PLACES}
    advise(mirror_vm, buffer, changes=True)
    for chunk in (0, SZ_2M):
        before = counters.snapshot()
        gpu_sees(queue, buffer.address + chunk, values[chunk])
        counters.rose("svm_pagefault_count", since=before)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)


@behaviour("madvise.same-value-no-inval")
@acts("load")
@needs("debugfs", "svm-counters")
@KINDS
def test_unchanged_value_makes_no_fault(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel, counters: Counters, advise: Advise
) -> None:
    """MADVISE with unchanged values causes no GPU fault."""
    queue = mirror_vm.queue()
    queue.run(Batch().noop())
    gpu_uses(queue, buffer, sentinel)
    values = {offset: queue.load(buffer.address + offset) for offset in PLACES}
    # The first MADVISE cuts the area, which may take a range down; from then on there is nothing to do.
    advise(mirror_vm, buffer, changes=False)
    gpu_uses(queue, buffer, sentinel)
    values = {offset: queue.load(buffer.address + offset) for offset in PLACES}
    before = counters.snapshot()
    advise(mirror_vm, buffer, changes=False)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    counters.still("svm_pagefault_count", since=before)
