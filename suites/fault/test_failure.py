# SPDX-License-Identifier: MIT
"""GPU page faults that fail: which queue is banned, what is reported, what keeps working (xe_pagefault.c, xe_svm.c)."""

from __future__ import annotations

import errno

import pytest

from fixtures import (
    acts,
    behaviour,
    driver_only,
    failing,
    gpu_fault,
    gpu_sees,
    landed,
    needs,
    refused,
    wait_until,
)
from fixtures.choices import chose
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, PROT_READ, READ_WRITE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.queue import Queue, QueueError
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe

pytestmark = needs("page-faults")


def failing_store(queue: Queue, address: int, value: int) -> None:
    """A store whose fault the kernel cannot serve: the wait for its fence ends with EIO."""
    with gpu_fault(queue):
        queue.store(address, value)


@behaviour("fault.no-gpu-vma", "fault.queue-ban-visible")
@acts("refusal")
def test_access_to_unbound_address_bans_queue(fault_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """An access to an unbound address fails: the wait gives EIO, the queue is banned, EXEC gives ECANCELED."""
    buffer, kept = memory(PAGE), sentinel()
    buffer.set_u32(0, kept)
    queue = fault_vm.queue()
    failing_store(queue, buffer.address, sentinel())
    wait_until(lambda: queue.banned, what="the ban of the queue")
    with refused(errno.ECANCELED):
        queue.submit(0x10000)
    assert buffer.u32(0) == kept


@behaviour("fault.no-cpu-vma", "fault.failure-isolation")
@acts("refusal", "store")
def test_access_without_cpu_vma_faults(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """An access to a mirrored address without a CPU mapping fails; once memory is mapped, a new queue can use it."""
    buffer = memory(SZ_2M, align=SZ_2M)
    address = buffer.address
    buffer.munmap()
    failing_store(mirror_vm.queue(), address, sentinel())
    again = memory(SZ_2M, address=address)
    assert again.u32(0) == 0
    value = sentinel()
    with driver_only("fault.failure-isolation"):
        mirror_vm.queue().store(address, value)
        landed(again, 0, value)


@behaviour("fault.cpu-readonly-vma")
@acts("refusal")
@pytest.mark.parametrize("access", ["load", "store"])
def test_prot_read_memory_faults_in_writable_mirror(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, access: str
) -> None:
    """Through a writable mirror even a GPU load of PROT_READ memory fails: the check is per VMA, not per access."""
    buffer, kept = memory(PAGE), sentinel()
    buffer.set_u32(0, kept)
    buffer.mprotect(PROT_READ)
    queue = mirror_vm.queue()
    with gpu_fault(queue):
        if access == "load":
            queue.load(buffer.address)
        else:
            queue.store(buffer.address, sentinel())
    assert buffer.u32(0) == kept


@behaviour("fault.prot-none")
@acts("refusal", "store")
def test_prot_none_memory_faults(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A GPU store to PROT_NONE memory fails and changes nothing; once accessible, a new queue can use it."""
    buffer, kept = memory(PAGE), sentinel()
    buffer.set_u32(0, kept)
    buffer.mprotect(0)
    failing_store(mirror_vm.queue(), buffer.address, sentinel())
    buffer.mprotect(READ_WRITE)
    assert buffer.u32(0) == kept
    value = sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("fault.io-memory")
@acts("refusal")
def test_io_memory_in_mirror_faults(mirror_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """An access to a mirrored address where the process has mapped a BO fails: it has no pages of the process."""
    content = bo(SZ_64K).map()
    kept = sentinel()
    content.set_u32(0, kept)
    failing_store(mirror_vm.queue(), content.address, sentinel())
    assert content.u32(0) == kept


@behaviour("fault.failure-isolation")
@acts("refusal", "store", "load")
def test_failed_access_bans_one_queue_only(
    mirror_vm: Vm, make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """A queue banned by a fault does not affect other queues of its VM, or other VMs."""
    other_vm = make_vm(FAULTING)
    other_vm.mirror()
    survivors = [mirror_vm.queue(), other_vm.queue()]
    buffer, hole = memory(PAGE), memory(SZ_2M, align=SZ_2M)
    address = hole.address
    hole.munmap()
    failing_store(mirror_vm.queue(), address, sentinel())
    for queue in survivors:
        value = sentinel()
        queue.store(buffer.address, value)
        landed(buffer, 0, value)
        gpu_sees(queue, buffer.address, value)
        assert not queue.banned


@behaviour("fault.failure-isolation")
@acts("refusal", "store")
def test_stores_before_fault_stay(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """The stores of a batch before the one that fails land, those after it never do."""
    buffer, hole = memory(PAGE), memory(SZ_2M, align=SZ_2M)
    address = hole.address
    hole.munmap()
    before, kept = sentinel(), sentinel()
    buffer.set_u32(4, kept)
    batch = Batch().store_dword(buffer.address, before).store_dword(address, sentinel())
    with gpu_fault(mirror_vm.queue()) as queue:
        queue.run(batch.store_dword(buffer.address + 4, sentinel()).end())
    landed(buffer, 0, before)
    assert buffer.u32(4) == kept


@behaviour("vm.getprop.only-failed-faults", "vm.getprop.entry-fields", "vm.getprop.size-query")
@acts("refusal", "store")
def test_only_failed_faults_are_listed(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """A successful fault adds no entry; a failed store adds one, with its page, as a not-present write."""
    buffer, hole = memory(PAGE), memory(SZ_2M, align=SZ_2M)
    value = sentinel()
    mirror_vm.queue().store(buffer.address, value)
    landed(buffer, 0, value)
    assert mirror_vm.faults() == []
    address = hole.address
    hole.munmap()
    failing_store(mirror_vm.queue(), address + PAGE + 8, sentinel())
    (fault,) = wait_until(mirror_vm.faults, what="the entry of the failed fault")
    assert fault.address <= address + PAGE + 8 < fault.address + fault.address_precision
    assert fault.access_type == xe.FAULT_ACCESS_TYPE_WRITE
    assert fault.fault_type == xe.FAULT_TYPE_NOT_PRESENT


@behaviour("vm.getprop.read-does-not-clear")
@acts("refusal", "ioctl")
def test_reading_vm_faults_does_not_clear_them(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """Reading the faults of a VM twice returns the same entries; later faults are appended."""
    hole = memory(2 * SZ_2M, align=SZ_2M)
    address = hole.address
    hole.munmap()
    failing_store(mirror_vm.queue(), address, sentinel())
    first = wait_until(mirror_vm.faults, what="the entry of the failed fault")
    assert [bytes(fault) for fault in mirror_vm.faults()] == [bytes(fault) for fault in first]
    with gpu_fault(mirror_vm.queue()) as queue:
        queue.load(address + SZ_2M)
    wait_until(lambda: len(mirror_vm.faults()) > len(first), what="the second entry")
    both = mirror_vm.faults()
    assert bytes(both[0]) == bytes(first[0])
    assert (both[-1].address, both[-1].access_type) == (address + SZ_2M, xe.FAULT_ACCESS_TYPE_READ)


@behaviour("fault.queue-ban-visible")
@acts("refusal")
def test_banned_queue_fails_waits_and_execs(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """After the ban both a wait on the queue and a new EXEC fail, each time."""
    hole = memory(SZ_2M, align=SZ_2M)
    address = hole.address
    hole.munmap()
    queue = mirror_vm.queue()
    failing_store(queue, address, sentinel())
    wait_until(lambda: queue.banned, what="the ban of the queue")
    for _ in range(3):
        with pytest.raises(QueueError) as caught:
            queue.run(Batch().noop())
        assert caught.value.errno == errno.ECANCELED


@behaviour("fault.collect-error-other", "obs.svm-pagefault-count")
@acts("load", "fault")
@needs("debugfs", "fault-injection")
@pytest.mark.parametrize("size", [PAGE, SZ_2M], ids=["4K", "2M"])
def test_fault_without_memory_gives_no_wrong_data(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters, size: int
) -> None:
    """If the kernel has no memory to collect the pages of a fault, the GPU faults again, or its access fails."""
    buffer, value, queue = memory(size, align=size), sentinel(), mirror_vm.queue()
    buffer.set_u32(0, value)
    queue.run(Batch().noop())
    before = counters.snapshot()
    with failing.allocation_in("drm_gpusvm_get_pages"):
        code: int | None = 0
        try:
            seen = queue.load(buffer.address)
        except QueueError as error:
            code = error.errno
        if code:
            assert code == errno.EIO
            chose("the access fails")
        else:
            assert seen == value
            chose("the GPU faults again")
    with driver_only("obs.svm-pagefault-count"):
        counters.rose("svm_pagefault_count", since=before)
    gpu_sees(mirror_vm.queue(), buffer.address, value)
