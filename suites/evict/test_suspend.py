# SPDX-License-Identifier: MIT
"""The machine sleeps while memory of a process is in VRAM, which loses power (xe_pm.c, xe_bo_evict.c)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import Buffer, acts, behaviour, gpu_sees, landed, needs
from fixtures.device import Device
from fixtures.vm import Vm

CHUNK = 1 << 21
PIECE = 1 << 16
POWER = Path("/sys/power")
PAUSE = Path("/sys/module/suspend/parameters/pm_test_delay")
"""Seconds that devices stay suspended in a test."""

pytestmark = [needs("page-faults", "vram", "suspend"), pytest.mark.timeout(60)]


def sleep_and_wake() -> None:
    """Devices are suspended, and resumed at once (Documentation/power/basic-pm-debugging.rst)."""
    test, pause = POWER / "pm_test", PAUSE.read_text()
    PAUSE.write_text("0")
    test.write_text("devices")
    try:
        (POWER / "state").write_text("freeze")
    finally:
        test.write_text("none")
        PAUSE.write_text(pause)


@behaviour("evict.suspend-resume")
@acts("load", "store")
def test_memory_in_vram_survives_a_suspend(
    mirror_vm: Vm, device: Device, memory: Callable[..., Buffer], sentinel: Callable[[], int]
) -> None:
    """After suspend and resume memory that was in VRAM has its data for GPU and CPU."""
    buffer, queue = memory(4 * CHUNK, align=CHUNK), mirror_vm.queue()
    values = {offset: sentinel() for offset in range(0, buffer.size, PIECE)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    mirror_vm.prefetch(buffer.address, buffer.size, device.vram[0])
    for offset in list(values)[::3]:
        values[offset] = sentinel()
        queue.store(buffer.address + offset, values[offset])
    assert not buffer.present()
    sleep_and_wake()
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
    for offset, value in values.items():
        landed(buffer, offset, value)
