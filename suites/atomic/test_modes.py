# SPDX-License-Identifier: MIT
"""GPU atomics in each atomic mode: where the memory has to be, and whether they work."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from fixtures import (
    acts,
    behaviour,
    driver_only,
    gpu_fault,
    gpu_sees,
    landed,
    needs,
    refused,
    untested,
    wait_until,
)
from fixtures.choices import chose
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.overlap import meanwhile
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.counters import DEBUGFS, Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import ATOMIC, ATOMIC_MODES, DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.queue import Queue, QueueError
from fixtures.xe.sync import SECOND
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe

MASK = 0xFFFF_FFFF
AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""


pytestmark = needs("page-faults", "atomic")


def advise(vm: Vm, buffer: Buffer, mode: str) -> None:
    """Advice about atomics on the memory."""
    vm.madvise(buffer.address, buffer.size, ATOMIC, val=ATOMIC_MODES[mode])


def prefer_system(vm: Vm, buffer: Buffer) -> None:
    """Advice: the memory is to stay in system memory."""
    vm.madvise(
        buffer.address,
        buffer.size,
        PREFERRED_LOC,
        devmem_fd=DEFAULT_SYSTEM,
        migration_policy=xe.DRM_XE_MIGRATE_ALL_PAGES,
    )


def add(queue: Queue, address: int, number: int) -> None:
    """The GPU adds to 32 bits, atomically."""
    queue.run(Batch().atomic(address, "add", number))


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of one chunk."""
    return memory(SZ_2M, align=SZ_2M)


