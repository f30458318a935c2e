# SPDX-License-Identifier: MIT
"""If a process does not run while its memory has to move, no other process waits."""

from __future__ import annotations

import time
from typing import Any

from gpu import Batch
from ioctl import xe
from mock.driver.lib.sizes import SZ_64K
from mock.kernel import Deferred, Stalled
from tests.mock.driver.gpu_client import FAULT, Gpu

PREFETCH = xe.DRM_XE_VM_BIND_OP_PREFETCH


class Stopped:
    """Stop the process of a client until ``go_on``."""

    def __init__(self, mm: Any) -> None:
        self._mm = mm
        self._isolate = mm.isolate
        self.times = 0
        mm.isolate = self._refuse

    def _refuse(self, start: int, end: int) -> dict[int, bytes | None]:
        self.times += 1
        raise Stalled(self._mm)

    def go_on(self) -> None:
        self._mm.isolate = self._isolate
        waiting, self._mm.waiting = self._mm.waiting, []
        for callback in waiting:
            callback()


def atomic(gpu: Gpu, queue: int, code: int, target: int) -> None:
    """A batch that adds 1 to a dword, which has to be in VRAM for that."""
    gpu.client.mm.write(code, Batch().atomic(target, "add", 1).end().encode())
    gpu.execute(queue, code)


def comes(gpu: Gpu, address: int, value: int) -> bool:
    """The CPU finds it; memory stays in VRAM for some milliseconds of real time after an atomic."""
    deadline = time.monotonic() + 20
    while gpu.client.u32(address) != value and time.monotonic() < deadline:
        gpu.client.run(0.1)
        time.sleep(0.001)
    return gpu.client.u32(address) == value


def test_fault_of_a_stopped_process_waits(open_client: Any) -> None:
    """Its batch neither fails nor continues; another process's batch is not delayed."""
    gpu, other = Gpu(open_client()), Gpu(open_client())
    memory, foreign = gpu.client.mm.map(SZ_64K), other.client.mm.map(SZ_64K)
    code, foreign_code = gpu.client.mm.map(4096), other.client.mm.map(4096)
    queues = []
    for one in (gpu, other):
        vm = one.vm(FAULT)
        one.mirror(vm)
        queues.append(one.queue(vm))
    stopped = Stopped(gpu.client.mm)
    atomic(gpu, queues[0], code, memory)
    atomic(other, queues[1], foreign_code, foreign)
    assert comes(other, foreign, 1)
    assert stopped.times
    assert gpu.client.u32(memory) == 0
    assert not gpu.banned(queues[0])
    stopped.go_on()
    assert comes(gpu, memory, 1)
    assert not gpu.banned(queues[0])


def test_fault_that_waited_counts_once(open_client: Any) -> None:
    """The driver's statistics do not count how often a move had to wait for the process."""
    gpu = Gpu(open_client())
    memory, code = gpu.client.mm.map(SZ_64K), gpu.client.mm.map(4096)
    vm = gpu.vm(FAULT)
    gpu.mirror(vm)
    queue = gpu.queue(vm)
    stats = gpu.client.file.device.gts[0].stats
    names = [
        f"svm_{size}{what}_count" for size in ("4K_", "64K_", "2M_") for what in ("pagefault", "migrate")
    ]
    atomic(gpu, queue, code, memory)
    assert comes(gpu, memory, 1)
    ordinary = [stats[name] for name in names]
    again = gpu.client.mm.map(SZ_64K)
    stopped = Stopped(gpu.client.mm)
    atomic(gpu, queue, code, again)
    gpu.client.run(0.5)
    assert stopped.times
    stopped.go_on()
    assert comes(gpu, again, 1)
    assert any(ordinary)
    assert [stats[name] for name in names] == [2 * value for value in ordinary]


def test_prefetch_of_a_stopped_process_waits(open_client: Any) -> None:
    """VM_BIND sleeps in the meantime, and then has its normal result."""
    gpu = Gpu(open_client())
    memory, vm = gpu.client.mm.map(SZ_64K), gpu.vm(FAULT)
    gpu.client.mm.write(memory, b"before")
    gpu.mirror(vm)
    stopped = Stopped(gpu.client.mm)
    arg = gpu.bind_arg(vm, gpu.op(PREFETCH, addr=memory, range=SZ_64K, prefetch_mem_region_instance=1))
    answer, _ = gpu.client.start(xe.DRM_IOCTL_XE_VM_BIND, arg)
    assert isinstance(answer, Deferred)
    gpu.client.run(1)
    assert not answer.settled
    assert stopped.times
    assert not gpu.client.mm.isolated(memory, memory + SZ_64K)
    stopped.go_on()
    assert gpu.client.settle(answer) == 0
    assert len(gpu.client.mm.isolated(memory, memory + SZ_64K)) == 16
    assert gpu.client.mm.read(memory, 6) == b"before"
