# SPDX-License-Identifier: MIT
"""Several GPUs: PREFERRED_LOC on another device, and who can access its VRAM (xe_vm_madvise.c, xe_svm.c)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fixtures import acts, behaviour, driver_only, gpu_sees, landed, needs, refused
from fixtures.given import Memory, Sentinel
from fixtures.sizes import SZ_2M
from fixtures.xe.counters import Counters
from fixtures.xe.device import Device
from fixtures.xe.flags import CONSULT
from fixtures.xe.vm import Vm
from ioctl import xe

ALL_PAGES = xe.DRM_XE_MIGRATE_ALL_PAGES

pytestmark = needs("page-faults")


@behaviour("md.fd.not-open")
@acts("refusal")
@needs("range-attributes")
def test_closed_devmem_fd_is_enoent(mirror_vm: Vm, memory: Memory) -> None:
    """A devmem_fd that is not open gives ENOENT, and the attributes are unchanged."""
    buffer = memory(SZ_2M, align=SZ_2M)
    before = [bytes(area) for area in mirror_vm.attributes(buffer.address, SZ_2M)]
    with refused(errno.ENOENT):
        mirror_vm.prefer(buffer, 0x7FFF_FFF0, 1)
    assert [bytes(area) for area in mirror_vm.attributes(buffer.address, SZ_2M)] == before


@behaviour("md.fd.not-xe")
@acts("refusal")
def test_devmem_fd_of_plain_file_is_enoent(mirror_vm: Vm, memory: Memory, tmp_path: Path) -> None:
    """A devmem_fd that is a plain file gives ENOENT."""
    with (tmp_path / "file").open("w") as file, refused(errno.ENOENT):
        mirror_vm.prefer(memory(SZ_2M, align=SZ_2M), file.fileno(), 1)


@behaviour("md.fd.region-zero", "md.fd.region-unknown")
@acts("refusal")
@needs("vram")
@pytest.mark.parametrize("region", [0, 7, 31, 0xFFFF])
def test_non_vram_region_instance_is_enoent(
    mirror_vm: Vm, device: Device, memory: Memory, region: int
) -> None:
    """A region instance of a device that is not one of its VRAM regions gives ENOENT."""
    with refused(errno.ENOENT):
        mirror_vm.prefer(memory(SZ_2M, align=SZ_2M), device.fd, region)


@behaviour("md.fd.own-device", "obs.size-class-counters")
@acts("migrate", "load")
@needs("vram", "svm-counters", "svm-vram")
def test_preferred_vram_of_own_device(
    mirror_vm: Vm, device: Device, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """PREFERRED_LOC can name the VRAM of the VM's own device: a fault then migrates the memory there."""
    buffer, value, before = memory(SZ_2M, align=SZ_2M), sentinel(), counters.snapshot()
    buffer.set_u32(0, value)
    mirror_vm.prefer(buffer, device.fd, device.vram[0])
    gpu_sees(mirror_vm.queue(), buffer.address, value)
    with driver_only("obs.size-class-counters"):
        counters.rose("svm_2M_migrate_count", since=before)
    assert not buffer.present()


@behaviour("md.two-gpus-share", "md.one-device-1to1")
@acts("store", "load")
@needs("two-devices")
def test_two_gpus_share_one_buffer(mirror_pair: tuple[Vm, Vm], memory: Memory, sentinel: Sentinel) -> None:
    """Each GPU sees what the other and the CPU stored to a shared buffer."""
    buffer, queues = memory(SZ_2M, align=SZ_2M), [vm.queue() for vm in mirror_pair]
    for writer, reader in (queues, queues[::-1], queues):
        value = sentinel()
        writer.store(buffer.address, value)
        gpu_sees(reader, buffer.address, value)
        landed(buffer, 0, value)
        value = sentinel()
        buffer.set_u32(4, value)
        gpu_sees(writer, buffer.address + 4, value)
        gpu_sees(reader, buffer.address + 4, value)


@behaviour("md.place-remote", "md.remote-map-in-place", "p2p.address-mapping", "p2p.owner-by-distance")
@acts("store", "load", "query")
@needs("two-devices", "interconnect", "vram")
def test_preferred_vram_of_other_gpu(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """With the other GPU's VRAM as PREFERRED_LOC, a fault places memory there; both GPUs and the CPU see its data."""
    near, far = mirror_pair
    instance = devices[1].vram[0]
    buffer = memory(4 * SZ_2M, align=SZ_2M, fill=b"\x42")
    near.prefer(buffer, devices[1].fd, instance)
    before = devices[1].region(instance).used
    values = {offset: sentinel() for offset in (0, SZ_2M, 2 * SZ_2M, 4 * SZ_2M - 4)}
    queue = near.queue()
    for offset, value in values.items():
        queue.store(buffer.address + offset, value)
    assert devices[1].region(instance).used >= before + buffer.size - SZ_2M
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, SZ_2M))
    for offset, value in values.items():
        gpu_sees(far.queue(), buffer.address + offset, value)
        landed(buffer, offset, value)
    assert buffer.u32(8) == 0x42424242