@behaviour("atomic.global-dgpu", "atomic.global-to-vram")
@acts("store")
@needs("vram")
def test_global_atomic_migrates_then_cpu_adds(mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """With mode GLOBAL GPU atomics work, with this driver in VRAM against other advice; then CPU atomics add to it."""
    total = sentinel()
    buffer.set_u32(PAGE, total)
    prefer_system(mirror_vm, buffer)
    advise(mirror_vm, buffer, "global")
    queue = mirror_vm.queue()
    for _ in range(4):
        added = sentinel()
        add(queue, buffer.address + PAGE, added)
        with driver_only("atomic.global-to-vram"):
            assert not buffer.present(PAGE)
        total = (total + added) & MASK
        landed(buffer, PAGE, total)
        total = total + 1 & MASK
        buffer.set_u32(PAGE, total)


@behaviour("atomic.device-smem")
@acts("store")
@needs("vram")
def test_device_atomic_in_sysmem_is_right(mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """In mode DEVICE a GPU atomic on memory that prefers system memory is correct, wherever it is executed."""
    start, added = sentinel(), sentinel()
    buffer.set_u32(PAGE, start)
    prefer_system(mirror_vm, buffer)
    advise(mirror_vm, buffer, "device")
    add(mirror_vm.queue(), buffer.address + PAGE, added)
    chose(
        f"an atomic of mode DEVICE, system memory preferred: in {'system memory' if buffer.present(PAGE) else 'VRAM'}"
    )
    landed(buffer, PAGE, (start + added) & MASK)


@behaviour("atomic.device-no-smem")
@acts("store")
@needs("vram", "pvc")
def test_device_atomic_migrates_without_bus_atomics(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel
) -> None:
    """On a device without atomics on system memory, mode DEVICE moves memory to VRAM despite its preferred location."""
    start, added = sentinel(), sentinel()
    buffer.set_u32(PAGE, start)
    prefer_system(mirror_vm, buffer)
    advise(mirror_vm, buffer, "device")
    add(mirror_vm.queue(), buffer.address + PAGE, added)
    assert not buffer.present(PAGE)
    landed(buffer, PAGE, (start + added) & MASK)


@behaviour("atomic.cpu-mode")
@acts("refusal", "store", "load")
@needs("vram")
def test_gpu_atomic_in_cpu_mode_faults(mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """In mode CPU a GPU atomic fails and changes nothing; loads and stores work."""
    start, value = sentinel(), sentinel()
    buffer.set_u32(PAGE, start)
    advise(mirror_vm, buffer, "cpu")
    queue = mirror_vm.queue()
    gpu_sees(queue, buffer.address + PAGE, start)
    queue.store(buffer.address + 8, value)
    with gpu_fault(queue):
        add(queue, buffer.address + PAGE, sentinel())
    landed(buffer, 8, value)
    assert buffer.u32(PAGE) == start
    gpu_sees(mirror_vm.queue(), buffer.address + PAGE, start)


@behaviour("atomic.cpu-mode-igpu")
@acts("load")
@needs("integrated")
def test_cpu_mode_atomic_on_integrated_gpu(mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel) -> None:
    """On an integrated GPU an atomic in mode CPU works or fails; either way other access works."""
    start, added = sentinel(), sentinel()
    buffer.set_u32(PAGE, start)
    advise(mirror_vm, buffer, "cpu")
    gpu_sees(mirror_vm.queue(), buffer.address + PAGE, start)
    batch = Batch().atomic(buffer.address + PAGE, "add", added)
    try:
        mirror_vm.queue().run(batch, deadline=SECOND // 5)
    except QueueError as error:
        chose(f"atomics of mode CPU fail with {errno.errorcode.get(error.errno or 0)}")
        expected = start
    else:
        chose("atomics of mode CPU work")
        expected = (start + added) & MASK
    assert buffer.u32(PAGE) == expected
    gpu_sees(mirror_vm.queue(), buffer.address + PAGE, expected)


@behaviour("atomic.igpu", "obs.svm-pagefault-count")
@acts("store")
@needs("integrated", "debugfs")
@pytest.mark.parametrize("mode", ["undefined", "device", "global"])
def test_integrated_gpu_atomics_are_in_place(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel, counters: Counters, mode: str
) -> None:
    """On an integrated GPU atomics work in place, in every mode but CPU; once mapped they do not fault."""
    start, added = sentinel(), sentinel()
    buffer.set_u32(PAGE, start)
    advise(mirror_vm, buffer, mode)
    queue = mirror_vm.queue()
    gpu_sees(queue, buffer.address + PAGE, start)
    before = counters.snapshot()
    add(queue, buffer.address + PAGE, added)
    with driver_only("obs.svm-pagefault-count"):
        counters.still("svm_pagefault_count", since=before)
    assert buffer.present(PAGE)
    landed(buffer, PAGE, (start + added) & MASK)


def immovable(memory: Memory, kind: str) -> Buffer:
    """Memory that cannot move to VRAM: shared, of a file or without one."""
    if kind == "shared":
        return memory(SZ_2M, align=SZ_2M, shared=True)
    fd = os.memfd_create("svm-cts")
    try:
        os.ftruncate(fd, SZ_2M)
        return memory(SZ_2M, align=SZ_2M, shared=True, fd=fd)
    finally:
        os.close(fd)


@behaviour("atomic.nonmigratable")
@acts("refusal", "load", "store")
@needs("vram")
@pytest.mark.parametrize("kind", ["shared", "file"])
def test_atomic_on_nonmigratable_memory_faults(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, kind: str
) -> None:
    """A GPU atomic in default mode on shared or file memory fails and changes nothing; other access works."""
    buffer, start, value = immovable(memory, kind), sentinel(), sentinel()
    buffer.set_u32(PAGE, start)
    queue = mirror_vm.queue()
    gpu_sees(queue, buffer.address + PAGE, start)
    with gpu_fault(queue):
        add(queue, buffer.address + PAGE, sentinel())
    mirror_vm.queue().store(buffer.address + 8, value)
    landed(buffer, 8, value)
    assert buffer.u32(PAGE) == start


@acts("refusal")
@needs("vram")
@pytest.mark.parametrize(
    "why",
    [
        pytest.param("shared", marks=behaviour("atomic.nonmigratable")),
        pytest.param("file", marks=behaviour("atomic.nonmigratable")),
        pytest.param("cpu", marks=behaviour("atomic.cpu-mode", "vm.getprop.only-failed-faults")),
    ],
)
def test_failed_atomic_is_in_vm_fault_list(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, why: str
) -> None:
    """A failed atomic is reported once in the fault list, with its address and the atomic access type."""
    if why == "cpu":
        buffer = memory(SZ_2M, align=SZ_2M)
        advise(mirror_vm, buffer, "cpu")
    else:
        buffer = immovable(memory, why)
    queue = mirror_vm.queue()
    gpu_sees(queue, buffer.address + PAGE, 0)
    with gpu_fault(queue):
        add(queue, buffer.address + PAGE, sentinel())
    (fault,) = wait_until(mirror_vm.faults, what="the entry of the fault")
    assert fault.address & ~(PAGE - 1) == buffer.address + PAGE
    assert fault.access_type == xe.FAULT_ACCESS_TYPE_ATOMIC


@behaviour("atomic.bo")
@acts("store", "query")
@needs("vram")
def test_atomic_on_sysmem_bo_moves_it_to_vram(
    make_vm: MakeVm, device: Device, bo: MakeBo, sentinel: Sentinel
) -> None:
    """In fault mode a GPU atomic on a BO that is in system memory and may be in VRAM moves it to VRAM."""
    region, vm = device.vram[0], make_vm(FAULTING)
    free, made = device.region(region).used, bo(SZ_2M, placement=SYSTEM | 1 << region)
    mapped, start, added = made.map(), sentinel(), sentinel()
    queue = vm.queue()
    vm.map(made, AT)
    vm.prefetch(AT, SZ_2M, 0)
    mapped.set_u32(PAGE, start)
    gpu_sees(queue, AT + PAGE, start)
    assert device.region(region).used < free + SZ_2M
    add(queue, AT + PAGE, added)
    assert device.region(region).used > free + SZ_2M // 2
    landed(mapped, PAGE, (start + added) & MASK)


@behaviour("atomic.cpu-gpu-counter", "atomic.livelock-free", "atomic.timeslice-doubles")
@acts("store", "overlap")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("mode", ["undefined", "global"])
def test_gpu_atomics_progress_while_cpu_touches_page(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel, mode: str
) -> None:
    """While CPU threads load and store next to the number, each GPU addition is done or fails: what was done counts."""
    start, added, rounds = sentinel(), sentinel(), 8
    buffer.set_u32(PAGE, start)
    advise(mirror_vm, buffer, mode)
    queue, touched, done = mirror_vm.queue(), [0, 0], 0

    def touch(number: int) -> None:
        touched[number] += 1
        buffer.set_u32(PAGE + 8 + 4 * number, touched[number])
        assert buffer.u32(PAGE + 8 + 4 * number) == touched[number]
        os.sched_yield()  # on a machine of two processors the thread that serves the fault needs one

    with meanwhile(lambda _: touch(0), lambda _: touch(1)):
        for _ in range(rounds):
            try:
                add(queue, buffer.address + PAGE, added)
                done += 1
            except QueueError:
                queue = mirror_vm.queue()
    with driver_only("atomic.timeslice-doubles"):
        assert done == rounds
    landed(buffer, PAGE, (start + done * added) & MASK)
    assert [buffer.u32(PAGE + 8), buffer.u32(PAGE + 12)] == touched


@behaviour("atomic.mode-change-invalidates", "obs.svm-pagefault-count")
@acts("fault", "store", "refusal")
@needs("vram", "debugfs")
def test_atomic_mode_change_invalidates_range(
    mirror_vm: Vm, buffer: Buffer, sentinel: Sentinel, counters: Counters
) -> None:
    """Changing the atomic mode unmaps the memory from the GPU: the next access faults and follows the new mode."""
    total, queue = sentinel(), mirror_vm.queue()
    buffer.set_u32(PAGE, total)
    for mode in ("global", "undefined", "device"):
        advise(mirror_vm, buffer, mode)
        before, added = counters.snapshot(), sentinel()
        add(queue, buffer.address + PAGE, added)
        with driver_only("obs.svm-pagefault-count"):
            counters.rose("svm_pagefault_count", since=before)
        total = (total + added) & MASK
        again = counters.snapshot()
        gpu_sees(queue, buffer.address + PAGE, total)
        with driver_only("obs.svm-pagefault-count"):
            counters.still("svm_pagefault_count", since=again)
    advise(mirror_vm, buffer, "cpu")
    with gpu_fault(queue):
        add(queue, buffer.address + PAGE, sentinel())
    landed(buffer, PAGE, total)


def timeslice_file(device: Device) -> Path:
    """File with the time that memory stays in VRAM after it was moved there for an atomic, in ms."""
    return DEBUGFS / str(device.minor) / "atomic_svm_timeslice_ms"


@behaviour("atomic.timeslice-default")
@acts("query")
@needs("debugfs")
def test_atomic_timeslice_default_is_5_ms(device: Device) -> None:
    """The timeslice for which memory stays in VRAM after an atomic is 5 ms by default."""
    assert device.config.va_bits
    assert timeslice_file(device).read_text() == "5\n"


@behaviour("atomic.timeslice-write")
@acts("store")
@needs("vram", "debugfs", "root")
def test_atomic_timeslice_can_be_written(
    mirror_vm: Vm, device: Device, buffer: Buffer, sentinel: Sentinel
) -> None:
    """Memory moved for an atomic stays in VRAM for the timeslice that was written; a non-number gives EINVAL."""
    path, start, added, milliseconds = timeslice_file(device), sentinel(), sentinel(), 150
    try:
        os.close(os.open(path, os.O_WRONLY))
    except PermissionError:
        untested("MACHINE:debugfs", f"{path} cannot be written")
    before = path.read_text()
    try:
        path.write_text(str(milliseconds))
        assert path.read_text() == f"{milliseconds}\n"
        with refused(errno.EINVAL):
            path.write_text("soon")
        assert path.read_text() == f"{milliseconds}\n"
        buffer.set_u32(PAGE, start)
        queue = mirror_vm.queue()
        queue.run(Batch().noop())
        moved_after = time.monotonic()
        add(queue, buffer.address + PAGE, added)
        landed(buffer, PAGE, (start + added) & MASK)
        # The kernel counts in jiffies: the first may have been nearly over.
        assert time.monotonic() - moved_after > (milliseconds - 20) / 1000
    finally:
        path.write_text(before)


@behaviour("atomic.timeslice-default")
@acts("query")
@needs("device-pages", "debugfs", "root")
def test_atomic_timeslice_file_is_root_only(device: Device) -> None:
    """The timeslice file belongs to root."""
    assert device.config.va_bits
    assert timeslice_file(device).stat().st_mode & 0o777 == 0o600
