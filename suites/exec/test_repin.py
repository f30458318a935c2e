# SPDX-License-Identifier: MIT
"""EXEC pins the userptrs that were invalidated, and may have to do it twice (xe_userptr.c: xe_vm_userptr_pin).

It pins them in the order in which they were invalidated, with the lock of the VM held for writing. The second of two is
on a page that a userfaultfd holds, so that EXEC has the first and waits for as long as a test wants.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import pytest

from fixtures import PLAIN, acts, behaviour, landed, needs
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.overlap import missed
from fixtures.process import Caller
from fixtures.sizes import SZ_2M
from fixtures.userfault import Userfault
from fixtures.xe.queue import Job, Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = (0x20_0000_0000, 0x20_0000_0000 + SZ_2M)
"""GPU addresses of the two userptrs, at which nothing else is bound."""

pytestmark = needs("userptr", "user-faults")


class Stores:
    """An EXEC, in its own thread, of a batch that stores a value through each userptr, at ``offset``."""

    def __init__(self, queue: Queue, sentinel: Sentinel, offset: int) -> None:
        self._offset = offset
        self._values = sentinel(), sentinel()
        self._queue = queue
        self._jobs: list[Job] = []
        self.call = Caller(self._start, xe.DRM_IOCTL_XE_EXEC)

    def _start(self) -> None:
        batch = Batch()
        for address, value in zip(AT, self._values, strict=True):
            batch.store_dword(address + self._offset, value)
        self._jobs.append(self._queue.start(batch))

    def land(self, buffers: tuple[Buffer, Buffer]) -> None:
        """EXEC succeeds, and the values are in the memory of the process."""
        __tracebackhide__ = True
        assert self.call.end() == 0
        self._jobs[0].wait()
        for buffer, value in zip(buffers, self._values, strict=True):
            landed(buffer, self._offset, value)


class Pinning:
    """An EXEC has pinned the first of two userptrs, and waits for the page of the second until ``go_on``."""

    def __init__(self, vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
        self.buffers = memory(PAGE), memory(PAGE)
        queue, self.other_queue = vm.queue(), vm.queue()
        for made in (queue, self.other_queue):
            made.run(Batch().noop())
        for address, buffer in zip(AT, self.buffers, strict=True):
            vm.map_userptr(address, buffer.address, PAGE)
        self._page = Userfault(self.buffers[1])
        for buffer in self.buffers:
            buffer.madvise(mmap.MADV_DONTNEED)
        self.stores = Stores(queue, sentinel, 0)
        if self._page.waits() != 0:
            missed("EXEC does not ask for the page of an invalidated userptr")

    def go_on(self) -> None:
        """The page is there."""
        self._page.give(0, b"")

    def close(self) -> None:
        """Release everything."""
        self._page.close()


@pytest.fixture
def pinning(make_vm: MakeVm, memory: Memory, sentinel: Sentinel) -> Iterator[Pinning]:
    """See Pinning."""
    made = Pinning(make_vm(PLAIN), memory, sentinel)
    yield made
    made.close()


@behaviour("exec.userptr-retry")
@acts("store")
def test_exec_pins_userptr_invalidated_meanwhile(pinning: Pinning) -> None:
    """EXEC succeeds when memory is replaced that it has pinned already, and its batch stores into the new memory."""
    pinning.buffers[0].remap_fresh()
    pinning.go_on()
    pinning.stores.land(pinning.buffers)


@behaviour("exec.userptr-retry")
@acts("store")
def test_exec_that_waits_for_pins_of_another_succeeds(pinning: Pinning, sentinel: Sentinel) -> None:
    """Two EXECs that both find an invalidated userptr succeed, although the first leaves the second nothing to pin."""
    second = Stores(pinning.other_queue, sentinel, PAGE - 4)
    if not second.call.waits():
        missed(f"the second EXEC does not wait for the first: {second.call.error}")
    pinning.go_on()
    pinning.stores.land(pinning.buffers)
    second.land(pinning.buffers)
