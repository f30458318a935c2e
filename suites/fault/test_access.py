# SPDX-License-Identifier: MIT
"""GPU page faults that succeed: the GPU and the CPU share memory (xe_svm.c: xe_svm_handle_pagefault)."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from pathlib import Path

import pytest

from fixtures import acts, behaviour, each_size, gpu_fault, gpu_sees, landed, needs
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, READ_WRITE, Buffer
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.queue import Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch

pytestmark = needs("page-faults")


@behaviour("fault.read-sees-cpu-data")
@acts("load")
@pytest.mark.parametrize("offset", [0, PAGE - 4, PAGE, SZ_2M // 2, SZ_2M - 4], ids=hex)
def test_gpu_reads_what_cpu_wrote(queue: Queue, memory: Memory, sentinel: Sentinel, offset: int) -> None:
    """A GPU load of a mirrored address returns what the CPU stored there, with no bind of that page."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    buffer.set_u32(offset, value)
    gpu_sees(queue, buffer.address + offset, value)


@behaviour("fault.write-visible-to-cpu")
@acts("store")
@pytest.mark.parametrize("offset", [0, PAGE - 4, PAGE, SZ_2M // 2, SZ_2M - 4], ids=hex)
def test_cpu_reads_what_gpu_wrote(queue: Queue, memory: Memory, sentinel: Sentinel, offset: int) -> None:
    """After the batch completes, a CPU load returns what the GPU stored, and adjacent bytes are unchanged."""
    buffer, value, other = memory(SZ_2M, align=SZ_2M), sentinel(), sentinel()
    near = offset - 4 if offset else 4
    buffer.set_u32(near, other)
    queue.store(buffer.address + offset, value)
    landed(buffer, offset, value)
    assert buffer.u32(near) == other


@behaviour("fault.read-sees-cpu-data", "fault.write-visible-to-cpu")
@acts("load", "store")
def test_cpu_and_gpu_alternate_on_one_page(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """CPU and GPU alternate on the same page: each sees what the other stored last."""
    buffer = memory(PAGE)
    for _ in range(8):
        from_cpu, from_gpu = sentinel(), sentinel()
        buffer.set_u32(0, from_cpu)
        gpu_sees(queue, buffer.address, from_cpu)
        queue.store(buffer.address, from_gpu)
        landed(buffer, 0, from_gpu)


@behaviour("fault.untouched-page-zero")
@acts("load")
def test_gpu_reads_zeros_from_untouched_memory(queue: Queue, memory: Memory) -> None:
    """Fresh anonymous memory that the GPU reads first holds zeros."""
    buffer = memory(SZ_2M, align=SZ_2M, populate=False)
    for offset in 0, SZ_2M // 2, SZ_2M - 4:
        gpu_sees(queue, buffer.address + offset, 0)


@behaviour("fault.untouched-page-write")
@acts("store")
@each_size
def test_gpu_store_to_untouched_memory_lands(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """A GPU store to fresh anonymous memory lands, and the rest of it reads as zeros."""
    buffer, value = memory(size, align=size, populate=False), sentinel()
    queue.store(buffer.address + size // 2, value)
    landed(buffer, size // 2, value)
    expected = bytearray(size)
    expected[size // 2 : size // 2 + 4] = value.to_bytes(4, "little")
    assert buffer.bytes() == bytes(expected)


@behaviour("fault.any-pointer")
@acts("store")
def test_malloc_memory_is_usable(queue: Queue, sentinel: Sentinel) -> None:
    """The GPU can store to any address from malloc(3), wherever it is in the heap."""
    block = (ctypes.c_uint32 * 64)()
    block[31], block[33] = sentinel(), sentinel()
    neighbours = block[31], block[33]
    value = sentinel()
    queue.store(ctypes.addressof(block) + 32 * 4, value)
    assert (block[31], block[33]) == neighbours
    landed(Buffer(ctypes.addressof(block), ctypes.sizeof(block)), 32 * 4, value)


@behaviour("fault.shared-anon")
@acts("store", "load")
def test_gpu_store_to_memfd_is_shared(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """A GPU store to a memfd is visible through another mapping of it, and vice versa."""
    fd = os.memfd_create("svm-cts")
    os.ftruncate(fd, SZ_64K)
    first, second = memory(SZ_64K, shared=True, fd=fd), memory(SZ_64K, shared=True, fd=fd)
    os.close(fd)
    value = sentinel()
    queue.store(first.address + PAGE, value)
    landed(second, PAGE, value)
    value = sentinel()
    second.set_u32(2 * PAGE, value)
    gpu_sees(queue, first.address + 2 * PAGE, value)


@behaviour("fault.file-private")
@acts("store", "load")
def test_gpu_store_to_private_file_mapping_is_copied(
    queue: Queue, memory: Memory, sentinel: Sentinel, tmp_path: Path
) -> None:
    """The GPU reads a file through a private mapping; its store is visible there and not in the file."""
    data, value = sentinel(), sentinel()
    path = tmp_path / "data"
    path.write_bytes(data.to_bytes(4, "little") * (PAGE // 2))
    with path.open("rb") as file:
        buffer = memory(2 * PAGE, fd=file.fileno())
    gpu_sees(queue, buffer.address + PAGE, data)
    queue.store(buffer.address + PAGE, value)
    landed(buffer, PAGE, value)
    assert path.read_bytes() == data.to_bytes(4, "little") * (PAGE // 2)


@behaviour("fault.file-shared")
@acts("store")
def test_gpu_store_to_shared_file_reaches_file(
    queue: Queue, memory: Memory, sentinel: Sentinel, tmp_path: Path
) -> None:
    """A GPU store to a shared file mapping is visible in the file."""
    value, path = sentinel(), tmp_path / "data"
    path.write_bytes(bytes(2 * PAGE))
    with path.open("r+b") as file:
        buffer = memory(2 * PAGE, shared=True, fd=file.fileno())
    queue.store(buffer.address + PAGE, value)
    landed(buffer, PAGE, value)
    assert path.read_bytes()[PAGE : PAGE + 4] == value.to_bytes(4, "little")


@behaviour("fault.sub-page")
@acts("store")
@pytest.mark.parametrize("size", [1, 3, 17, 64, 255, PAGE + 1])
def test_gpu_copy_across_page_boundary_is_exact(
    queue: Queue, memory: Memory, rng: random.Random, size: int
) -> None:
    """A GPU copy of any number of bytes across a page boundary moves those bytes and no others."""
    source, target = memory(4 * PAGE), memory(4 * PAGE)
    data, before = rng.randbytes(4 * PAGE), rng.randbytes(4 * PAGE)
    source.write(0, data)
    target.write(0, before)
    start = 2 * PAGE - size // 2 - 1
    queue.run(Batch().copy(target.address + start, source.address + start, size).end())
    expected = before[:start] + data[start : start + size] + before[start + size :]
    assert target.bytes() == expected
    landed(target, start & ~3, int.from_bytes(expected[start & ~3 : (start & ~3) + 4], "little"))


@behaviour("fault.valid-short-cut")
@acts("fault", "store")
@needs("debugfs")
def test_valid_range_does_not_fault_again(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """Once a fault has mapped a range, further accesses by the same GPU do not fault."""
    buffer = memory(SZ_2M, align=SZ_2M)
    before = counters.snapshot()
    queue.store(buffer.address, sentinel())
    counters.rose("svm_pagefault_count", since=before)
    after = counters.snapshot()
    value = sentinel()
    queue.store(buffer.address + SZ_2M // 2, value)
    counters.still("svm_pagefault_count", since=after)
    landed(buffer, SZ_2M // 2, value)


@behaviour("fault.unneeded-vma-size")
@acts("fault")
@needs("debugfs")
def test_fault_maps_one_chunk_not_whole_vma(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """In a mapping of 8 MiB each 2 MiB chunk takes exactly one fault."""
    buffer = memory(4 * SZ_2M, align=SZ_2M)
    for chunk in range(4):
        before = counters.snapshot()
        queue.store(buffer.address + chunk * SZ_2M, sentinel())
        counters.rose("svm_pagefault_count", since=before)


@behaviour("fault.mprotect-cycle")
@acts("store", "refusal")
def test_mprotect_back_to_writable_is_usable(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """After mprotect(PROT_READ) a GPU store fails; once writable again it lands, and the data was kept."""
    buffer, first, last = memory(PAGE), sentinel(), sentinel()
    mirror_vm.queue().store(buffer.address, first)
    landed(buffer, 0, first)
    # The GPU has the page, and keeps it until it is invalidated.
    mirror_vm.queue().store(buffer.address + 8, last)
    buffer.mprotect(PROT_READ)
    with gpu_fault(mirror_vm.queue()) as queue:
        queue.store(buffer.address, sentinel())
    assert buffer.u32(0) == first
    assert buffer.u32(8) == last
    buffer.mprotect(READ_WRITE)
    second = sentinel()
    mirror_vm.queue().store(buffer.address + 4, second)
    landed(buffer, 4, second)
    assert buffer.u32(0) == first


@behaviour("fault.madvise-dontneed")
@acts("load", "store")
@each_size
def test_dontneed_memory_reads_zero(queue: Queue, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """After MADV_DONTNEED of memory that the GPU wrote, GPU and CPU read zeros, wherever the pages are."""
    buffer, value = memory(size, align=size), sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    queue.store(buffer.address + 4, sentinel())
    buffer.madvise(mmap.MADV_DONTNEED)
    gpu_sees(queue, buffer.address + 4, 0)
    assert buffer.bytes(0, 64) == bytes(64)


@behaviour("fault.mremap")
@acts("load", "store")
@each_size
def test_mremap_keeps_data_at_new_address(
    queue: Queue, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """After mremap the GPU finds at the new address what it stored at the old one."""
    buffer, value = memory(size, align=size), sentinel()
    queue.store(buffer.address + size - 4, value)
    target = memory(size, align=size)
    moved = buffer.mremap(size, to=target.address)
    gpu_sees(queue, moved.address + size - 4, value)
    landed(moved, size - 4, value)
    value = sentinel()
    queue.store(moved.address, value)
    landed(moved, 0, value)


@behaviour("fault.vma-cache-coherent")
@acts("store", "load")
@needs("cpu-addr-mirror")
def test_bo_bound_next_to_last_fault_is_found(
    fault_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel
) -> None:
    """After a fault in a mirror, the GPU accesses a BO that is bound over the adjacent range."""
    unit = SZ_64K
    buffer, target = memory(2 * unit, align=SZ_2M), bo(unit)
    content = target.map()
    fault_vm.mirror(buffer.address, unit)
    fault_vm.mirror(buffer.address + unit, unit)
    queue = fault_vm.queue()
    first, second = sentinel(), sentinel()
    fault_vm.unmap(buffer.address + unit, unit)
    queue.store(buffer.address, first)
    landed(buffer, 0, first)
    content.set_u32(0, second)
    fault_vm.map(target, buffer.address + unit)
    gpu_sees(queue, buffer.address + unit, second)


@behaviour("vm.create.many-vms-one-mm", "fault.parallel-vms")
@acts("store", "load")
@needs("cpu-addr-mirror")
def test_two_vms_of_process_share_memory(make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> None:
    """Two VMs that mirror one process share its memory: each sees what the other stored."""
    buffer, queues = memory(SZ_2M, align=SZ_2M), []
    for _ in range(2):
        vm = make_vm(FAULTING)
        vm.mirror()
        queues.append(vm.queue())
    for writer, reader in (queues, queues[::-1]):
        value = sentinel()
        writer.store(buffer.address + PAGE, value)
        gpu_sees(reader, buffer.address + PAGE, value)
        landed(buffer, PAGE, value)
