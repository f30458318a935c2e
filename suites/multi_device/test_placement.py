# SPDX-License-Identifier: MIT
"""Several GPUs: advice that names another device's VRAM, and who may reach it (xe_vm_madvise.c, xe_svm.c)."""

import errno
import os

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused
from fixtures.device import Device
from fixtures.vm import FAULTING, Vm
from ioctl import xe

PREFERRED = xe.DRM_XE_MEM_RANGE_ATTR_PREFERRED_LOC
ALL_PAGES = xe.DRM_XE_MIGRATE_ALL_PAGES
CHUNK = 1 << 21

pytestmark = needs("page-faults")


@pytest.fixture
def pair(make_vm, devices: list[Device]) -> tuple[Vm, Vm]:
    """A mirror of the process on each of two devices."""
    vms = tuple(make_vm(FAULTING, device) for device in devices[:2])
    for vm in vms:
        vm.mirror()
    return vms


def prefer(vm: Vm, buffer, fd: int, region: int = 1) -> None:
    """MADVISE: the preferred location is a region of the device that ``fd`` has open."""
    vm.madvise(
        buffer.address,
        buffer.size,
        PREFERRED,
        devmem_fd=fd,
        migration_policy=ALL_PAGES,
        region_instance=region,
    )


@behaviour("md.fd.not-open")
@acts("refusal")
@needs("range-attributes")
def test_closed_devmem_fd_is_enoent(mirror_vm: Vm, memory) -> None:
    """A devmem_fd that is not open gives ENOENT, and the advice is as before."""
    buffer = memory(CHUNK, align=CHUNK)
    before = [bytes(area) for area in mirror_vm.attributes(buffer.address, CHUNK)]
    with refused(errno.ENOENT):
        prefer(mirror_vm, buffer, 0x7FFF_FFF0)
    assert [bytes(area) for area in mirror_vm.attributes(buffer.address, CHUNK)] == before


@behaviour("md.fd.not-xe")
@acts("refusal")
def test_devmem_fd_of_plain_file_is_enoent(mirror_vm: Vm, memory, tmp_path) -> None:
    """A devmem_fd that is a plain file gives ENOENT."""
    with (tmp_path / "file").open("w") as file, refused(errno.ENOENT):
        prefer(mirror_vm, memory(CHUNK, align=CHUNK), file.fileno())


@behaviour("md.fd.region-zero", "md.fd.region-unknown")
@acts("refusal")
@needs("vram")
@pytest.mark.parametrize("region", [0, 7, 31, 0xFFFF])
def test_non_vram_region_instance_is_enoent(mirror_vm: Vm, device: Device, memory, region: int) -> None:
    """A region instance of a device that is not one of its VRAM regions gives ENOENT."""
    with refused(errno.ENOENT):
        prefer(mirror_vm, memory(CHUNK, align=CHUNK), device.fd, region)


@behaviour("md.fd.own-device")
@acts("migrate", "load")
@needs("vram", "svm-counters", "svm-vram")
def test_preferred_vram_of_own_device(mirror_vm: Vm, device: Device, memory, sentinel, counters) -> None:
    """Advice may name the VRAM of the VM's own device: a fault then moves the memory there."""
    buffer, value, before = memory(CHUNK, align=CHUNK), sentinel(), counters.snapshot()
    buffer.set_u32(0, value)
    prefer(mirror_vm, buffer, device.fd, device.vram[0])
    gpu_sees(mirror_vm.queue(), buffer.address, value)
    counters.rose("svm_2M_migrate_count", since=before)
    assert not buffer.present()


@behaviour("md.two-gpus-share", "md.one-device-1to1")
@acts("store", "load")
@needs("two-devices")
def test_two_gpus_share_one_buffer(pair: tuple[Vm, Vm], memory, sentinel) -> None:
    """Each GPU sees what the other and the CPU stored in one buffer."""
    buffer, queues = memory(CHUNK, align=CHUNK), [vm.queue() for vm in pair]
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
def test_preferred_vram_of_other_gpu(pair: tuple[Vm, Vm], devices: list[Device], memory, sentinel) -> None:
    """Advice names the other GPU's VRAM: a fault places the memory there, and both GPUs and the CPU see its data."""
    near, far = pair
    instance = devices[1].vram[0]
    buffer = memory(4 * CHUNK, align=CHUNK, fill=b"\x42")
    prefer(near, buffer, devices[1].fd, instance)
    before = devices[1].region(instance).used
    values = {offset: sentinel() for offset in (0, CHUNK, 2 * CHUNK, 4 * CHUNK - 4)}
    queue = near.queue()
    for offset, value in values.items():
        queue.store(buffer.address + offset, value)
    assert devices[1].region(instance).used >= before + buffer.size - CHUNK
    assert not any(buffer.present(offset) for offset in range(0, buffer.size, CHUNK))
    for offset, value in values.items():
        gpu_sees(far.queue(), buffer.address + offset, value)
        landed(buffer, offset, value)
    assert buffer.u32(8) == 0x42424242


