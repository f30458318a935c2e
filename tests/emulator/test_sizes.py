# SPDX-License-Identifier: MIT
"""GPUs of every size, also with more VRAM than their BAR."""

from __future__ import annotations

import pytest

from gpu import Batch
from guest.emulator import device
from guest.emulator.hxg import Action
from guest.emulator.klv import LMEM_SIZE
from tests.emulator.driver import LOCAL, RW, machine

BATCH, DATA = 0x10_0000, 0x20_0000
MIB, GIB = 1 << 20, 1 << 30
SIZES = [
    (256 * MIB, 256 * MIB),
    (3 * GIB, 4 * GIB),
    (8 * GIB, 8 * GIB),
    (GIB, 256 * MIB),
    (8 * GIB, 256 * MIB),
]


@pytest.mark.parametrize(("vram", "bar"), SIZES)
def test_the_last_page_of_memory_is_reached(vram: int, bar: int) -> None:
    driver = machine(1, vram, bar)[0]
    vm = driver.vm(asid=5)
    last = vram - 4096
    vm.map(DATA, last, flags=RW | LOCAL)
    queue = driver.queue(vm).register().enable()
    queue.run(queue.place(Batch().store_dword(DATA + 4092, 0x1234).end(), BATCH))
    assert driver.vram_u32(vram - 4) == 0x1234
    assert not driver.checks.reports


@pytest.mark.parametrize(("vram", "bar"), SIZES)
def test_memory_and_window_are_told_apart(vram: int, bar: int) -> None:
    driver = machine(1, vram, bar)[0]
    assert driver.mailbox(Action.QUERY_SINGLE_KLV, LMEM_SIZE)[1:3] == [vram & 0xFFFF_FFFF, vram >> 32]
    assert driver.gpu.regions[device.REGION_BAR2].size == bar


@pytest.mark.parametrize("shift", [21, 30])
def test_large_pages_lie_beyond_the_window(shift: int) -> None:
    driver = machine(1, 8 * GIB, 256 * MIB)[0]
    vm = driver.vm(asid=5)
    vm.map(1 << 40, 6 * GIB, 1 << shift, RW | LOCAL, shift)
    queue = driver.queue(vm).register().enable()
    queue.run(queue.place(Batch().store_dword((1 << 40) + (1 << shift) - 4, 7).end(), BATCH))
    assert driver.vram_u32(6 * GIB + (1 << shift) - 4) == 7


def test_a_peer_is_reached_through_its_window_only() -> None:
    near, far = machine(2, GIB, 256 * MIB)
    window = far.gpu.vram_window()
    assert window is not None
    start, size, _ = window
    vm = near.vm(asid=5)
    vm.map(DATA, start + size - 4096)
    vm.map(DATA + 4096, start + size)
    queue = near.queue(vm).register().enable()
    queue.run(queue.place(Batch().store_dword(DATA, 1).store_dword(DATA + 4096, 2).end(), BATCH))
    assert far.vram_u32(size - 4096) == 1
    assert far.vram_u32(size) == 0
    assert [report["check"] for report in near.checks.reports] == ["no-memory"]
