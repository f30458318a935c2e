# SPDX-License-Identifier: MIT
"""Scope of an invalidation: all GTs of a tile, VMs with scratch pages, processes that end."""

from __future__ import annotations

import mmap
import os
import signal

from fixtures import FAULTING, acts, behaviour, driver_only, each_size, gpu_sees, in_child, landed, needs
from fixtures.counting import count
from fixtures.gate import Gate
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import IMMEDIATE, SCRATCH
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""

INVALIDATIONS = "svm_tlb_inval_count"

pytestmark = needs("page-faults")


@behaviour("invalidate.tlb-all-gts")
@acts("load", "invalidate")
@needs("media-gt", "debugfs", "svm-counters")
def test_invalidation_counts_on_media_gt_too(
    queue: Queue, device: Device, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """One invalidation of a range that the primary GT of a tile uses counts one on each GT of that tile."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    buffer.set_u32(0, value)
    gpu_sees(queue, buffer.address, value)
    gts = [gt.gt_id for gt in device.known_gts if gt.tile_id == 0]
    before = {gt: counters.snapshot(gt) for gt in gts}
    buffer.madvise(mmap.MADV_DONTNEED)
    for gt in gts:
        counters.rose(INVALIDATIONS, since=before[gt], by=1, gt=gt)
        count("invalidate")
    gpu_sees(queue, buffer.address, 0)


@behaviour("invalidate.skip-flush-when-invalid", "gc.on-fault", "obs.tlb-counters")
@acts("invalidate", "load", "store")
@needs("debugfs", "svm-counters")
@each_size
def test_invalid_range_is_collected_after_munmap(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters, size: int
) -> None:
    """A range whose pages were dropped before it was unmapped leaves nothing: new memory is what the GPU uses."""
    buffer = memory(size, align=size)
    before = counters.snapshot()
    queue.store(buffer.address, sentinel())
    buffer.madvise(mmap.MADV_DONTNEED)
    with driver_only("obs.tlb-counters"):
        counters.rose(INVALIDATIONS, since=before)
    count("invalidate")
    before = counters.snapshot()
    buffer.remap_fresh()
    with driver_only("obs.tlb-counters"):
        counters.still(INVALIDATIONS, since=before)
    gpu_sees(queue, buffer.address, 0)
    value = sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("invalidate.scratch-vm-unbind")
@acts("store", "load")
@needs("xe2", "cpu-addr-mirror")
def test_unmapped_memory_reads_zero_with_scratch(
    make_vm: MakeVm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """In a VM with scratch pages a GPU load of memory that was unmapped and collected gives zeros, not the old data."""
    vm: Vm = make_vm(FAULTING | SCRATCH)
    vm.mirror()
    queue, buffer, value = vm.queue(), memory(SZ_2M, align=SZ_2M), sentinel()
    vm.prefetch(buffer.address, SZ_2M)  # a store would go to the scratch page: there it does not fault
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    address = buffer.address
    buffer.munmap()
    vm.unmap(address, SZ_2M)
    # MAP waits for the flush after the collection, UNMAP does not (docs/findings.md: "UNMAP of a mirror does not wait
    # for the page tables of what was collected").
    vm.map(bo(SZ_64K), AT, flags=IMMEDIATE)
    gpu_sees(queue, address, 0)


@behaviour("invalidate.exit-group")
@acts("store")
@needs("cpu-addr-mirror")
def test_batch_of_killed_process_ends(
    device: Device, make_vm: MakeVm, memory: Memory, gate: Gate, sentinel: Sentinel
) -> None:
    """A batch of a process that was killed does nothing more, and the next process has engine and memory."""
    shared, first = memory(PAGE, shared=True), sentinel()

    def child() -> None:
        vm = Vm(Device(device.path), FAULTING)
        vm.mirror()
        vm.queue().start(gate.hold(Batch().store_dword(shared.address, first)).store_dword(shared.address, 1))
        gate.reached()
        os.kill(os.getpid(), signal.SIGKILL)

    ended = in_child(child)
    assert ended.signal == signal.SIGKILL, ended
    gate.open()
    vm = make_vm(FAULTING)
    vm.mirror()
    value = sentinel()
    vm.queue().store(shared.address + 8, value)  # on the same engine: it has done with the other batch
    landed(shared, 8, value)
    landed(shared, 0, first)