@behaviour("md.fd-closed-after")
@acts("store", "query")
@needs("two-devices", "interconnect", "vram")
def test_preferred_location_outlives_its_fd(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """After the devmem_fd is closed, memory is still placed on that device."""
    instance, buffer = devices[1].vram[0], memory(4 * SZ_2M, align=SZ_2M, fill=b"\x42")
    fd = os.open(devices[1].path, os.O_RDWR | os.O_CLOEXEC)
    mirror_pair[0].prefer(buffer, fd, instance)
    os.close(fd)
    before, value, queue = devices[1].region(instance).used, sentinel(), mirror_pair[0].queue()
    for offset in range(0, buffer.size, SZ_2M):
        queue.store(buffer.address + offset, value)
    assert devices[1].region(instance).used >= before + buffer.size - SZ_2M
    landed(buffer, 0, value)


@behaviour("md.fd.no-interconnect", "p2p.owner-by-distance")
@acts("refusal", "store")
@needs("two-devices", "no-interconnect", "vram", "range-attributes")
def test_preferred_device_without_link_is_enolink(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """PREFERRED_LOC on a device without a fast link gives ENOLINK, changes nothing, and the memory is usable."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    before = [bytes(area) for area in mirror_pair[0].attributes(buffer.address, SZ_2M)]
    with refused(errno.ENOLINK):
        mirror_pair[0].prefer(buffer, devices[1].fd, devices[1].vram[0])
    assert [bytes(area) for area in mirror_pair[0].attributes(buffer.address, SZ_2M)] == before
    mirror_pair[0].queue().store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("md.two-gpus-without-link")
@acts("store", "load")
@needs("two-devices", "vram")
def test_memory_in_vram_is_usable_by_other_gpu(
    mirror_pair: tuple[Vm, Vm], memory: Memory, sentinel: Sentinel
) -> None:
    """The other GPU can use memory that one GPU's fault migrated to its VRAM, with or without a fast link."""
    buffer, queues = memory(2 * SZ_2M, align=SZ_2M), [vm.queue() for vm in mirror_pair]
    first, second = sentinel(), sentinel()
    queues[0].store(buffer.address, first)
    queues[1].store(buffer.address + SZ_2M, second)
    gpu_sees(queues[1], buffer.address, first)
    gpu_sees(queues[0], buffer.address + SZ_2M, second)
    landed(buffer, 0, first)
    landed(buffer, SZ_2M, second)


@behaviour("md.device-to-device-copy")
@acts("load", "store")
@needs("two-devices", "interconnect", "vram")
def test_prefetch_moves_memory_between_gpus(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """PREFETCH moves memory from the VRAM of one GPU to the other's, with its data."""
    buffer, values = memory(SZ_2M, align=SZ_2M), {offset: sentinel() for offset in (0, 4096, SZ_2M - 4)}
    for offset, value in values.items():
        mirror_pair[0].queue().store(buffer.address + offset, value)
    before = devices[1].vram_used()
    mirror_pair[1].prefetch(buffer.address, SZ_2M, devices[1].vram[0])
    assert devices[1].vram_used() > before + SZ_2M // 2
    assert not buffer.present()
    for offset, value in values.items():
        gpu_sees(mirror_pair[1].queue(), buffer.address + offset, value)
        landed(buffer, offset, value)


@behaviour("md.prefetch-remote")
@acts("load", "query")
@needs("two-devices", "interconnect", "vram")
def test_prefetch_goes_to_preferred_location(
    mirror_pair: tuple[Vm, Vm], devices: list[Device], memory: Memory, sentinel: Sentinel
) -> None:
    """PREFETCH to the preferred location moves memory to the other GPU's VRAM, if that is preferred."""
    instance, buffer, value = devices[1].vram[0], memory(SZ_2M, align=SZ_2M), sentinel()
    buffer.set_u32(0, value)
    mirror_pair[0].prefer(buffer, devices[1].fd, instance)
    before = devices[1].region(instance).used
    mirror_pair[0].prefetch(buffer.address, SZ_2M, CONSULT)
    assert devices[1].region(instance).used > before + SZ_2M // 2
    gpu_sees(mirror_pair[0].queue(), buffer.address, value)
