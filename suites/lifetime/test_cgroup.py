# SPDX-License-Identifier: MIT
"""A program at its limit of memory: the OOM killer, and the way back from VRAM (Documentation/mm/hmm.rst)."""

from __future__ import annotations

import signal

import pytest

from fixtures import FAULTING, Vm, acts, behaviour, landed, needs, wait_until
from fixtures.cgroup import memory_group
from fixtures.counting import count
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, allocate
from fixtures.process import in_child
from fixtures.seeds import sentinel as random_value
from fixtures.sizes import SZ_1M, SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from gpu import Batch

USED = 8 * SZ_2M
"""Bytes that a program has the GPU use."""
MORE = 96 * SZ_1M
"""Bytes that it may have above what it has at the start."""

LEFT = SZ_1M
"""Bytes that a program at its limit may use for itself: less than two moves of 2 MiB back from VRAM would need."""

pytestmark = [needs("page-faults", "cpu-addr-mirror", "device-pages", "root"), pytest.mark.timeout(120)]


def mirrored(device: Device) -> Queue:
    """A queue on a new descriptor that mirrors the process."""
    vm = Vm(Device(device.path), FAULTING)
    vm.mirror()
    return vm.queue()


@behaviour("life.oom-kill")
@acts("store")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "running"])
def test_oom_kill_of_mirrored_program_ends_it(
    device: Device, mirror_vm: Vm, memory: Memory, sentinel: Sentinel, busy: bool
) -> None:
    """The OOM killer ends a program that uses the GPU: all its memory is freed, and other programs keep running."""
    queue, buffer = mirror_vm.queue(), memory(USED, align=SZ_2M)
    queue.store(buffer.address, sentinel())
    with memory_group() as group:

        def fill() -> None:
            group.enter()
            group.limit(group.current + MORE)
            own = mirrored(device)
            used = allocate(USED, align=SZ_2M)
            own.store_all({used.address + at: random_value() for at in range(0, USED, SZ_2M)})
            if busy:
                own.start(Batch().semaphore_wait(used.address, 0, "!="))  # which is 0 never
                used.set_u32(0, 0)
            while True:
                allocate(SZ_2M, fill=b"\1")

        ended = in_child(fill, deadline=60)
        assert ended.signal == signal.SIGKILL
        assert group.events("oom_kill") >= 1
        wait_until(lambda: group.current < MORE // 2, 20, what="the release of the program's memory")
        count("ioctl")
    for offset in range(0, USED, SZ_2M):
        queue.store(buffer.address + offset, value := sentinel())
        landed(buffer, offset, value)


@behaviour("cpu-fault.memcg-limit")
@acts("cpu-fault")
@needs("svm-vram")
@pytest.mark.parametrize("touch", ["load", "store"])
def test_cpu_touch_at_memory_limit_returns_data(device: Device, touch: str) -> None:
    """A CPU touch of memory in VRAM succeeds in a program that has as much memory as its cgroup allows."""
    with memory_group() as group:

        def at_limit() -> list[bool]:
            group.enter()
            own = mirrored(device)
            used = allocate(USED, align=SZ_2M)
            values = {at: random_value() for at in range(0, USED, PAGE * 64)}
            for at, value in values.items():
                used.set_u32(at, value)
            own.vm.prefetch(used.address, USED, own.vm.device.vram[0])
            there = [not used.present(at) for at in values]
            group.limit(group.current + LEFT)
            seen = []
            for at, value in values.items():
                if touch == "store":
                    used.set_u32(at + 4, value)
                seen.append(used.u32(at) == value)
            return [all(there), all(seen)]

        ended = in_child(at_limit, deadline=60)
    assert not ended.error, ended.error
    assert ended.signal == 0, f"the program ended with signal {ended.signal}"
    assert ended.result == [True, True]
    count("cpu-fault")
