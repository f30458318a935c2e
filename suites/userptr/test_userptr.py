# SPDX-License-Identifier: MIT
"""MAP_USERPTR: process memory at a GPU address of its own (xe_userptr.c, xe_vm.c)."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from fixtures import acts, behaviour, driver_only, gpu_fault, gpu_sees, landed, needs, refused, wait_until
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ
from fixtures.process import in_child
from fixtures.sizes import SZ_1G, SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.flags import MAP_USERPTR, READONLY
from fixtures.xe.vm import FAULTING, LONG_RUNNING, PLAIN, Vm
from gpu import Batch

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""

MODES = pytest.mark.parametrize(
    "mode",
    [
        pytest.param(PLAIN, id="plain"),
        pytest.param(LONG_RUNNING, id="lr"),
        pytest.param(FAULTING, id="fault", marks=needs("page-faults")),
    ],
)

pytestmark = needs("userptr")


@behaviour("userptr.basic")
@acts("store", "load")
@MODES
def test_userptr_at_other_gpu_address_is_usable(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int
) -> None:
    """Process memory bound at a different GPU address is shared: CPU and GPU see each other's stores."""
    vm, buffer = make_vm(mode), memory(SZ_64K)
    vm.map_userptr(AT, buffer.address, SZ_64K)
    queue = vm.queue()
    for offset in 0, SZ_64K - 4:
        from_cpu, from_gpu = sentinel(), sentinel()
        buffer.set_u32(offset, from_cpu)
        gpu_sees(queue, AT + offset, from_cpu)
        queue.store(AT + offset, from_gpu)
        landed(buffer, offset, from_gpu)


