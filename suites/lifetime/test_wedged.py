# SPDX-License-Identifier: MIT
"""Memory that a device has mapped which the driver has declared wedged (xe_svm.c: xe_svm_invalidate)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fixtures import FAULTING, Vm, acts, behaviour, needs, refused, wait_until
from fixtures.choices import chose
from fixtures.given import Sentinel, Unplug
from fixtures.memory import allocate
from fixtures.process import Child, state
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.reset import wedged
from ioctl import xe

pytestmark = [
    needs("page-faults", "cpu-addr-mirror", "driver-unbind", "gt-reset", "fault-injection", "root"),
    pytest.mark.timeout(60),
]


@behaviour("life.wedged-tlb")
@acts("refusal")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("svm-vram"))])
def test_munmap_on_wedged_device_returns_or_waits(
    device: Device, unplug: Unplug, sentinel: Sentinel, place: str
) -> None:
    """Munmap of memory that a wedged device has mapped returns, or waits until the driver is unbound."""
    value = sentinel()
    (ready, tell_ready), (go, tell_go) = os.pipe(), os.pipe()

    def use() -> int:
        own = Device(device.path)
        vm = Vm(own, FAULTING)
        vm.mirror()
        buffer = allocate(SZ_2M, align=SZ_2M)
        vm.queue().store(buffer.address, value)
        vm.prefetch(buffer.address, SZ_2M, own.vram[0] if place == "vram" else 0)
        os.write(tell_ready, b".")
        os.read(go, 1)
        buffer.munmap()
        return value

    child = Child(use)
    try:
        assert os.read(ready, 1) == b"."
        with wedged(device, unplug):
            with refused(errno.ECANCELED):
                device.query(xe.DRM_XE_DEVICE_QUERY_CONFIG)
            os.write(tell_go, b".")
            task = Path(f"/proc/{child.pid}")
            seen = wait_until(
                lambda: {"Z": "returns", "D": "waits"}.get(state(task)),
                20,
                what="munmap to return or to wait",
            )
            chose(f"munmap on a wedged device {seen}")
        ended = child.end(30)
        assert not ended.error, ended.error
        assert ended.result == value
    finally:
        child.kill()
        for end in ready, tell_ready, go, tell_go:
            os.close(end)
