# SPDX-License-Identifier: MIT
"""The GPU uses memory that is not resident: swapped out, discarded, never touched (xe_svm.c, mm/hmm.c)."""

from __future__ import annotations

import mmap

from fixtures import acts, behaviour, driver_only, landed, needs
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.queue import Queue
from gpu import Batch

pytestmark = needs("page-faults", "swap", "debugfs")


@behaviour("exec.address-via-fault", "fault.swapped-out", "obs.svm-pagefault-count")
@acts("fault", "store")
def test_batch_in_swapped_out_memory_runs(
    queue: Queue, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """A batch runs although its code and data are swapped out and its target was never populated."""
    code, source, target = memory(PAGE), memory(SZ_64K), memory(SZ_64K, populate=False)
    code.write(0, Batch().copy_mem(target.address, source.address + PAGE).end().encode(code.address))
    for _ in range(2):  # before the GPU had any of it, and after
        value = sentinel()
        source.set_u32(PAGE, value)
        target.madvise(mmap.MADV_DONTNEED)
        for buffer in code, source:
            buffer.bytes()  # only from system memory can pages be swapped out
            buffer.swap_out()
        before = counters.snapshot()
        queue.run(Batch().chain(code.address))
        with driver_only("obs.svm-pagefault-count"):
            counters.rose("svm_pagefault_count", since=before)
        landed(target, 0, value)
