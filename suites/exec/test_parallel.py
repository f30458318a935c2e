# SPDX-License-Identifier: MIT
"""Queues that carry several batches at a time (xe_exec.c: xe_exec_queue_is_parallel)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, landed, refused, untested
from fixtures.given import MakeBo, MakeSyncobj, Memory, Sentinel
from fixtures.memory import PAGE, PROT_NONE
from fixtures.sizes import SZ_64K
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""
WIDTH = 2
_PARALLEL = (xe.DRM_XE_ENGINE_CLASS_VIDEO_DECODE, xe.DRM_XE_ENGINE_CLASS_VIDEO_ENHANCE)
"""Classes of engines that can work in parallel (xe_pci.c: multi_lrc_mask)."""


@pytest.fixture
def parallel(plain_vm: Vm) -> Queue:
    """A queue of two batches at a time."""
    device = plain_vm.device
    for kind in _PARALLEL:
        pair = [engine for engine in device.known_engines if engine.engine_class == kind][:WIDTH]
        if len(pair) == WIDTH:
            queue = Queue(plain_vm, pair, width=WIDTH)
            plain_vm.queues.append(queue)
            return queue
    return untested("DEVICE:engines", "no class with parallel submission has two engines")


@behaviour("exec.parallel-bad-pointer")
@acts("refusal", "store")
def test_parallel_exec_reads_all_its_addresses(
    parallel: Queue, bo: MakeBo, memory: Memory, syncobj: MakeSyncobj, sentinel: Sentinel
) -> None:
    """EXEC of a parallel queue gives EFAULT where the first, the last or all addresses of batches cannot be read."""
    made, done = bo(SZ_64K), syncobj()
    mapped = made.map()
    parallel.vm.map(made, AT)
    values = [sentinel() for _ in range(WIDTH)]
    for number, value in enumerate(values):
        at = PAGE * (1 + number)
        mapped.write(at, Batch().store_dword(AT + 64 * number, value).end().encode(AT + at))
    pages = memory(3 * PAGE)
    pages.mprotect(PROT_NONE, 0, PAGE)
    pages.mprotect(PROT_NONE, 2 * PAGE, PAGE)
    first, last = pages.address + PAGE, pages.address + 2 * PAGE
    size = 8 * WIDTH
    for address in (0, pages.address, first - 8, last - 8, last, last - size + 4):
        with refused(errno.EFAULT):
            parallel.submit(address, [done.sync()], batches=WIDTH)
    assert [mapped.u32(64 * number) for number in range(WIDTH)] == [0] * WIDTH
    for place in (PAGE, 2 * PAGE - size):  # the first and the last place that can be read
        for number in range(WIDTH):
            mapped.set_u32(64 * number, 0)
            pages.set_u64(place + 8 * number, AT + PAGE * (1 + number))
        parallel.submit(pages.address + place, [done.sync()], batches=WIDTH)
        done.wait()
        for number, value in enumerate(values):
            landed(mapped, 64 * number, value)


@behaviour("exec.parallel-bad-pointer")
@acts("ioctl", "store")
@pytest.mark.parametrize("address", [0, 8, (1 << 63) + 8], ids=["null", "unmapped", "no-user-address"])
def test_empty_parallel_exec_reads_no_address(
    parallel: Queue, bo: MakeBo, syncobj: MakeSyncobj, sentinel: Sentinel, address: int
) -> None:
    """EXEC with num_batch_buffer 0 on a parallel queue does not read the pointer, and signals its syncobj."""
    made, done, value = bo(PAGE), syncobj(), sentinel()
    mapped = made.map()
    parallel.vm.map(made, AT)
    parallel.submit(address, [done.sync()], batches=0)
    done.wait()
    parallel.vm.queue().store(AT, value)
    landed(mapped, 0, value)
