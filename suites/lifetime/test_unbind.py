# SPDX-License-Identifier: MIT
"""The driver is unbound while a process uses the device (drm_ioctl.c: drm_dev_is_unplugged; xe_vm.c: xe_vm_close)."""

from __future__ import annotations

import errno

import pytest

from fixtures import FAULTING, Vm, acts, behaviour, gpu_sees, known, landed, needs, refused
from fixtures.given import Memory, OpenDevice, Sentinel, Unplug
from fixtures.memory import PAGE
from fixtures.pci import Slot
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.device import Device
from ioctl import xe

pytestmark = [
    needs("page-faults", "cpu-addr-mirror", "driver-unbind"),
    pytest.mark.timeout(60),
    # 7.0 warns whenever the driver starts on a virtual function.
    pytest.mark.kernel_log("xe_gt_mcr_get_nonterminated_steering"),
]


@behaviour("life.device-unbind")
@acts("refusal", "store")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("svm-vram"))])
def test_ioctl_after_driver_unbind_is_enodev(
    device: Device, mirror_vm: Vm, unplug: Unplug, memory: Memory, sentinel: Sentinel, place: str
) -> None:
    """After unbind every ioctl on an open file gives ENODEV, and the process keeps what the GPU stored."""
    buffer, queue = memory(SZ_2M, align=SZ_2M), mirror_vm.queue()
    mirror_vm.prefetch(buffer.address, SZ_2M, device.vram[0] if place == "vram" else 0)
    values = {offset: sentinel() for offset in range(0, SZ_2M, SZ_64K)}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    assert buffer.present() == (place == "system")
    with unplug(device):
        for _ in range(2):
            with refused(errno.ENODEV):
                device.query(xe.DRM_XE_DEVICE_QUERY_CONFIG)
            with refused(errno.ENODEV):
                mirror_vm.prefetch(buffer.address, SZ_2M)
            with refused(errno.ENODEV):
                queue.submit(buffer.address)
            with refused(errno.ENODEV):
                Vm(device)
        for offset, value in values.items():
            landed(buffer, offset, value)
        buffer.set_u32(0, values[SZ_64K])
        landed(buffer, 0, values[SZ_64K])
    # Before the memory is unmapped, which would crash the kernel: see docs/findings.md.
    mirror_vm.close()


@known(
    "Unbinding frees memory of bos that a running VM with page faults still reaches",
    first="7.0",
    signature="the emulated GPU reports gpu*: translation-outlives-dma: *",
    needs=("iommu", "gpu-failures"),
)
@behaviour("life.device-unbind")
@acts("load", "store")
def test_device_works_after_driver_rebind(
    device: Device, mirror_vm: Vm, unplug: Unplug, open_device: OpenDevice, memory: Memory, sentinel: Sentinel
) -> None:
    """After the driver is bound again, the device at the same node can use the same memory of the same process."""
    buffer, values = memory(SZ_2M, align=SZ_2M), [sentinel(), sentinel()]
    slot = Slot(device)
    mirror_vm.queue().store(buffer.address, values[0])
    # With the VM open: without it this may crash the kernel, see docs/findings.md.
    with unplug(device):
        pass
    mirror_vm.close()
    slot.bind()
    vm = Vm(open_device(slot.node), FAULTING)
    vm.mirror()
    queue = vm.queue()
    gpu_sees(queue, buffer.address, values[0])
    queue.store(buffer.address + PAGE, values[1])
    landed(buffer, PAGE, values[1])
    vm.close()
