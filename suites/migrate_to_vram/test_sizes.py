# SPDX-License-Identifier: MIT
"""GPU copies of any size from and to memory of the process, wherever it is (xe_svm.c: __xe_svm_handle_pagefault)."""

from __future__ import annotations

import random

import pytest

from fixtures import acts, behaviour, needs
from fixtures.counting import count
from fixtures.given import Memory
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_1M, SZ_2M, SZ_64K
from fixtures.timeouts import scale_timeout
from fixtures.xe.flags import DEFAULT_SYSTEM, PREFERRED_LOC
from fixtures.xe.sync import SECOND
from fixtures.xe.vm import Vm
from gpu import Batch

SIZES = (
    128,
    PAGE - 1,
    PAGE + 1,
    SZ_64K - 3,
    SZ_64K + 129,
    SZ_2M - 1,
    SZ_2M + 7,
    5 * SZ_2M + PAGE + 1,
    33 * SZ_1M + 5,
)
EDGE = 64
"""Bytes on either side of a copy that it must leave alone."""

pytestmark = needs("page-faults", "svm-vram")


def placed(vm: Vm, memory: Memory, size: int, place: str) -> Buffer:
    """Memory with EDGE bytes more on either side, that a GPU has in VRAM or in system memory."""
    buffer = memory(-(-(size + 2 * EDGE) // PAGE) * PAGE, align=SZ_2M)
    if place == "system":
        vm.madvise(buffer.address, buffer.size, PREFERRED_LOC, devmem_fd=DEFAULT_SYSTEM)
    return buffer


@behaviour("migrate.odd-sizes")
@acts("exec", "load", "store")
@pytest.mark.parametrize("source", ["system", "vram"])
@pytest.mark.parametrize("target", ["system", "vram"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.timeout(60)
def test_copy_of_odd_size_is_right(
    mirror_vm: Vm, memory: Memory, rng: random.Random, size: int, source: str, target: str
) -> None:
    """A copy between memory in VRAM or system memory has each of its bytes, and none next to them."""
    queue = mirror_vm.queue()
    here, there = (placed(mirror_vm, memory, size, place) for place in (source, target))
    block = rng.randbytes(min(size, SZ_1M + 13))
    data = (block * (-(-size // len(block))))[:size]
    here.write(EDGE, data)
    there.fill(b"\x5a")
    for buffer, place in ((here, source), (there, target)):
        if place == "vram":
            mirror_vm.prefetch(buffer.address, buffer.size, mirror_vm.device.vram[0])
    queue.run(Batch().copy(there.address + EDGE, here.address + EDGE, size), int(scale_timeout(30 * SECOND)))
    if target == "vram" and there.size >= SZ_64K:
        assert not there.present(there.size // 2)
    seen = there.bytes()
    assert seen[EDGE : EDGE + size] == data
    assert set(seen[:EDGE] + seen[EDGE + size :]) == {0x5A}
    assert here.bytes(EDGE, size) == data
    count("load")
    count("store")
