# SPDX-License-Identifier: MIT
"""Eviction of memory of which a page is in use (drm_pagemap.c: drm_pagemap_evict_to_ram; xe_bo.c: xe_bo_move).

A CPU fault keeps its page locked while it moves it back, and first tells the notifiers of its range. That of a
userptr waits for all that is under way in the userptr's VM, here for a VM_BIND that waits for a batch, which waits for
the test. So the fault stands still with the page locked for as long as the test likes.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures import PLAIN, acts, behaviour, disturbs, landed, needs, wait_until
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer, numbered
from fixtures.process import Child, state
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import Bo
from fixtures.xe.device import Device
from fixtures.xe.sync import Syncobj
from fixtures.xe.vm import Vm
from gpu import Batch

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound."""
OTHERS = 4
"""Chunks that can be evicted in place of the busy one."""

pytestmark = [
    needs("page-faults", "svm-vram", "userptr", "device-pages", "root", "blocking-unmap"),
    disturbs("it fills the VRAM"),
    pytest.mark.usefixtures("vram_given_back"),
    pytest.mark.timeout(60),
]


class Standing:
    """Has a CPU fault of this process wait, with its page locked, until the gate is open.

    A batch of one VM waits for the gate, and a VM_BIND of another for the batch. In the latter VM the page is a
    userptr.
    """

    def __init__(self, device: Device, gate: Buffer, page: int, go: int) -> None:
        self._waiting = Vm(device, PLAIN)
        self._vm = Vm(device, PLAIN)
        self._gate, self._go, self._device = gate, go, device
        self._waiting.map_userptr(AT, gate.address, PAGE)
        self._vm.map_userptr(AT, page, PAGE)

    def begin(self) -> None:
        """From here on the notifier of the userptr waits."""
        done = Syncobj(self._device)
        self._waiting.queue().start(Batch().semaphore_wait(AT, self._go), [done.sync()])
        bo = Bo(self._device, PAGE)
        self._vm.bind(addr=AT + SZ_2M, range=PAGE, obj=bo.handle, syncs=[done.waiting()])


class Pages:
    """Pages of another process."""

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)

    def present(self, start: int, size: int) -> int:
        """Number of pages that are in system memory and mapped."""
        data = os.pread(self._fd, size // PAGE * 8, start // PAGE * 8)
        return sum(entry >> 63 for (entry,) in struct.iter_unpack("Q", data))


def faults(pid: int) -> bool:
    """Whether a process waits uninterruptibly outside of system calls (proc(5), syscall)."""
    task = Path(f"/proc/{pid}")
    return state(task) == "D" and (task / "syscall").read_text().startswith("-1 ")


def fill_until(device: Device, done: Iterator[bool]) -> list[int]:
    """Allocate BOs in VRAM, large ones first, until ``done``; the sizes of those that were refused."""
    placement, refused = 1 << device.vram[0], []
    size = device.region(device.vram[0]).total_size // 16
    for step in range(64):
        try:
            Bo(device, size if step < 15 else SZ_2M, placement=placement)
        except OSError:
            refused.append(step)
        if next(done):
            break
    return refused


@behaviour("evict.busy-continues", "evict.page-count-reset")
@acts("store", "migrate")
@pytest.mark.parametrize("page", [0, SZ_2M // 2, SZ_2M - PAGE], ids=["first", "middle", "last"])
def test_eviction_passes_over_busy_memory(
    device: Device, mirror_vm: Vm, memory: Memory, sentinel: Sentinel, page: int
) -> None:
    """Eviction leaves a page that the CPU faults on in VRAM, takes the pages next to it, and then other memory."""
    gate, go, queue = memory(PAGE, shared=True), sentinel(), mirror_vm.queue()
    busy, *others = (memory(SZ_2M, align=SZ_2M, populate=False) for _ in range(1 + OTHERS))
    for buffer in busy, *others:
        buffer.madvise(mmap.MADV_NOHUGEPAGE)  # of a huge page, all is busy
        buffer.madvise(mmap.MADV_DONTFORK)
        buffer.write(0, bytes(SZ_2M))
    values = {buffer: numbered(buffer, sentinel) for buffer in (busy, *others)}
    values[busy] |= numbered(busy, sentinel, [page])
    standing = Standing(device, gate, busy.address + page, go)
    parent = os.getpid()
    told, tell = os.pipe()

    def press() -> list[int]:
        """In another process: the fault holds mmap_lock of this one."""
        own, pages = Device(device.path), Pages(parent)
        os.read(told, 1)
        try:
            wait_until(lambda: faults(parent), 20, what="the fault to stand still")

            def evicted() -> Iterator[bool]:
                while True:
                    yield any(pages.present(other.address, SZ_2M) for other in others)

            refused = fill_until(own, evicted())
            return [
                len(refused),
                pages.present(busy.address, SZ_2M),
                pages.present(busy.address + page, PAGE),
                sum(pages.present(other.address, SZ_2M) for other in others),
            ]
        finally:
            gate.set_u32(0, go)

    child = Child(press)
    try:
        for buffer in busy, *others:
            mirror_vm.prefetch(buffer.address, SZ_2M, device.vram[0])
            assert not any(buffer.present(offset) for offset in range(0, SZ_2M, PAGE))
        queue.store(busy.address + page + 4, stored := sentinel())
        standing.begin()
        os.write(tell, b".")
        seen = busy.u32(page)
        ended = child.end(30)
    finally:
        gate.set_u32(0, go)
        child.kill()
        os.close(told)
        os.close(tell)
    assert not ended.error, ended.error
    refused, moved, locked, elsewhere = ended.result
    assert moved == SZ_2M // PAGE - 1, f"{moved} pages of the busy memory were evicted"
    assert not locked
    assert elsewhere, "nothing else was evicted"
    assert not refused, f"{refused} BOs were refused"
    count("migrate")
    assert seen == values[busy][page]
    landed(busy, page + 4, stored)
    for buffer, known in values.items():
        assert {offset: buffer.u32(offset) for offset in known} == known
