# SPDX-License-Identifier: MIT
"""Memory that comes back from VRAM, and the VRAM that it leaves (drm_pagemap.c: drm_pagemap_zdd_put)."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from fixtures import acts, behaviour, disturbs, landed, needs, returned, wait_until
from fixtures.choices import chose
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE, Buffer
from fixtures.sizes import SZ_2M
from fixtures.xe.vm import Vm

PIECES = 8
"""CPU mappings of a range."""

pytestmark = [
    needs("page-faults", "vram", "svm-vram", "cpu-addr-mirror"),
    disturbs("it fills the VRAM"),
    pytest.mark.usefixtures("vram_given_back"),
]


@behaviour("evict.cpu-touch-frees")
@acts("cpu-fault")
@pytest.mark.parametrize("chunks", [1, 4])
def test_vram_is_free_when_all_memory_is_back(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, chunks: int
) -> None:
    """When CPU accesses have brought back all of a device allocation, its VRAM is freed."""
    buffer, queue = memory(chunks * SZ_2M, align=SZ_2M), mirror_vm.queue()
    queue.store(memory(PAGE).address, sentinel())
    before = mirror_vm.device.vram_used()
    starts = range(0, buffer.size, SZ_2M)
    values = {offset: sentinel() for start in starts for offset in (start, start + SZ_2M - 4)}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    full = mirror_vm.device.vram_used()
    assert full >= before + chunks * SZ_2M
    for start in starts:
        returned(buffer, start, values[start].to_bytes(4, "little"))
        for page in range(start, start + SZ_2M, PAGE):
            buffer.u32(page)
    wait_until(lambda: mirror_vm.device.vram_used() <= full - chunks * SZ_2M, what="the release of VRAM")
    for offset, value in values.items():
        landed(buffer, offset, value)


@behaviour("evict.many-cpu-vmas")
@acts("store")
@pytest.mark.parametrize("back", ["cpu", "prefetch"])
def test_range_of_many_cpu_mappings_comes_back(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, back: str
) -> None:
    """A range in VRAM that was split into many CPU VMAs comes back whole, with the data of each."""
    buffer, queue = memory(SZ_2M, align=SZ_2M), mirror_vm.queue()
    size = SZ_2M // PIECES
    values = {offset: sentinel() for n in range(PIECES) for offset in (n * size, (n + 1) * size - 4)}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    assert not buffer.present(0)
    for piece in range(0, PIECES, 2):
        buffer.madvise(mmap.MADV_DONTFORK, piece * size, size)  # cuts the mapping, and touches no page
    assert _mappings(buffer) >= PIECES
    if back == "prefetch":
        mirror_vm.prefetch(buffer.address, SZ_2M, 0)
        back_now = {buffer.present(offset) for offset in range(0, SZ_2M, PAGE)}
        chose(
            f"PREFETCH to system memory of many CPU mappings: {'all' if back_now == {True} else 'not all'} back"
        )
    for offset, value in values.items():
        landed(buffer, offset, value)


def _mappings(buffer: Buffer) -> int:
    """VMAs of the process that begin inside the buffer."""
    starts = [int(line.partition("-")[0], 16) for line in Path("/proc/self/maps").read_text().splitlines()]
    return sum(buffer.address <= start < buffer.end for start in starts)
