# SPDX-License-Identifier: MIT
"""Migration of a range to VRAM is all or nothing (drm_pagemap.c, xe_svm.c)."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator

import pytest

from fixtures import acts, behaviour, driver_only, gpu_fault, gpu_sees, landed, needs
from fixtures.choices import chose
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, READ_WRITE, Buffer, numbered
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch

pytestmark = needs("page-faults", "vram", "svm-vram")


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@contextlib.contextmanager
def held(address: int) -> Iterator[None]:
    """The kernel holds the page at an address, because it lies in a pipe (vmsplice(2)): it cannot be moved."""
    reader, writer = os.pipe()
    try:
        vector = _Vector(address, PAGE)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.vmsplice(writer, ctypes.byref(vector), 1, 0) == PAGE, os.strerror(ctypes.get_errno())
        yield
    finally:
        os.close(writer)
        os.close(reader)


def marked(buffer: Buffer, sentinel: Sentinel) -> dict[int, int]:
    """``numbered``, with a value at the end of the buffer too."""
    return numbered(buffer, sentinel, (*range(0, buffer.size, SZ_64K), buffer.size - 4))


def everywhere(buffer: Buffer) -> set[bool]:
    """Whether its pages are in system memory: of all of them."""
    return {buffer.present(offset) for offset in range(0, buffer.size, PAGE)}


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of one chunk."""
    return memory(SZ_2M, align=SZ_2M)


