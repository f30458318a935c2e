# SPDX-License-Identifier: MIT
"""The order of locks, as a kernel with lock checking sees it (Documentation/locking/lockdep-design.rst)."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import pytest

from fixtures import acts, behaviour, landed, needs
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PROT_READ, READ_WRITE
from fixtures.sizes import SZ_2M
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.vm import Vm

STATS = Path("/proc/lockdep_stats")

pytestmark = needs("page-faults", "cpu-addr-mirror", "lockdep-kernel", "root")


def checks() -> bool:
    """Whether the kernel still checks its locks: the first report ends it."""
    found = re.search(r"^ *debug_locks: *(\d+)$", STATS.read_text(), re.MULTILINE)
    assert found, STATS
    return found[1] == "1"


@behaviour("race.lock-order")
@acts("store")
@pytest.mark.parametrize(
    "userptr", [False, pytest.param(True, marks=needs("userptr"))], ids=["mirror", "userptr"]
)
def test_locks_are_taken_in_order(
    mirror_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel, userptr: bool
) -> None:
    """Faults, binds, advice, moves there and back and invalidations leave the kernel without a report of its locks."""
    vm, queue, made, at = mirror_vm, mirror_vm.queue(), bo(SZ_2M), mirror_vm.size // 2
    for turn in range(3):
        buffer = memory(2 * SZ_2M, align=SZ_2M)
        place = buffer.address
        if userptr:
            place = at + 2 * SZ_2M
            vm.map_userptr(place, buffer.address, buffer.size)
        queue.store(place, value := sentinel())
        landed(buffer, 0, value)
        vm.map(made, at)
        queue.store(at, sentinel())
        vm.prefetch(buffer.address, buffer.size, ([*vm.device.vram, 0])[turn % 2 % (1 + len(vm.device.vram))])
        vm.madvise(buffer.address, SZ_2M, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
        buffer.mprotect(PROT_READ, SZ_2M, SZ_2M)
        buffer.mprotect(READ_WRITE, SZ_2M, SZ_2M)
        buffer.madvise(mmap.MADV_DONTNEED, 0, SZ_2M)
        queue.store(place + SZ_2M, value := sentinel())
        landed(buffer, SZ_2M, value)
        vm.unmap(at, SZ_2M)
        if userptr:
            vm.mirror(place, buffer.size)
        buffer.munmap()
    assert checks(), "the kernel has reported a fault of its locks, see its log"