@behaviour("userptr.unmapped-at-bind")
@acts("refusal")
@needs("range-attributes")
@MODES
@pytest.mark.parametrize("hole", [0, SZ_64K // 2, SZ_64K - PAGE], ids=["first", "middle", "last"])
def test_userptr_with_hole_is_efault(make_vm: MakeVm, memory: Memory, mode: int, hole: int) -> None:
    """Pages are pinned at bind time: a range that is not completely mapped gives EFAULT, in every mode."""
    vm, buffer = make_vm(mode), memory(SZ_64K)
    buffer.munmap(hole, PAGE)
    with refused(errno.EFAULT):
        vm.bind(MAP_USERPTR, addr=AT, range=SZ_64K, obj_offset=buffer.address)
    assert vm.attributes(AT, SZ_64K) == []


@behaviour("userptr.io-memory")
@acts("refusal")
@MODES
def test_userptr_of_io_memory_is_efault(make_vm: MakeVm, bo: MakeBo, mode: int) -> None:
    """MAP_USERPTR of the CPU mapping of a BO gives EFAULT."""
    vm, content = make_vm(mode), bo(SZ_64K).map()
    with refused(errno.EFAULT):
        vm.bind(MAP_USERPTR, addr=AT, range=SZ_64K, obj_offset=content.address)


@behaviour("userptr.prot-read-write-bind")
@acts("load")
@MODES
def test_prot_read_memory_can_be_bound_readonly(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int
) -> None:
    """PROT_READ memory can be bound with READONLY, and the GPU reads it."""
    vm, buffer, value = make_vm(mode), memory(SZ_64K), sentinel()
    buffer.set_u32(PAGE, value)
    buffer.mprotect(PROT_READ)
    vm.map_userptr(AT, buffer.address, SZ_64K, flags=READONLY)
    gpu_sees(vm.queue(), AT + PAGE, value)


@behaviour("userptr.readonly-write", "fault.gpu-readonly-write")
@acts("refusal", "load")
@needs("page-faults")
def test_store_through_readonly_userptr_faults(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """In fault mode a GPU store through a READONLY binding fails, and the memory is unchanged."""
    buffer, value = memory(SZ_64K), sentinel()
    buffer.set_u32(0, value)
    fault_vm.map_userptr(AT, buffer.address, SZ_64K, flags=READONLY)
    gpu_sees(fault_vm.queue(), AT, value)
    with gpu_fault(fault_vm.queue()) as queue:
        queue.store(AT, sentinel())
    assert buffer.u32(0) == value


@behaviour("userptr.file-backed")
@acts("store")
@MODES
def test_userptr_of_shared_file_is_usable(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, tmp_path: Path, mode: int
) -> None:
    """A GPU store through a binding of a shared file mapping reaches the file."""
    vm, value, path = make_vm(mode), sentinel(), tmp_path / "data"
    path.write_bytes(bytes(SZ_64K))
    with path.open("r+b") as file:
        buffer = memory(SZ_64K, shared=True, fd=file.fileno())
    vm.map_userptr(AT, buffer.address, SZ_64K)
    vm.queue().store(AT + PAGE, value)
    landed(buffer, PAGE, value)
    assert path.read_bytes()[PAGE : PAGE + 4] == value.to_bytes(4, "little")


@behaviour("userptr.overlapping")
@acts("store", "load")
def test_userptrs_of_one_memory_alias(make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> None:
    """Bindings of the same memory at several addresses, in several VMs, are coherent."""
    buffer = memory(SZ_64K)
    first, second = make_vm(), make_vm()
    first.map_userptr(AT, buffer.address, SZ_64K)
    first.map_userptr(AT + SZ_1G, buffer.address, SZ_64K)
    second.map_userptr(AT, buffer.address + PAGE, SZ_64K - PAGE)
    value = sentinel()
    first.queue().store(AT + PAGE, value)
    landed(buffer, PAGE, value)
    gpu_sees(first.queue(), AT + SZ_1G + PAGE, value)
    gpu_sees(second.queue(), AT, value)


@behaviour("userptr.hugetlb-thp")
@acts("store")
@needs("hugepages")
@MODES
@pytest.mark.parametrize("shift", [PAGE, SZ_64K - PAGE], ids=["page", "64K-less-page"])
def test_userptr_shifted_within_huge_page_is_usable(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int, shift: int
) -> None:
    """A userptr of contiguous memory that is aligned as no large page of the GPU is has each page at its own place."""
    vm, buffer, size = make_vm(mode), memory(SZ_2M, align=SZ_2M, huge=True), 2 * SZ_64K
    vm.map_userptr(AT, buffer.address + shift, size)
    values = {offset: sentinel() for offset in range(0, size, PAGE)}
    vm.queue().store_all({AT + offset: value for offset, value in values.items()})
    for offset, value in values.items():
        landed(buffer, shift + offset, value)


@behaviour("userptr.partial-unbind")
@acts("store")
@needs("range-attributes")
@MODES
def test_unmap_of_middle_of_userptr_keeps_ends(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int
) -> None:
    """After UNMAP of a middle part both ends still map their own memory."""
    vm, buffer = make_vm(mode), memory(3 * SZ_64K)
    vm.map_userptr(AT, buffer.address, 3 * SZ_64K)
    vm.unmap(AT + SZ_64K, SZ_64K)
    queue = vm.queue()
    for offset in 0, 2 * SZ_64K:
        value = sentinel()
        queue.store(AT + offset + 8, value)
        landed(buffer, offset + 8, value)
    assert [(a.start, a.end) for a in vm.attributes(AT, 3 * SZ_64K)] == [
        (AT, AT + SZ_64K),
        (AT + 2 * SZ_64K, AT + 3 * SZ_64K),
    ]


@behaviour("userptr.free-with-binding")
@acts("store", "ioctl")
@MODES
def test_munmap_of_bound_memory_is_harmless(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int
) -> None:
    """Memory can be unmapped while it is bound: batches and binds that use other memory still work."""
    vm, gone, kept = make_vm(mode), memory(SZ_64K), memory(SZ_64K)
    vm.map_userptr(AT, gone.address, SZ_64K)
    vm.map_userptr(AT + SZ_64K, kept.address, SZ_64K)
    queue = vm.queue()
    value = sentinel()
    queue.store(AT, value)
    landed(gone, 0, value)
    gone.munmap()
    for offset in 0, 4:
        value = sentinel()
        queue.store(AT + SZ_64K + offset, value)
        landed(kept, offset, value)
    assert not queue.banned
    vm.unmap(AT, SZ_64K)


@behaviour("userptr.fault-mode-freed")
@acts("refusal", "store")
@needs("page-faults")
def test_access_to_freed_userptr_faults(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """In fault mode a GPU access to bound memory that was unmapped fails; the VM still works."""
    gone, kept = memory(SZ_64K), memory(SZ_64K)
    fault_vm.map_userptr(AT, gone.address, SZ_64K)
    fault_vm.map_userptr(AT + SZ_64K, kept.address, SZ_64K)
    value = sentinel()
    fault_vm.queue().store(AT, value)
    landed(gone, 0, value)
    gone.munmap()
    with gpu_fault(fault_vm.queue()) as queue:
        queue.store(AT, sentinel())
    value = sentinel()
    fault_vm.queue().store(AT + SZ_64K, value)
    landed(kept, 0, value)


@behaviour("userptr.remap-after-munmap")
@acts("store", "load")
@MODES
def test_userptr_follows_remapped_memory(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int
) -> None:
    """After munmap and mmap at the same CPU address, the binding maps the new memory."""
    vm, buffer = make_vm(mode), memory(SZ_64K)
    vm.map_userptr(AT, buffer.address, SZ_64K)
    queue = vm.queue()
    value = sentinel()
    queue.store(AT, value)
    landed(buffer, 0, value)
    buffer.remap_fresh()
    gpu_sees(queue, AT, 0)
    value = sentinel()
    queue.store(AT + 4, value)
    landed(buffer, 4, value)


@behaviour("userptr.fault-mode-inval", "obs.vma-fault-counters")
@acts("fault", "load")
@needs("page-faults", "debugfs")
def test_invalidated_userptr_refaults(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """In fault mode bound memory that is replaced is zapped, and the next GPU access faults."""
    buffer = memory(SZ_64K)
    fault_vm.map_userptr(AT, buffer.address, SZ_64K)
    queue = fault_vm.queue()
    queue.store(AT, sentinel())
    buffer.remap_fresh()
    value = sentinel()
    buffer.set_u32(0, value)
    before = counters.snapshot()
    gpu_sees(queue, AT, value)
    with driver_only("obs.vma-fault-counters"):
        counters.rose("vma_pagefault_count", since=before)


@behaviour("userptr.never-migrated", "obs.size-class-counters")
@acts("store")
@needs("page-faults", "vram", "svm-counters")
def test_userptr_memory_never_migrates(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """Memory bound as userptr never migrates."""
    buffer, before = memory(SZ_2M, align=SZ_2M), counters.snapshot()
    fault_vm.map_userptr(AT, buffer.address, buffer.size)
    queue = fault_vm.queue()
    for turn in range(4):
        value = sentinel()
        queue.store(AT + turn * PAGE, value)
        assert buffer.present(turn * PAGE)
        landed(buffer, turn * PAGE, value)
    with driver_only("obs.size-class-counters"):
        counters.still("svm_2M_migrate_count", since=before)


@behaviour("userptr.and-mirror-alias", "userptr.device-pages")
@acts("store", "load")
@needs("page-faults")
def test_userptr_and_mirror_alias_one_memory(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A store through the mirror is visible through a userptr to the same memory, and vice versa."""
    buffer = memory(SZ_2M, align=SZ_2M)
    mirror_vm.map_userptr(AT, buffer.address, buffer.size)
    queue = mirror_vm.queue()
    for offset in 0, PAGE:
        value = sentinel()
        queue.store(buffer.address + offset, value)
        gpu_sees(queue, AT + offset, value)
        value = sentinel()
        queue.store(AT + offset, value)
        gpu_sees(queue, buffer.address + offset, value)
        landed(buffer, offset, value)


@behaviour("userptr.fork-cow")
@acts("store")
@needs("fork-events")
@MODES
def test_fork_child_keeps_its_own_copy(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int
) -> None:
    """After fork the parent's GPU stores are visible to the parent, not to the child."""
    vm, buffer, before, after = make_vm(mode), memory(SZ_64K), sentinel(), sentinel()
    buffer.set_u32(0, before)
    vm.map_userptr(AT, buffer.address, SZ_64K)
    queue = vm.queue()
    started, told = os.pipe(), os.pipe()

    def child() -> int:
        os.write(started[1], b"1")
        os.read(told[0], 1)
        return buffer.u32(0)

    ended = []
    thread = threading.Thread(target=lambda: ended.append(in_child(child)))
    thread.start()
    os.read(started[0], 1)
    queue.store(AT, after)
    os.write(told[1], b"1")
    thread.join()
    for end in (*started, *told):
        os.close(end)
    assert ended[0].result == before, ended[0]
    landed(buffer, 0, after)


@behaviour("userptr.coh-none")
@acts("refusal")
@needs("xe2")
@pytest.mark.parametrize("index", [3, 9], ids=["incoherent", "compressed"])
def test_userptr_with_incoherent_pat_is_einval(plain_vm: Vm, memory: Memory, index: int) -> None:
    """MAP_USERPTR with an incoherent or compressing PAT index of Xe2 gives EINVAL."""
    with refused(errno.EINVAL):
        plain_vm.bind(MAP_USERPTR, addr=AT, range=SZ_64K, obj_offset=memory(SZ_64K).address, pat_index=index)


@behaviour("userptr.preempt-mode")
@acts("store")
def test_running_batch_survives_remapped_userptr(lr_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """In an LR VM a running batch whose memory is replaced continues, and sees the new memory."""
    buffer, gate = memory(SZ_64K), memory(SZ_64K)
    lr_vm.map_userptr(AT, buffer.address, SZ_64K)
    lr_vm.map_userptr(AT + SZ_64K, gate.address, SZ_64K)
    queue, running, go, value = lr_vm.queue(), sentinel(), sentinel(), sentinel()
    job = queue.start(
        Batch()
        .store_dword(AT + SZ_64K + 64, running)
        .semaphore_wait(AT + SZ_64K, go)
        .store_dword(AT, value)
        .end()
    )
    wait_until(lambda: gate.u32(64) == running, what="the start of the batch")
    buffer.remap_fresh()
    gate.set_u32(0, go)
    job.wait()
    landed(buffer, 0, value)
