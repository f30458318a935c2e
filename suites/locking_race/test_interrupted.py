# SPDX-License-Identifier: MIT
"""A signal for a call that waits for a lock of its VM, and what is left of the lock (xe_vm.c, xe_vm_madvise.c).

VM_BIND reads its syncs with the lock of the VM held for writing (xe_vm_bind_ioctl). If they are on a page that a
userfaultfd holds, it keeps the lock as long as a test wants. MADVISE of user pointers takes the lock of the notifiers,
too, which an invalidation holds while it waits for a batch (xe_userptr.c: xe_vma_userptr_invalidate_finish).
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fixtures import PLAIN, UserFence, acts, behaviour, gpu_sees, landed, needs, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.overlap import missed
from fixtures.process import Caller, Child, interruptions
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.userfault import Userfault
from fixtures.xe.flags import DEFAULT_SYSTEM, MAP, PREFERRED_LOC, PREFETCH, UNMAP
from fixtures.xe.queue import Job, Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import Request, xe

AT = 0x20_0000_0000
"""A GPU address, multiple of 2 MiB."""

pytestmark = needs("page-faults", "cpu-addr-mirror", "user-faults")


class Locked:
    """The lock of a VM is held for writing by a VM_BIND in a thread of its own, until ``release``."""

    def __init__(self, vm: Vm, bo: MakeBo, memory: Memory) -> None:
        self.vm, self._made, self._fence = vm, bo(SZ_64K), UserFence(vm.device)
        self._entry = bytes(self._fence.sync())
        self._syncs = memory(PAGE, populate=False)
        self.seen: Buffer = self._made.map()
        operation = vm.operation(MAP, addr=AT, range=SZ_64K, obj=self._made.handle)
        self._argument = xe.drm_xe_vm_bind(
            vm_id=vm.id, num_binds=1, bind=operation, num_syncs=1, syncs=self._syncs.address
        )
        self._page = Userfault(self._syncs)
        self._holder = Caller(self._bind, xe.DRM_IOCTL_XE_VM_BIND)
        if self._page.waits() != 0:
            missed("VM_BIND does not read its syncs")

    def _bind(self) -> None:
        # Not by device.ioctl, which reads the syncs itself for the transcript.
        fcntl.ioctl(self.vm.device.fd, xe.DRM_IOCTL_XE_VM_BIND.number, self._argument)

    def release(self) -> None:
        """The VM_BIND completes and has its effect."""
        __tracebackhide__ = True
        self._page.give(0, self._entry)
        assert self._holder.end() == 0
        self._fence.wait()
        self.close()

    def close(self) -> None:
        """Release everything."""
        self._page.close()


@pytest.fixture
def locked(mirror_vm: Vm, bo: MakeBo, memory: Memory) -> Iterator[Locked]:
    """See Locked."""
    mirror_vm.queue().run(Batch().noop())
    made = Locked(mirror_vm, bo, memory)
    yield made
    made.close()


def intact(locked: Locked, memory: Memory, sentinel: Sentinel) -> None:
    """The bind that held the lock has its effect, and calls that take the lock succeed and have theirs."""
    __tracebackhide__ = True
    vm, fresh = locked.vm, memory(SZ_64K, align=SZ_64K)
    queue = vm.queue()
    queue.store(AT + SZ_64K - 4, value := sentinel())
    landed(locked.seen, SZ_64K - 4, value)
    queue.store(fresh.address, value := sentinel())
    landed(fresh, 0, value)
    vm.madvise(fresh.address, SZ_64K, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
    (area,) = vm.attributes(fresh.address, SZ_64K)
    assert area.preferred_mem_loc.devmem_fd == DEFAULT_SYSTEM
    vm.prefetch(fresh.address, SZ_64K)
    vm.unmap(AT, SZ_64K)
    queue.store(fresh.address + 4, value := sentinel())
    landed(fresh, 4, value)
    queue.close()
    vm.queues.remove(queue)


def _exec(queue: Queue) -> tuple[Request, Callable[[], object]]:
    return xe.DRM_IOCTL_XE_EXEC, lambda: queue.start(Batch().noop())


@pytest.fixture(params=["exec", "attributes", "queue"])
def reader(
    request: pytest.FixtureRequest, mirror_vm: Vm, memory: Memory
) -> tuple[Request, Callable[[], object]]:
    """A call that takes the lock of the VM for reading, and a signal ends its wait (down_read_interruptible)."""
    buffer, queue = memory(SZ_64K), mirror_vm.queue()
    queue.run(Batch().noop())
    return {
        "exec": _exec(queue),
        "attributes": (
            xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS,
            lambda: mirror_vm.attributes(buffer.address, SZ_64K),
        ),
        "queue": (xe.DRM_IOCTL_XE_EXEC_QUEUE_CREATE, mirror_vm.queue),
    }[request.param]


@behaviour("race.signal-during-ioctl")
@acts("refusal", "store")
@pytest.mark.parametrize("signals", [1, 3])
def test_signal_at_vm_lock_leaves_it_alone(
    reader: tuple[Request, Callable[[], object]],
    locked: Locked,
    memory: Memory,
    sentinel: Sentinel,
    signals: int,
) -> None:
    """A call that a signal interrupts at the lock of its VM gives EINTR; the lock stays held until it is free."""
    request, act = reader
    with interruptions() as came:
        for _ in range(signals):
            call = Caller(act, request)
            if not call.waits():
                missed("the call does not wait for the VM_BIND")
            call.interrupt()
            assert call.end() == errno.EINTR
            count("refusal")
        assert len(came) == signals
        again = Caller(act, request)
        assert again.waits(), "after an interrupted wait the lock is free, though it is held"
        locked.release()
        assert again.end() == 0
    intact(locked, memory, sentinel)


@pytest.fixture(params=["map", "unmap", "madvise", "madvise-bo", "prefetch"])
def writer(
    request: pytest.FixtureRequest, mirror_vm: Vm, bo: MakeBo, memory: Memory
) -> tuple[Request, Callable[[], object]]:
    """A call that takes the lock of the VM for writing, and can be repeated."""
    vm, made, other = mirror_vm, bo(SZ_64K), bo(SZ_64K)
    buffer = memory(SZ_64K, align=SZ_64K)
    there = AT + SZ_2M
    vm.map(made, there)
    if request.param == "madvise":
        return xe.DRM_IOCTL_XE_MADVISE, lambda: vm.madvise(
            buffer.address, SZ_64K, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM
        )
    if request.param == "madvise-bo":
        return xe.DRM_IOCTL_XE_MADVISE, lambda: vm.madvise(
            there, SZ_64K, xe.DRM_XE_MEM_RANGE_ATTR_ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE
        )
    operation: dict[str, Any] = {
        "map": {"op": MAP, "addr": there, "obj": other.handle},
        "unmap": {"op": UNMAP, "addr": there},
        "prefetch": {"op": PREFETCH, "addr": buffer.address},
    }[request.param]
    return xe.DRM_IOCTL_XE_VM_BIND, lambda: vm.bind(range=SZ_64K, **operation)


@behaviour("race.signal-during-ioctl")
@acts("ioctl", "store")
def test_signal_before_vm_lock_is_taken(
    writer: tuple[Request, Callable[[], object]], locked: Locked, memory: Memory, sentinel: Sentinel
) -> None:
    """A call that has got a signal when the lock of its VM comes succeeds, or gives EINTR and can be repeated."""
    request, act = writer
    with interruptions():
        call = Caller(act, request)
        if not call.waits():
            missed("the call does not wait for the VM_BIND")
        call.interrupt()
        other = Caller(lambda: locked.vm.attributes(AT, SZ_64K), xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS)
        assert other.waits(), "the lock is free, though it is held"
        locked.release()
        code = call.end()
        assert code in (0, errno.EINTR), errno.errorcode.get(code)
        assert other.end() == 0
        if code:
            act()
    intact(locked, memory, sentinel)
    chose(f"a signal before the lock is taken: {errno.errorcode.get(code, 'success')}")


@behaviour("race.signal-during-ioctl")
@acts("ioctl", "store")
def test_killed_process_at_vm_lock_leaves_it(
    writer: tuple[Request, Callable[[], object]], locked: Locked, memory: Memory, sentinel: Sentinel
) -> None:
    """A process that is killed while its call waits for the lock of a VM ends; the lock stays held until it is free."""
    request, act = writer
    child = Child(act)
    try:
        if not child.waits_in(request):
            missed("the call of the child does not wait for the VM_BIND")
        os.kill(child.pid, signal.SIGKILL)
        assert child.end().signal == signal.SIGKILL
    finally:
        child.kill()
    again = Caller(act, request)
    assert again.waits(), "after a killed wait the lock is free, though it is held"
    locked.release()
    assert again.end() == 0
    intact(locked, memory, sentinel)


@behaviour("race.signal-during-ioctl", "fault.userfaultfd")
@acts("ioctl", "store", "load")
@pytest.mark.parametrize("region", [0, pytest.param(1, marks=needs("svm-vram"))], ids=["system", "vram"])
@pytest.mark.parametrize("page", [0, 7, SZ_64K // PAGE - 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_signal_at_page_of_prefetch(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel, how: str, page: int, region: int
) -> None:
    """PREFETCH that waits for a page of a userfaultfd can be interrupted or killed: the VM works, and the next one."""
    vm, buffer, value = mirror_vm, memory(SZ_64K, align=SZ_64K, populate=False), sentinel()
    queue.run(Batch().noop())
    place = vm.device.vram[0] if region else 0

    def prefetch() -> None:
        vm.bind(PREFETCH, addr=buffer.address, range=SZ_64K, region=place)

    def up_to_page(fault: Userfault) -> None:
        while (waits := fault.waits()) != page * PAGE:
            if waits is None:
                missed("PREFETCH does not wait for the page")
            fault.give(waits, value.to_bytes(4, "little"))

    with Userfault(buffer) as fault, interruptions():
        if how == "killed":
            child = Child(prefetch)
            try:
                up_to_page(fault)
                os.kill(child.pid, signal.SIGKILL)
                assert child.end().signal == signal.SIGKILL
            finally:
                child.kill()
        else:
            call = Caller(prefetch, xe.DRM_IOCTL_XE_VM_BIND)
            up_to_page(fault)
            call.interrupt()
            fault.give(page * PAGE, value.to_bytes(4, "little"))
            fault.close()
            assert call.end() in (0, errno.EINTR, errno.EAGAIN)
    other = memory(PAGE)
    queue.store(other.address, stored := sentinel())
    landed(other, 0, stored)
    vm.prefetch(buffer.address, SZ_64K, place)
    gpu_sees(queue, buffer.address + page * PAGE, value if how == "interrupted" else 0)
    for offset in sorted({0, page * PAGE, SZ_64K - PAGE}):
        queue.store(buffer.address + offset, stored := sentinel())
        landed(buffer, offset, stored)


class Invalidating:
    """An invalidation of a user pointer waits for a batch, with the lock of the notifiers held, until ``release``."""

    def __init__(self, vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel) -> None:
        self.vm, self.buffer, made = vm, memory(SZ_64K), bo(PAGE)
        self._word, self._go = made.map(), sentinel()
        self.other = memory(SZ_64K)
        self.queue = vm.queue()
        self.queue.run(Batch().noop())  # what it needs for itself is bound before the notifiers' lock is held
        vm.map(made, AT)
        vm.map_userptr(AT + SZ_2M, self.buffer.address, SZ_64K)
        vm.map_userptr(AT + 2 * SZ_2M, self.other.address, SZ_64K)
        here = sentinel()
        batch = Batch().store_dword(AT + 64, here).semaphore_wait(AT, self._go)
        self._job = vm.queue().start(batch.store_dword(AT + SZ_2M, sentinel()))
        wait_until(lambda: self._word.u32(64) == here, what="the start of the batch")
        self._begin, self._begun = threading.Event(), threading.Event()
        # Not munmap or mmap: they hold mmap_lock for writing, and all of the process would wait with them.
        self._call = Caller(lambda: self.buffer.madvise(mmap.MADV_DONTNEED), after=self._begin)

    def during(self, call: Callable[[], object], request: Request) -> Caller:
        """Begin the invalidation, and the call once it waits."""
        __tracebackhide__ = True
        caller = Caller(call, request, after=self._begun)
        self._begin.set()
        wait_until(lambda: self._call.over or self._call.asleep, what="the wait of the invalidation")
        self._begun.set()
        if self._call.over:
            missed("the invalidation does not wait for the batch")
        return caller

    def release(self) -> None:
        """The batch ends, and so does the invalidation."""
        __tracebackhide__ = True
        self._word.set_u32(0, self._go)
        assert self._call.end() == 0
        self._job.wait()


@pytest.fixture
def invalidating(make_vm: MakeVm, bo: MakeBo, memory: Memory, sentinel: Sentinel) -> Iterator[Invalidating]:
    """See Invalidating."""
    made = Invalidating(make_vm(PLAIN), bo, memory, sentinel)
    yield made
    made._word.set_u32(0, made._go)
    made._begin.set()
    made._begun.set()


@behaviour("race.signal-during-ioctl")
@acts("ioctl", "store")
@needs("userptr", "blocking-unmap", "range-attributes")
def test_signal_at_notifier_lock_of_madvise(
    invalidating: Invalidating, memory: Memory, sentinel: Sentinel
) -> None:
    """MADVISE that a signal interrupts while it invalidates userptrs gives EINTR or completes; all works afterwards."""
    vm = invalidating.vm

    def advise() -> None:
        vm.madvise(AT + 2 * SZ_2M, SZ_64K, xe.DRM_XE_MEM_RANGE_ATTR_PAT, val=vm.device.write_back_pat)

    with interruptions():
        call = invalidating.during(advise, xe.DRM_IOCTL_XE_MADVISE)
        if not call.waits():
            missed(f"MADVISE does not wait for the invalidation: {call.error}")
        call.interrupt()
        code = call.end() if call.ends() else None
        assert code in (None, errno.EINTR)
        invalidating.release()
        assert call.end() in (0, errno.EINTR)
    advise()
    queue = invalidating.queue
    for at, buffer in ((AT + SZ_2M, invalidating.buffer), (AT + 2 * SZ_2M, invalidating.other)):
        queue.store(at + SZ_64K - 4, value := sentinel())
        landed(buffer, SZ_64K - 4, value)
    fresh = memory(SZ_64K)
    vm.map_userptr(AT + 3 * SZ_2M, fresh.address, SZ_64K)
    queue.store(AT + 3 * SZ_2M, value := sentinel())
    landed(fresh, 0, value)
    chose(f"a signal during an invalidation: {errno.errorcode[code] if code else 'MADVISE continues'}")


@behaviour("exec.userptr-retry")
@acts("store")
@needs("userptr", "blocking-unmap")
def test_exec_during_invalidation_uses_new_memory(invalidating: Invalidating, sentinel: Sentinel) -> None:
    """EXEC while a user pointer is invalidated returns, and its batch stores into the memory that is there then."""
    queue, value = invalidating.queue, sentinel()
    job: list[Job] = []
    call = invalidating.during(
        lambda: job.append(queue.start(Batch().store_dword(AT + SZ_2M + 8, value))), xe.DRM_IOCTL_XE_EXEC
    )
    waited = call.waits()
    invalidating.release()
    assert call.end() == 0
    job[0].wait()
    landed(invalidating.buffer, 8, value)
    queue.store(AT + 2 * SZ_2M, value := sentinel())
    landed(invalidating.other, 0, value)
    chose(f"EXEC {'waits for the invalidation' if waited else 'does not wait'}")
