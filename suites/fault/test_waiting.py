# SPDX-License-Identifier: MIT
"""GPU page faults that have to wait for user space (mm/hmm.c: hmm_range_fault_unlocked_timeout)."""

from __future__ import annotations

import os
import time

import pytest

from fixtures import acts, behaviour, gpu_sees, known, landed, needs, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.kinds import HUGE, HUGETLB
from fixtures.memory import PAGE, Buffer
from fixtures.process import Caller
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.timeouts import scale_timeout
from fixtures.userfault import MINOR, WRITE_PROTECTED, Userfault
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.queue import Job, Queue
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe

pytestmark = needs("page-faults", "user-faults")


@behaviour("fault.userfaultfd")
@acts("exec", "store")
def test_fault_waits_for_userfaultfd(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """A GPU access to a page that a userfaultfd handles continues once the handler has provided the page."""
    buffer, given, stored = memory(4 * PAGE, populate=False), sentinel(), sentinel()
    with Userfault(buffer) as fault:
        job = queue.start(Batch().store_dword(buffer.address + PAGE + 8, stored))
        while (page := fault.waits()) != PAGE:
            assert page is not None, "nothing waits for the page that the GPU stores to"
            assert not job.done
            fault.give(page, b"")
        assert not job.done
        fault.give(PAGE, given.to_bytes(4, "little"))
        job.wait()
    assert buffer.u32(PAGE) == given
    landed(buffer, PAGE + 8, stored)


@behaviour("fault.userfaultfd", "fault.hugetlb")
@acts("exec", "store")
@needs(*HUGETLB.needs)
def test_fault_on_huge_page_waits_for_userfaultfd(queue: Queue, memory: Memory, sentinel: Sentinel) -> None:
    """A GPU store to a reserved huge page that a userfaultfd handles lands once the page has been provided."""
    buffer, given, stored = memory(2 * HUGE, kind=HUGETLB, populate=False), sentinel(), sentinel()
    with Userfault(buffer) as fault:
        job = queue.start(Batch().store_dword(buffer.address + HUGE + SZ_64K, stored))
        while (place := fault.waits()) is not None and place < HUGE:
            assert not job.done
            fault.give(0, b"", HUGE)
        assert place is not None, "nothing waits for the page that the GPU stores to"
        assert not job.done
        fault.give(HUGE, given.to_bytes(4, "little"), HUGE)
        job.wait()
    assert buffer.u32(HUGE) == given
    landed(buffer, HUGE + SZ_64K, stored)


@behaviour("fault.parallel-vms", "fault.userfaultfd")
@acts("exec", "store")
@needs("three-engines")
def test_waiting_fault_does_not_block_other_vms(
    mirror_vm: Vm, make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """While a fault of one VM waits for user space, a VM on another fault queue and engine makes progress."""
    held, fresh, value = memory(PAGE, populate=False), memory(2 * PAGE, populate=False), sentinel()
    mine, *free = mirror_vm.device.known_engines[:3]
    # Address-space ids are given in turn: of two VMs one at least has not the fault queue of this one.
    others, values = [make_vm(FAULTING), make_vm(FAULTING)], [sentinel(), sentinel()]
    for vm in others:
        vm.mirror()
    for vm in mirror_vm, *others:
        # In system memory: to move memory to VRAM takes a lock of the driver that the waiting fault would hold.
        vm.madvise(
            0,
            1 << 47,
            PREFERRED_LOC,
            devmem_fd=DEFAULT_SYSTEM,
        )
    with Userfault(held) as fault:
        waiting = mirror_vm.queue(mine).start(Batch().store_dword(held.address, value))
        assert fault.waits() == 0
        jobs = [
            vm.queue(engine).start(Batch().store_dword(fresh.address + number * PAGE, values[number]))
            for number, (vm, engine) in enumerate(zip(others, free, strict=True))
        ]
        wait_until(lambda: any(job.done for job in jobs), what="the end of another VM's store")
        assert not waiting.done
        fault.give(0, b"")
        waiting.wait()
    for number, job in enumerate(jobs):
        job.wait()
        landed(fresh, number * PAGE, values[number])
    landed(held, 0, value)


each_place = pytest.mark.parametrize("page", [0, 7, SZ_64K // PAGE - 1], ids=["first", "middle", "last"])
"""Parametrises a test by which page of 64 KiB it is about."""


@pytest.fixture
def buffer(mirror_vm: Vm, memory: Memory, place: str) -> Buffer:
    """64 KiB of mirrored memory that is to be in VRAM when the GPU uses it, or in system memory."""
    made = memory(SZ_64K, align=SZ_64K)
    if place == "system":
        mirror_vm.madvise(made.address, made.size, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
    return made


@behaviour("fault.userfaultfd-wp")
@acts("store", "load")
@pytest.mark.parametrize(
    "place",
    [
        "system",
        pytest.param(
            "vram",
            marks=[
                needs("svm-vram"),
                known(
                    "A GPU store to VRAM passes a write protection",
                    first="7.3",
                    signature="nobody waits for the page that the GPU stores to",
                    acts=("load",),
                ),
            ],
        ),
    ],
)
@each_place
def test_gpu_store_waits_for_write_protection(
    queue: Queue, buffer: Buffer, sentinel: Sentinel, page: int
) -> None:
    """A GPU store to a page that a userfaultfd has protected lands when the protection is taken away, not before."""
    offset, old, value = page * PAGE, sentinel(), sentinel()
    buffer.set_u32(offset + 8, old)
    with Userfault(buffer, WRITE_PROTECTED) as fault:
        fault.protect(offset, PAGE)
        job = queue.start(Batch().store_dword(buffer.address + offset, value))
        waits: list[int] = []

        def settled() -> bool:
            if (place := fault.waits(0)) is not None:
                waits.append(place)
            return bool(waits) or job.done

        wait_until(settled, what="the store or its wait")
        if not waits:
            gpu_sees(queue, buffer.address + offset, value)
        assert waits == [offset], "nobody waits for the page that the GPU stores to"
        assert not job.done
        assert buffer.u32(offset) == 0
        fault.protect(offset, PAGE, on=False)
        job.wait()
        landed(buffer, offset, value)
        gpu_sees(queue, buffer.address + offset + 8, old)


@behaviour("fault.userfaultfd-wp")
@acts("load")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("svm-vram"))])
@each_place
def test_gpu_load_may_wait_for_write_protection(
    queue: Queue, buffer: Buffer, sentinel: Sentinel, page: int
) -> None:
    """A GPU load of a page that a userfaultfd has protected finds its data, at once or without the protection."""
    offset, value = page * PAGE, sentinel()
    buffer.set_u32(offset, value)
    found = buffer.address + (SZ_64K - 2 * PAGE if page else PAGE)
    with Userfault(buffer, WRITE_PROTECTED) as fault:
        fault.protect(offset, PAGE)
        job = queue.start(Batch().copy_mem(found, buffer.address + offset))
        waits: list[int] = []

        def settled() -> bool:
            if (place := fault.waits(0)) is not None:
                waits.append(place)
            return bool(waits) or job.done

        wait_until(settled, what="the load or its wait")
        assert set(waits) <= {offset}
        fault.protect(offset, PAGE, on=False)
        job.wait()
    assert buffer.u32(found - buffer.address) == value
    count("load")
    chose(f"a load of a protected page {'waits' if waits else 'does not wait'}")


@behaviour("fault.userfaultfd-minor")
@acts("store", "load")
@each_place
def test_gpu_access_waits_for_minor_fault(
    queue: Queue, memory: Memory, sentinel: Sentinel, page: int
) -> None:
    """A GPU access of a page that is in the page cache only waits for UFFDIO_CONTINUE, and finds the data there."""
    offset, kept, value = page * PAGE, sentinel(), sentinel()
    with os.fdopen(os.memfd_create("svm-cts", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
        os.ftruncate(file.fileno(), SZ_64K)
        for place in range(0, SZ_64K, PAGE):
            os.pwrite(file.fileno(), kept.to_bytes(4, "little"), place)
        buffer = memory(SZ_64K, align=SZ_64K, shared=True, fd=file.fileno(), populate=False)
        with Userfault(buffer, MINOR) as fault:
            job = queue.start(Batch().store_dword(buffer.address + offset + 8, value))
            given: set[int] = set()

            def over() -> bool:
                if (place := fault.waits(0)) is not None:
                    assert not job.done
                    given.add(place)
                    fault.take(place)
                return job.done

            wait_until(over, what="the store")
            job.wait()
        assert offset in given, "nobody waited for the page that the GPU stored to"
        gpu_sees(queue, buffer.address + offset, kept)
        landed(buffer, offset + 8, value)
        assert os.pread(file.fileno(), 4, offset + 8) == value.to_bytes(4, "little")


@behaviour("fault.parallel-ranges")
@acts("store")
@needs("two-engines")
def test_waiting_fault_may_hold_up_other_ranges(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """While a fault waits for user space, a fault of its VM on another range is served, or is served after it."""
    held, fresh = memory(PAGE, populate=False), memory(SZ_2M, align=SZ_2M)
    values, (mine, other, *_) = (sentinel(), sentinel()), mirror_vm.device.known_engines
    mirror_vm.madvise(0, 1 << 47, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
    queues = mirror_vm.queue(mine), mirror_vm.queue(other)
    for queue in queues:
        queue.run(Batch().noop())
    with Userfault(held) as fault:
        waiting = queues[0].start(Batch().store_dword(held.address, values[0]))
        assert fault.waits() == 0
        jobs: list[Job] = []
        batch = Batch().store_dword(fresh.address, values[1])
        # EXEC takes the lock of the VM, too, so that it may wait itself.
        call = Caller(lambda: jobs.append(queues[1].start(batch)), xe.DRM_IOCTL_XE_EXEC)
        end = time.monotonic() + scale_timeout(1)
        served = False
        while not call.waits() and not served and time.monotonic() < end:
            served = jobs[0].done
        assert not waiting.done
        fault.give(0, b"")
        assert call.end() == 0
        jobs[0].wait()
        waiting.wait()
    landed(held, 0, values[0])
    landed(fresh, 0, values[1])
    chose(f"faults on other ranges are served {'meanwhile' if served else 'afterwards'}")


@behaviour("fault.uffd-vm-lock")
@acts("store", "ioctl")
@pytest.mark.parametrize("what", ["map", "unmap", "madvise", "prefetch", "query"])
def test_ioctl_under_waiting_fault_ends(
    mirror_vm: Vm, queue: Queue, memory: Memory, bo: MakeBo, sentinel: Sentinel, what: str
) -> None:
    """A call on the VM of a fault that waits for user space returns, during or after the wait, and has its effect."""
    held, other, made, value = memory(PAGE, populate=False), memory(SZ_64K), bo(SZ_64K), sentinel()
    at = mirror_vm.size // 2
    mirror_vm.madvise(0, 1 << 47, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
    if what == "unmap":
        mirror_vm.map(made, at)
    queue.run(Batch().noop())
    vm = mirror_vm
    request, act = {
        "map": (xe.DRM_IOCTL_XE_VM_BIND, lambda: vm.bind(addr=at, range=SZ_64K, obj=made.handle)),
        "unmap": (
            xe.DRM_IOCTL_XE_VM_BIND,
            lambda: vm.bind(xe.DRM_XE_VM_BIND_OP_UNMAP, addr=at, range=SZ_64K),
        ),
        "prefetch": (
            xe.DRM_IOCTL_XE_VM_BIND,
            lambda: vm.bind(xe.DRM_XE_VM_BIND_OP_PREFETCH, addr=other.address, range=SZ_64K),
        ),
        "madvise": (
            xe.DRM_IOCTL_XE_MADVISE,
            lambda: vm.madvise(other.address, SZ_64K, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM),
        ),
        "query": (xe.DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, lambda: vm.attributes(other.address, SZ_64K)),
    }[what]
    with Userfault(held) as fault:
        waiting = queue.start(Batch().store_dword(held.address, value))
        assert fault.waits() == 0
        call = Caller(act, request)
        waited = call.waits()
        assert not waiting.done
        fault.give(0, b"")
        assert call.end() == 0
        waiting.wait()
    landed(held, 0, value)
    queue.store(other.address, value := sentinel())
    landed(other, 0, value)
    if what == "map":
        vm.queue().store(at, value := sentinel())
        landed(made.map(), 0, value)
    chose(f"{what} under a fault that waits {'waits for it' if waited else 'continues'}")
