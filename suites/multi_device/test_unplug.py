# SPDX-License-Identifier: MIT
"""The driver is unbound from a device while others use its VRAM (drm_pagemap.c: DOC Overview; xe_svm.c).

Unbinding the driver is as close to hot-unplug as user space can get.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused, wait_until
from fixtures.given import MakeVm, Memory, OpenDevice, Sentinel, Unplug
from fixtures.memory import PAGE, Buffer, numbered
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.flags import CONSULT, PREFERRED_LOC
from fixtures.xe.vm import FAULTING, Vm

REFERENCES = Path("/sys/module/xe/refcnt")

pytestmark = [
    needs("page-faults", "two-devices", "vram", "svm-vram", "driver-unbind"),
    pytest.mark.timeout(60),
    # 7.0 warns whenever the driver starts on a virtual function.
    pytest.mark.kernel_log("xe_gt_mcr_get_nonterminated_steering"),
]


@pytest.fixture
def buffer(memory: Memory) -> Buffer:
    """Memory of two chunks."""
    return memory(2 * SZ_2M, align=SZ_2M)


@behaviour("md.fd.unplugged")
@acts("refusal", "load")
@needs("range-attributes")
def test_devmem_fd_of_unbound_device_is_enodev(
    mirror_vm: Vm, devices: list[Device], unplug: Unplug, buffer: Buffer, sentinel: Sentinel
) -> None:
    """PREFERRED_LOC on an unbound device gives ENODEV, and the attributes are unchanged."""
    value, region = sentinel(), devices[1].vram[0]
    buffer.set_u32(0, value)
    before = [bytes(area) for area in mirror_vm.attributes(buffer.address, buffer.size)]
    with unplug(devices[1]):
        with refused(errno.ENODEV):
            mirror_vm.madvise(
                buffer.address,
                buffer.size,
                PREFERRED_LOC,
                devmem_fd=devices[1].fd,
                region_instance=region,
            )
        assert [bytes(area) for area in mirror_vm.attributes(buffer.address, buffer.size)] == before
        gpu_sees(mirror_vm.queue(), buffer.address, value)


@behaviour("md.unbind-b-keeps-data")
@acts("load", "store")
@pytest.mark.parametrize(
    "linked",
    [pytest.param(True, marks=needs("interconnect"), id="advised"), pytest.param(False, id="default")],
)
def test_driver_unbind_moves_memory_to_sysmem(
    mirror_vm: Vm,
    make_vm: MakeVm,
    devices: list[Device],
    unplug: Unplug,
    buffer: Buffer,
    sentinel: Sentinel,
    linked: bool,
) -> None:
    """Unbinding the driver moves memory in its VRAM to system memory, with its data for the CPU and the other GPU."""
    values, queue, far = numbered(buffer, sentinel), mirror_vm.queue(), make_vm(FAULTING, devices[1])
    far.mirror()
    if linked:
        mirror_vm.prefer(buffer, devices[1].fd, devices[1].vram[0])
        gpu_sees(queue, buffer.address, values[0])
    far.prefetch(buffer.address, buffer.size, devices[1].vram[0])
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
    with unplug(devices[1]):
        assert all(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
        for offset in range(0, SZ_2M, SZ_64K):
            assert buffer.u32(offset) == values[offset]
        for offset, value in values.items():
            gpu_sees(queue, buffer.address + offset, value)
        value = sentinel()
        queue.store(buffer.address + SZ_64K, value)
        landed(buffer, SZ_64K, value)


@behaviour("md.unbind-blocks-new", "migrate.device-unbound", "pml.revoke-on-offline")
@acts("load", "store", "exec")
@needs("interconnect")
def test_nothing_migrates_to_unbound_device(
    mirror_vm: Vm, devices: list[Device], unplug: Unplug, buffer: Buffer, sentinel: Sentinel
) -> None:
    """With an unbound device as preferred location, faults and PREFETCH use system memory, and succeed."""
    values, queue = numbered(buffer, sentinel), mirror_vm.queue()
    mirror_vm.prefer(buffer, devices[1].fd, devices[1].vram[0])
    gpu_sees(queue, buffer.address, values[0])
    assert not buffer.present()
    with unplug(devices[1]):
        mirror_vm.prefetch(buffer.address, SZ_2M, CONSULT)
        for offset, value in values.items():
            gpu_sees(queue, buffer.address + offset, value)
        assert all(buffer.present(offset) for offset in range(0, buffer.size, PAGE))
        value = sentinel()
        queue.store(buffer.address + SZ_64K, value)
        landed(buffer, SZ_64K, value)


def references() -> int:
    """Reference count of the driver's module."""
    return int(REFERENCES.read_text())


@behaviour("md.module-pinned")
@acts("load")
def test_memory_in_vram_holds_module_reference(
    open_device: OpenDevice, devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """Memory in VRAM holds a reference on the module, even after VM and descriptor are closed."""
    # To unbind the device in this state may take the kernel along: see docs/findings.md.
    device, buffer, value = open_device(devices[1].path), memory(SZ_2M, align=SZ_2M), sentinel()
    vm = Vm(device, FAULTING)
    vm.mirror()
    buffer.set_u32(0, value)
    gpu_sees(vm.queue(), buffer.address, value)
    vm.close()
    device.close()
    assert not buffer.present()
    held = references()
    assert buffer.u32(0) == value
    wait_until(lambda: references() < held, what="the release of the module")
