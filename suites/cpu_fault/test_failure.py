# SPDX-License-Identifier: MIT
"""Memory that cannot be brought back from VRAM (drm_pagemap.c: __drm_pagemap_migrate_to_ram).

Each test runs in a child process: what the kernel does to a program then is to end it, unless it handles SIGBUS. Python
does so after the interrupted access has been tried again, which these tests check.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import Any

import pytest

from fixtures import FAULTING, Vm, acts, behaviour, failing, in_child, needs, untested
from fixtures.counting import count
from fixtures.given import Sentinel
from fixtures.kinds import huge_bytes
from fixtures.memory import PAGE, allocate
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue

LARGE_ORDER = 9
MADV_HUGEPAGE = 14

pytestmark = needs("page-faults", "vram", "fault-injection")


def child(path: str, body: Callable[[Queue], Any]) -> Any:
    """Result of ``body`` in a child process, with a queue of a VM that mirrors the child."""
    failing.nth_counts_allocations()

    def run() -> Any:
        with Device(path) as device:
            vm = Vm(device, FAULTING)
            vm.mirror()
            return body(vm.queue())

    ended = in_child(run, deadline=20)
    assert not ended.signal, f"signal {ended.signal} ended the child"
    assert not ended.error, ended.error
    return ended.result


@behaviour("cpu-fault.sigbus-on-failure", "cpu-fault.error-keeps-device-page")
@acts("cpu-fault")
@pytest.mark.parametrize("kind", [None, failing.pages(0)], ids=["arrays", "pages"])
@pytest.mark.timeout(30)
def test_failed_migration_to_ram_raises_sigbus(
    device: Device, sentinel: Sentinel, kind: failing.Nth | None
) -> None:
    """If no page can be allocated, a CPU load of memory in VRAM raises SIGBUS; the next one gets the GPU's data."""

    def body(queue: Queue) -> list[tuple[bool, bool]]:
        raised, seen, rounds = [], [], []
        signal.signal(signal.SIGBUS, lambda *_: raised.append(1))
        buffer = allocate(SZ_64K, align=SZ_64K)
        value = sentinel()
        queue.store(buffer.address, value)
        for _ in failing.each_allocation(lambda: seen.append(buffer.u32(0)), kind):
            rounds.append((seen.pop() == value, bool(raised)))
            raised.clear()
            value = sentinel()
            queue.store(buffer.address, value)
        return rounds

    rounds = child(device.path, body)
    assert all(right for right, _ in rounds), rounds
    *failed, last = (raised for _, raised in rounds)
    assert any(failed), "no failure raised SIGBUS"
    assert not last, "SIGBUS, although nothing failed"
    for _ in rounds:
        count("cpu-fault")


@behaviour("cpu-fault.highorder-fallback", "migrate.thp-alloc-fails")
@acts("cpu-fault")
@needs("thp")
@pytest.mark.timeout(30)
def test_large_page_returns_as_small_pages(device: Device, sentinel: Sentinel, rng: random.Random) -> None:
    """If no large page can be allocated, a large page in VRAM comes back as small ones, with every byte intact."""

    def body(queue: Queue) -> tuple[int, bool, int]:
        buffer, data = allocate(SZ_2M, align=SZ_2M), bytearray(rng.randbytes(SZ_2M))
        buffer.madvise(MADV_HUGEPAGE)
        buffer.write(0, bytes(data))
        for offset in range(0, SZ_2M, SZ_2M // 8):
            at, value = offset + PAGE * (offset // PAGE % 3), sentinel()
            queue.store(buffer.address + at, value)
            data[at : at + 4] = value.to_bytes(4, "little")
        with failing.no_pages(LARGE_ORDER) as failed:
            buffer.u32(0)  # brings all of it back
        large = huge_bytes(buffer)
        return failed.times, buffer.bytes() == data, large

    refusals, right, large = child(device.path, body)
    if not refusals:
        untested("no-large-page", "memory that came back from VRAM did not ask for a large page")
    assert right, "a wrong byte"
    assert not large, "a large page, although none could be allocated"
    count("cpu-fault")