each_place = pytest.mark.parametrize(
    "page", [0, SZ_2M // PAGE // 2, SZ_2M // PAGE - 1], ids=["first", "middle", "last"]
)


def stays_in_sysmem(queue: Queue, device: Device, buffer: Buffer, sentinel: Sentinel, page: int) -> None:
    """A chunk in which the kernel holds a page is used where it is, and nothing is lost."""
    values, before, stored = marked(buffer, sentinel), device.vram_used(), sentinel()
    with held(buffer.address + page * PAGE):
        for offset in (0, SZ_2M // 2, SZ_2M - 4):
            gpu_sees(queue, buffer.address + offset, values[offset])
        assert buffer.present(page * PAGE)
        with driver_only("migrate.all-or-nothing"):
            assert everywhere(buffer) == {True}
            assert device.vram_used() < before + SZ_2M  # page tables are there too
        queue.store(buffer.address + 8, stored)
        landed(buffer, 8, stored)
    assert {offset: buffer.u32(offset) for offset in values} == values


@behaviour("migrate.all-or-nothing", "migrate.pinned-page")
@acts("load", "store", "query")
@needs("device-pages")
@each_place
def test_one_pinned_page_keeps_chunk_in_sysmem(
    queue: Queue, device: Device, buffer: Buffer, sentinel: Sentinel, page: int
) -> None:
    """If one page of 2 MiB is pinned, none migrates to VRAM, and the GPU uses system memory."""
    stays_in_sysmem(queue, device, buffer, sentinel, page)


@behaviour("migrate.all-or-nothing", "migrate.pinned-page")
@acts("load", "store", "query")
@needs("device-pages")
@each_place
def test_one_pinned_small_page_keeps_chunk_in_sysmem(
    queue: Queue, device: Device, buffer: Buffer, sentinel: Sentinel, page: int
) -> None:
    """The same of 512 pages of 4 KiB: the 511 that could move, and are unmapped for it, stay with the pinned one."""
    buffer.madvise(mmap.MADV_NOHUGEPAGE)
    stays_in_sysmem(queue, device, buffer, sentinel, page)


@behaviour("migrate.pinned-page", "fault.atomic-three-tries")
@acts("store")
@needs("device-pages", "atomic")
def test_atomic_on_pinned_memory_faults(mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """A GPU atomic on pinned memory is done in place or fails; when the memory is released, one succeeds."""
    start, added = sentinel() >> 1, sentinel() >> 1
    buffer.set_u32(0, start)
    with held(buffer.address):
        queue = mirror_vm.queue()
        with driver_only("fault.atomic-three-tries"), gpu_fault(queue):
            queue.run(Batch().atomic(buffer.address, "add", added))
        assert buffer.present()
        start += 0 if queue.banned else added
        assert buffer.u32(0) == start
    mirror_vm.queue().run(Batch().atomic(buffer.address, "add", added))
    landed(buffer, 0, start + added)


@behaviour("migrate.vma-must-cover", "migrate.counter-counts-attempts", "obs.size-class-counters")
@acts("load", "store", "fault")
@needs("debugfs")
def test_range_over_two_cpu_vmas_does_not_migrate(
    queue: Queue, buffer: Buffer, sentinel: Sentinel, counters: Counters
) -> None:
    """A range whose memory was split into two CPU VMAs after its creation does not migrate; its data is correct."""
    queue.store(buffer.address, sentinel())
    values = marked(buffer, sentinel)  # by the CPU: the memory comes back, the range stays what it is
    buffer.madvise(mmap.MADV_DONTFORK, SZ_2M // 2, SZ_2M // 2)
    before = counters.snapshot()
    for offset in (0, SZ_2M // 2, SZ_2M - 4):
        gpu_sees(queue, buffer.address + offset, values[offset])
    with driver_only("obs.size-class-counters"):
        counters.rose("svm_2M_pagefault_count", since=before)
    assert everywhere(buffer) == {True}
    counted = counters.snapshot()["svm_2M_migrate_count"] - before["svm_2M_migrate_count"]
    chose(f"moves to VRAM that failed and were counted: {counted}")
    value = sentinel()
    queue.store(buffer.address + SZ_2M - PAGE, value)
    landed(buffer, SZ_2M - PAGE, value)


@behaviour("migrate.vma-must-cover")
@acts("load")
@pytest.mark.parametrize("offset", [0, SZ_2M // 2], ids=["first-half", "second-half"])
def test_range_half_replaced_by_mmap_follows_it(
    queue: Queue, buffer: Buffer, sentinel: Sentinel, offset: int
) -> None:
    """After mmap over half of a range, the GPU sees the new memory there and the old data next to it."""
    values = marked(buffer, sentinel)
    gpu_sees(queue, buffer.address, values[0])
    buffer.remap_fresh(offset, SZ_2M // 2)
    for at, value in values.items():
        new = offset <= at < offset + SZ_2M // 2
        gpu_sees(queue, buffer.address + at, 0 if new else value)


@behaviour("migrate.vma-must-cover")
@acts("refusal", "load")
def test_mprotect_of_memory_in_vram_takes_effect(mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """Memory in VRAM that becomes PROT_READ faults in a writable mirror; once writable again, its data is there."""
    values = marked(buffer, sentinel)
    gpu_sees(mirror_vm.queue(), buffer.address, values[0])
    buffer.mprotect(PROT_READ)
    with gpu_fault(mirror_vm.queue()) as queue:
        queue.store(buffer.address, sentinel())
    buffer.mprotect(READ_WRITE)
    for at, value in values.items():
        gpu_sees(mirror_vm.queue(), buffer.address + at, value)


@behaviour(
    "migrate.partly-own-pages", "migrate.retry-once-evict", "obs.size-class-counters", "cpu-fault.stats"
)
@acts("load", "migrate")
@needs("svm-counters", "cpu-addr-mirror")
@pytest.mark.parametrize(
    ("at", "populated"),
    [(at, populated) for populated in (True, False) for at in (0, SZ_2M // 2, SZ_2M - SZ_64K)],
    ids=["first", "middle", "last", "first-alone", "middle-alone", "last-alone"],
)
def test_chunk_partly_in_vram_keeps_its_data(
    make_vm: MakeVm, buffer: Buffer, sentinel: Sentinel, counters: Counters, at: int, populated: bool
) -> None:
    """If 64 KiB of 2 MiB are in VRAM already, all moves there with its data, and with zeros for pages without any.

    This driver evicts them once.
    """
    values = marked(buffer, sentinel)
    part, whole = make_vm(FAULTING), make_vm(FAULTING)
    part.mirror(buffer.address + at, SZ_64K)
    whole.mirror()
    gpu_sees(part.queue(), buffer.address + at, values[at])
    assert everywhere(buffer) == {False, True}
    if not populated:
        for start, end in ((0, at), (at + SZ_64K, SZ_2M)):
            if start < end:
                buffer.madvise(mmap.MADV_DONTNEED, start, end - start)
        values = {offset: value if at <= offset < at + SZ_64K else 0 for offset, value in values.items()}
    before, queue = counters.snapshot(), whole.queue()
    gpu_sees(queue, buffer.address, values[0])
    with driver_only("obs.size-class-counters"):
        counters.rose("svm_2M_migrate_count", since=before, by=1)
    with driver_only("cpu-fault.stats"):
        counters.rose("svm_cpu_copy_kb", since=before, by=SZ_64K >> 10)
    assert everywhere(buffer) == {False}
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    gpu_sees(part.queue(), buffer.address + at, values[at])
