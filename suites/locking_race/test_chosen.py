# SPDX-License-Identifier: MIT
"""Memory that changes between the choice of a range and the collection of its pages (xe_svm.c: the retries of a fault).

A fault chooses its range, tries to move it, and collects its pages. With a page of the range held by a userfaultfd it
stops in the last step, and the process changes the mapping under it.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

import pytest

from fixtures import acts, behaviour, gpu_fault, gpu_sees, known, landed, needs
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    PAGE,
    PROT_NONE,
    PROT_READ,
    READ_WRITE,
    Buffer,
    mprotect,
)
from fixtures.memory import mmap as map_memory
from fixtures.process import Caller
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.timeouts import scale_timeout
from fixtures.userfault import Userfault
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC, PREFETCH
from fixtures.xe.queue import Job, Queue
from fixtures.xe.sync import SECOND
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

PAGES = SZ_2M // PAGE
HELD = PAGES // 2 + 3
"""The page that the fault waits for; neither the first, nor in the middle of anything, nor the last."""

pytestmark = needs("page-faults", "cpu-addr-mirror", "user-faults")

each_place = pytest.mark.parametrize(
    "page", [0, HELD - 1, HELD + 1, PAGES - 1], ids=["first", "before", "after", "last"]
)
"""Parametrises a test by which page of the range changes, the held one not among them."""


@pytest.fixture(params=["system", pytest.param("vram", marks=needs("svm-vram"))])
def buffer(request: pytest.FixtureRequest, mirror_vm: Vm, memory: Memory) -> Buffer:
    """2 MiB that a GPU is to have in VRAM, or in system memory, with all pages but one there."""
    made = memory(SZ_2M, align=SZ_2M, populate=False)
    if request.param == "system":
        mirror_vm.madvise(made.address, SZ_2M, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
    made.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(PAGES):
        if page != HELD:
            made.set_u32(page * PAGE, page + 1)
    return made


@pytest.fixture
def waiting(mirror_vm: Vm, queue: Queue) -> Callable[..., Job]:
    """``waiting(buffer, fault, page, value)``: a batch that stores to the page is running, and its fault waits."""
    queue.run(Batch().noop())

    def start(buffer: Buffer, fault: Userfault, page: int, value: int) -> Job:
        job = queue.start(Batch().store_dword(buffer.address + page * PAGE + 8, value))
        assert fault.waits() == HELD * PAGE, "the fault does not wait for the page that is not there"
        assert not job.done
        return job

    return start


def checked(queue: Queue, buffer: Buffer, but: int) -> None:
    """All pages but one and the held one have what they had, for the GPU and the CPU."""
    __tracebackhide__ = True
    pages = [page for page in (0, 1, HELD - 1, HELD + 1, PAGES - 2, PAGES - 1) if page != but]
    for page in pages:
        gpu_sees(queue, buffer.address + page * PAGE, page + 1)
    for page in range(PAGES):
        if page not in (but, HELD):
            assert buffer.u32(page * PAGE) == page + 1


@behaviour("race.fault-vs-munmap", "fault.userfaultfd")
@acts("store", "load", "refusal")
@each_place
def test_munmap_while_range_waits_for_its_pages(
    mirror_vm: Vm,
    queue: Queue,
    buffer: Buffer,
    sentinel: Sentinel,
    waiting: Callable[..., Job],
    page: int,
) -> None:
    """A page of a range is unmapped while a fault collects its pages: the store lands, and the page is a hole."""
    value, target = sentinel(), HELD + 2
    with Userfault(buffer) as fault:
        job = waiting(buffer, fault, target, value)
        buffer.munmap(page * PAGE, PAGE)
        fault.give(HELD * PAGE, b"")
        fault.close()
        job.wait()
    landed(buffer, target * PAGE + 8, value)
    with gpu_fault(other := mirror_vm.queue()):
        other.store(buffer.address + page * PAGE, sentinel())
    for at in (0, HELD, HELD + 1, PAGES - 1):
        if at != page:
            gpu_sees(queue, buffer.address + at * PAGE, 0 if at == HELD else at + 1)


@behaviour("race.fault-vs-munmap", "fault.userfaultfd")
@acts("store", "load")
@each_place
def test_remap_while_range_waits_for_its_pages(
    mirror_vm: Vm,
    queue: Queue,
    buffer: Buffer,
    sentinel: Sentinel,
    waiting: Callable[..., Job],
    page: int,
) -> None:
    """A page of a range is mapped again while a fault collects its pages: the GPU uses the new page, and none else."""
    value, fresh, target = sentinel(), sentinel(), HELD + 2
    with Userfault(buffer) as fault:
        job = waiting(buffer, fault, target, value)
        at = buffer.address + page * PAGE
        map_memory(at, PAGE, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
        buffer.set_u32(page * PAGE, fresh)
        fault.give(HELD * PAGE, b"")
        fault.close()
        job.wait()
    landed(buffer, target * PAGE + 8, value)
    gpu_sees(queue, at, fresh)
    queue.store(at + 4, value := sentinel())
    landed(buffer, page * PAGE + 4, value)
    checked(queue, buffer, page)
    assert buffer.u32(page * PAGE) == fresh


@behaviour("race.fault-vs-munmap", "fault.userfaultfd")
@acts("refusal", "load")
@pytest.mark.parametrize("how", ["munmap", "none", "read"])
def test_page_of_fault_goes_while_it_waits(
    mirror_vm: Vm,
    buffer: Buffer,
    sentinel: Sentinel,
    waiting: Callable[..., Job],
    how: str,
) -> None:
    """The page that a GPU stores to goes, or may not be written any more, while its fault waits: the fault fails."""
    target = HELD - 2
    with Userfault(buffer) as fault:
        job = waiting(buffer, fault, target, sentinel())
        if how == "munmap":
            buffer.munmap(target * PAGE, PAGE)
        else:
            mprotect(buffer.address + target * PAGE, PAGE, PROT_NONE if how == "none" else PROT_READ)
        fault.give(HELD * PAGE, b"")
        fault.close()
        with gpu_fault(job.queue):
            job.wait()
    if how != "munmap":
        mprotect(buffer.address + target * PAGE, PAGE, READ_WRITE)
        assert buffer.u32(target * PAGE + 8) == 0
    queue = mirror_vm.queue()
    for page in (0, HELD - 3, HELD - 1, PAGES - 1):
        gpu_sees(queue, buffer.address + page * PAGE, page + 1)
        queue.store(buffer.address + page * PAGE + 4, value := sentinel())
        landed(buffer, page * PAGE + 4, value)


@behaviour("race.fault-vs-munmap", "fault.userfaultfd")
@acts("store", "load")
@pytest.mark.parametrize(
    "advice",
    [
        "dontneed",
        "dontfork",
        "hugepage",
        pytest.param(
            "read",
            marks=known(
                "A range of which a part is not writable keeps the fault handler busy",
                first="7.3",
                signature="ETIME: DRM_IOCTL_XE_WAIT_USER_FENCE on fd #: Timer expired",
                acts=("ioctl",),
            ),
        ),
    ],
)
def test_mapping_changes_while_range_waits(
    mirror_vm: Vm,
    queue: Queue,
    buffer: Buffer,
    sentinel: Sentinel,
    waiting: Callable[..., Job],
    advice: str,
) -> None:
    """Half of a range is dropped, split off or made read-only while a fault collects its pages: the other is right."""
    value, target, half = sentinel(), HELD + 2, SZ_2M // 2
    with Userfault(buffer) as fault:
        job = waiting(buffer, fault, target, value)
        if advice == "read":
            mprotect(buffer.address, half, PROT_READ)
        else:
            number = {
                "dontneed": mmap.MADV_DONTNEED,
                "dontfork": mmap.MADV_DONTFORK,
                "hugepage": mmap.MADV_HUGEPAGE,
            }[advice]
            buffer.madvise(number, 0, half)
        fault.give(HELD * PAGE, b"")
        fault.close()
        # On the slowest kernel, too, this ends before the emulated GPU reports a fault without an answer.
        job.wait(int(scale_timeout(2 * SECOND)))
    landed(buffer, target * PAGE + 8, value)
    if advice == "read":
        mprotect(buffer.address, half, READ_WRITE)
    for page in (0, 1, PAGES // 2 - 1, PAGES // 2, PAGES - 1):
        gone = advice == "dontneed" and page < PAGES // 2
        gpu_sees(queue, buffer.address + page * PAGE, 0 if gone else page + 1)
    for page in (0, PAGES // 2 - 1, PAGES // 2, PAGES - 1):
        queue.store(buffer.address + page * PAGE + 4, value := sentinel())
        landed(buffer, page * PAGE + 4, value)


@behaviour("prefetch.race-munmap", "fault.userfaultfd")
@acts("load", "store")
@each_place
@pytest.mark.parametrize("how", ["munmap", "remap"])
def test_range_changes_while_prefetch_waits(
    mirror_vm: Vm, queue: Queue, buffer: Buffer, sentinel: Sentinel, page: int, how: str
) -> None:
    """A page of a range is unmapped or mapped again while PREFETCH collects pages: it ends, and the memory is right."""
    queue.run(Batch().noop())
    region = xe.DRM_XE_CONSULT_MEM_ADVISE_PREF_LOC
    fresh, at = sentinel(), buffer.address + page * PAGE
    with Userfault(buffer) as fault:
        call = Caller(
            lambda: mirror_vm.bind(PREFETCH, addr=buffer.address, range=SZ_2M, region=region),
            xe.DRM_IOCTL_XE_VM_BIND,
        )
        assert fault.waits() == HELD * PAGE, "PREFETCH does not wait for the page that is not there"
        if how == "munmap":
            buffer.munmap(page * PAGE, PAGE)
        else:
            map_memory(at, PAGE, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
            buffer.set_u32(page * PAGE, fresh)
        fault.give(HELD * PAGE, b"")
        fault.close()
        code = call.end()
    chose(f"PREFETCH of a range that changes in the meantime: {code or 'success'}")
    count("ioctl")
    if how == "remap":
        gpu_sees(queue, at, fresh)
        checked(queue, buffer, page)
    else:
        for other in (0, HELD + 1, PAGES - 1):
            if other != page:
                gpu_sees(queue, buffer.address + other * PAGE, other + 1)
        with gpu_fault(last := mirror_vm.queue()):
            last.store(at, sentinel())
    queue.store(buffer.address + (HELD + 2) * PAGE + SZ_64K, value := sentinel())
    landed(buffer, (HELD + 2) * PAGE + SZ_64K, value)
