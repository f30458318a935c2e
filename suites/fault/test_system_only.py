# SPDX-License-Identifier: MIT
"""A GPU with VRAM and a driver built without SVM migration (Kconfig: DRM_XE_PAGEMAP)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.device import Device
from fixtures.xe.flags import PREFERRED_LOC
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm

CONSULT = -1

pytestmark = needs("page-faults", "vram", "no-svm-vram")


def vram_used(device: Device) -> list[int]:
    """Bytes, of each region."""
    return [device.region(instance).used for instance in device.vram]


@behaviour("fault.no-pagemap-config")
@acts("load", "store")
@pytest.mark.parametrize("asked", ["fault", "vram", "advice"])
def test_mirror_without_pagemap_stays_in_sysmem(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel, asked: str
) -> None:
    """Faults, and PREFETCH to VRAM or the default location, leave memory in system memory and use no VRAM."""
    device, buffer = mirror_vm.device, memory(2 * SZ_2M, align=SZ_2M)
    values = {offset: sentinel() for offset in (0, SZ_2M - 4, SZ_2M, 2 * SZ_2M - 4)}
    for offset, value in values.items():
        buffer.set_u32(offset, value)
    used = vram_used(device)
    if asked != "fault":
        region = device.vram[0] if asked == "vram" else CONSULT
        mirror_vm.prefetch(buffer.address, buffer.size, region)
    for offset, value in values.items():
        gpu_sees(queue, buffer.address + offset, value)
        stored = sentinel()
        queue.store(buffer.address + offset, stored)
        landed(buffer, offset, stored)
    assert all(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
    assert max(now - before for before, now in zip(used, vram_used(device), strict=True)) < SZ_2M


@behaviour("fault.no-pagemap-location")
@acts("refusal", "load")
@needs("range-attributes")
@pytest.mark.parametrize("region", [0, 1], ids=["system", "vram"])
def test_preferred_vram_without_pagemap_is_enoent(
    mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel, region: int
) -> None:
    """A devmem_fd of the device itself, with any region, gives ENOENT, and the attributes are unchanged."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    before = [bytes(area) for area in mirror_vm.attributes(buffer.address, SZ_2M)]
    with refused(errno.ENOENT):
        mirror_vm.madvise(
            buffer.address,
            SZ_2M,
            PREFERRED_LOC,
            devmem_fd=mirror_vm.device.fd,
            region_instance=region,
        )
    assert [bytes(area) for area in mirror_vm.attributes(buffer.address, SZ_2M)] == before
    buffer.set_u32(0, value)
    gpu_sees(queue, buffer.address, value)
