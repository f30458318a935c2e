# SPDX-License-Identifier: MIT
"""munmap and exit while a batch uses memory through a userptr (xe_vm_doc.h: Invalidation)."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import threading
from functools import partial

import pytest

from fixtures import FAULTING, PLAIN, acts, behaviour, landed, needs, wait_until
from fixtures.choices import chose
from fixtures.counting import count
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.overlap import meanwhile, missed
from fixtures.process import asleep, in_child
from fixtures.seeds import page_of
from fixtures.sizes import SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.vm import LONG_RUNNING, Vm
from gpu import Batch

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
GATE, STARTED, TARGET = 0, 64, PAGE
"""Offsets: of the word that the batch waits for, of the one it stores first, and of the one it stores last."""

REPLACEMENTS = 12
"""A flush that is late by chance is still under way in about half of them."""

pytestmark = needs("userptr")


def waiting_batch(started: int, go: int, late: int) -> Batch:
    """Says that it runs, waits for the value ``go`` at the gate, and stores ``late``."""
    return (
        Batch()
        .store_dword(AT + STARTED, started)
        .semaphore_wait(AT + GATE, go)
        .store_dword(AT + TARGET, late)
        .end()
    )


@behaviour("userptr.invalidation-blocks-until-idle")
@acts("store", "exec")
@needs("blocking-unmap")
@pytest.mark.parametrize("call", ["munmap", "mprotect", "remap"])
def test_munmap_of_userptr_waits_for_running_batch(
    plain_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel, call: str
) -> None:
    """munmap(2) and mprotect(2) of bound memory wait for running batches of a VM without LR mode."""
    gate, buffer = bo(PAGE), memory(SZ_64K)
    switch = gate.map()
    plain_vm.map(gate, AT)
    plain_vm.map_userptr(AT + SZ_64K, buffer.address, SZ_64K)
    started, go, late = sentinel(), sentinel(), sentinel()
    job = plain_vm.queue().start(
        Batch()
        .store_dword(AT + STARTED, started)
        .semaphore_wait(AT + GATE, go)
        .store_dword(AT + SZ_64K, late)
        .end()
    )
    wait_until(lambda: switch.u32(STARTED) == started, what="the start of the batch")
    done_then: list[bool] = []
    ids: list[int] = []

    def give_up() -> None:
        ids.append(threading.get_native_id())
        {
            "munmap": buffer.munmap,
            "mprotect": lambda: buffer.mprotect(0),
            "remap": buffer.remap_fresh,
        }[call]()
        done_then.append(job.done)

    thread = threading.Thread(target=give_up)
    thread.start()
    try:
        wait_until(lambda: ids and asleep(ids[0]), what="the wait of the system call")
        assert not done_then
        assert not job.done
    finally:
        switch.set_u32(0, go)
        thread.join()
    job.wait()
    assert done_then == [True]
    if call == "remap":
        assert buffer.u32(0) == 0
    value = sentinel()
    plain_vm.queue().store(AT + 128, value)
    landed(switch, 128, value)


def _holds(memory: Buffer, offset: int, value: int) -> bool:
    return memory.u32(offset) == value


def assert_stores_follow_replaced_memory(vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel) -> None:
    """A running batch stores before and after other memory replaces that of a userptr, several times.

    A device that takes its time does not do so each time.
    """
    gate = bo(PAGE)
    switch = gate.map()
    vm.map(gate, AT)
    for _ in range(REPLACEMENTS):
        fd = os.memfd_create("twice")
        try:
            os.ftruncate(fd, SZ_64K)
            used, other = (memory(SZ_64K, shared=True, fd=fd) for _ in range(2))
        finally:
            os.close(fd)
        at = page_of(SZ_64K)
        started, go, old, new = (sentinel() for _ in range(4))
        vm.map_userptr(AT + SZ_64K, used.address, SZ_64K)
        job = vm.queue().start(
            Batch()
            .store_dword(AT + SZ_64K + at, old)
            .store_dword(AT + STARTED, started)
            .semaphore_wait(AT + GATE, go)
            .store_dword(AT + SZ_64K + at, new)
            .end()
        )
        wait_until(partial(_holds, switch, STARTED, started), what="the start of the batch")
        used.remap_fresh()
        switch.set_u32(GATE, go)
        job.wait()
        landed(used, at, new)
        landed(other, at, old)


@behaviour("userptr.fault-mode-inval")
@acts("store")
@needs("page-faults")
def test_faulting_batch_stores_to_replaced_userptr(
    fault_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """In fault mode a batch that stores after the memory of a userptr was replaced does not reach the old pages."""
    assert_stores_follow_replaced_memory(fault_vm, bo, memory, sentinel)


@behaviour("userptr.preempt-mode")
@acts("store")
def test_preempted_batch_stores_to_replaced_userptr(
    lr_vm: Vm, bo: MakeBo, memory: Memory, sentinel: Sentinel
) -> None:
    """In an LR VM a batch that stores after the memory of a userptr was replaced does not reach the old pages."""
    assert_stores_follow_replaced_memory(lr_vm, bo, memory, sentinel)


@behaviour("userptr.exit-during-use")
@acts("store")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("mode", "how"),
    [
        pytest.param(LONG_RUNNING, "exit", id="lr-exit"),
        pytest.param(LONG_RUNNING, "killed", id="lr-killed"),
        pytest.param(FAULTING, "exit", id="fault-exit", marks=needs("page-faults")),
        pytest.param(FAULTING, "killed", id="fault-killed", marks=needs("page-faults")),
        pytest.param(PLAIN, "killed", id="plain-killed"),  # which takes until the driver loses its patience
    ],
)
def test_process_exit_stops_its_batch(
    device: Device, plain_vm: Vm, memory: Memory, bo: MakeBo, sentinel: Sentinel, mode: int, how: str
) -> None:
    """A process can exit while its endless batch runs, and the batch stores nothing after that."""
    shared, values = memory(SZ_64K, shared=True), [sentinel() for _ in range(3)]
    started, go, late = values

    def use_and_end() -> None:
        own = Device(device.path)
        vm = Vm(own, mode)
        vm.map_userptr(AT, shared.address, SZ_64K)
        vm.queue().start(waiting_batch(started, go, late))
        wait_until(lambda: shared.u32(STARTED) == started, what="the start of the batch")
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    ended = in_child(use_and_end, deadline=40)
    assert not ended.error
    assert ended.signal == (signal.SIGKILL if how == "killed" else 0)
    shared.set_u32(GATE, go)
    assert_usable(plain_vm, bo, sentinel)
    assert shared.u32(TARGET) == 0


def assert_usable(vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """The GPU executes a batch of another process; by then it has long given up the one before."""
    other = bo(SZ_64K)
    content: Buffer = other.map()
    vm.map(other, AT)
    value = sentinel()
    vm.queue().store(AT, value)
    landed(content, 0, value)


@behaviour("bind.userptr.race-eagain")
@acts("store", "ioctl", "overlap")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [PAGE, SZ_64K, 16 * SZ_64K], ids=["4K", "64K", "1M"])
def test_userptr_bind_races_with_invalidation(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, size: int
) -> None:
    """A userptr bind while its memory is replaced succeeds or gives EAGAIN, and succeeds when it is made again."""
    vm, buffer = make_vm(PLAIN), memory(size)
    pages, given, met, refusals = range(0, size, PAGE), [0], 0, 0

    def replace(number: int) -> None:
        buffer.remap_fresh(pages[number % len(pages)], PAGE)
        given[0] += 1

    with meanwhile(replace, each=2000):
        for _ in range(40):
            before = given[0]
            try:
                vm.map_userptr(AT, buffer.address, size)
            except OSError as error:
                if error.errno not in (
                    errno.EAGAIN,
                    errno.ENOMEM,
                ):  # ENOMEM: it had no pause to collect the pages
                    raise
                refusals += 1
            met += given[0] != before
    vm.map_userptr(AT, buffer.address, size)
    queue = vm.queue()
    for offset in sorted({0, size // 2, size - 4}):
        queue.store(AT + offset, value := sentinel())
        landed(buffer, offset, value)
    if not met:
        missed("no page was replaced during a bind")
    chose(f"userptr binds that lost a race: {refusals} of {met}")


@behaviour("userptr.ebusy-becomes-enomem")
@acts("refusal", "store", "overlap")
@needs("device-pages")
@pytest.mark.timeout(120)
def test_bind_that_never_gets_its_pages_is_enomem(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """A userptr bind whose memory changes without a pause gives ENOMEM, not EBUSY; with a pause it succeeds."""
    vm, buffer = make_vm(PLAIN), memory(64 << 20)
    codes = []

    def drop(_: int) -> None:
        buffer.madvise(mmap.MADV_DONTNEED)

    with meanwhile(drop, drop, each=1 << 20):
        for _ in range(4):
            try:
                vm.map_userptr(AT, buffer.address, buffer.size)
            except OSError as error:
                codes.append(error.errno)
                if error.errno == errno.ENOMEM:
                    break
    assert set(codes) <= {errno.ENOMEM, errno.EAGAIN}, [errno.errorcode.get(code or 0) for code in codes]
    vm.map_userptr(AT, buffer.address, buffer.size)
    vm.queue().store(AT + buffer.size - 4, value := sentinel())
    landed(buffer, buffer.size - 4, value)
    if errno.ENOMEM not in codes:
        missed("the bind got its pages between two changes")
    count("refusal")