@behaviour("md.fd-closed-after")
@acts("store", "query")
@needs("two-devices", "interconnect", "vram")
def test_preferred_location_outlives_its_fd(
    pair: tuple[Vm, Vm], devices: list[Device], memory, sentinel
) -> None:
    """After close of the descriptor that the advice named, memory is still placed on that device."""
    instance, buffer = devices[1].vram[0], memory(4 * CHUNK, align=CHUNK, fill=b"\x42")
    fd = os.open(devices[1].path, os.O_RDWR | os.O_CLOEXEC)
    prefer(pair[0], buffer, fd, instance)
    os.close(fd)
    before, value, queue = devices[1].region(instance).used, sentinel(), pair[0].queue()
    for offset in range(0, buffer.size, CHUNK):
        queue.store(buffer.address + offset, value)
    assert devices[1].region(instance).used >= before + buffer.size - CHUNK
    landed(buffer, 0, value)


@behaviour("md.fd.no-interconnect", "p2p.owner-by-distance")
@acts("refusal", "store")
@needs("two-devices", "no-interconnect", "vram", "range-attributes")
def test_preferred_device_without_link_is_enolink(
    pair: tuple[Vm, Vm], devices: list[Device], memory, sentinel
) -> None:
    """Advice that names a device without a fast link gives ENOLINK, changes nothing, and the memory is usable."""
    buffer, value = memory(CHUNK, align=CHUNK), sentinel()
    before = [bytes(area) for area in pair[0].attributes(buffer.address, CHUNK)]
    with refused(errno.ENOLINK):
        prefer(pair[0], buffer, devices[1].fd, devices[1].vram[0])
    assert [bytes(area) for area in pair[0].attributes(buffer.address, CHUNK)] == before
    pair[0].queue().store(buffer.address, value)
    landed(buffer, 0, value)


@behaviour("md.two-gpus-without-link", "md.mixed-sources")
@acts("store", "load")
@needs("two-devices", "vram")
def test_memory_in_vram_is_usable_by_other_gpu(pair: tuple[Vm, Vm], memory, sentinel) -> None:
    """Memory that one GPU's fault took to its VRAM is there for the other GPU, with or without a fast link."""
    buffer, queues = memory(2 * CHUNK, align=CHUNK), [vm.queue() for vm in pair]
    first, second = sentinel(), sentinel()
    queues[0].store(buffer.address, first)
    queues[1].store(buffer.address + CHUNK, second)
    gpu_sees(queues[1], buffer.address, first)
    gpu_sees(queues[0], buffer.address + CHUNK, second)
    landed(buffer, 0, first)
    landed(buffer, CHUNK, second)


@behaviour("md.device-to-device-copy")
@acts("load", "store")
@needs("two-devices", "interconnect", "vram")
def test_prefetch_moves_memory_between_gpus(
    pair: tuple[Vm, Vm], devices: list[Device], memory, sentinel
) -> None:
    """Memory in the VRAM of one GPU moves to the other's by prefetch, and keeps its data."""
    buffer, values = memory(CHUNK, align=CHUNK), {offset: sentinel() for offset in (0, 4096, CHUNK - 4)}
    for offset, value in values.items():
        pair[0].queue().store(buffer.address + offset, value)
    before = devices[1].region(devices[1].vram[0]).used
    pair[1].prefetch(buffer.address, CHUNK, devices[1].vram[0])
    assert devices[1].region(devices[1].vram[0]).used >= before + CHUNK
    assert not buffer.present()
    for offset, value in values.items():
        gpu_sees(pair[1].queue(), buffer.address + offset, value)
        landed(buffer, offset, value)


@behaviour("md.prefetch-remote")
@acts("load", "query")
@needs("two-devices", "interconnect", "vram")
def test_prefetch_goes_to_preferred_location(
    pair: tuple[Vm, Vm], devices: list[Device], memory, sentinel
) -> None:
    """PREFETCH to the advised location takes memory to the other GPU's VRAM, as advised."""
    instance, buffer, value = devices[1].vram[0], memory(CHUNK, align=CHUNK), sentinel()
    buffer.set_u32(0, value)
    prefer(pair[0], buffer, devices[1].fd, instance)
    before = devices[1].region(instance).used
    pair[0].prefetch(buffer.address, CHUNK, xe.DRM_XE_CONSULT_MEM_ADVISE_PREF_LOC)
    assert devices[1].region(instance).used >= before + CHUNK
    gpu_sees(pair[0].queue(), buffer.address, value)
