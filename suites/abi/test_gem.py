# SPDX-License-Identifier: MIT
"""Buffer objects as user space sees them: placement, allocation, export (xe_bo.c)."""

from __future__ import annotations

import errno
import os

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused, wait_until
from fixtures.counting import count
from fixtures.given import MakeBo, Sentinel
from fixtures.memory import MAP_SHARED, PAGE, PROT_WRITE, Buffer, mmap
from fixtures.sizes import SZ_1M, SZ_64K
from fixtures.xe.bo import SYSTEM
from fixtures.xe.device import Device
from fixtures.xe.flags import DEFER, SCANOUT, VISIBLE
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

AT = 1 << 32
WB, WC = xe.DRM_XE_GEM_CPU_CACHING_WB, xe.DRM_XE_GEM_CPU_CACHING_WC


@behaviour("abi.gem-create.args")
@acts("ioctl", "refusal")
@needs("vram")
@pytest.mark.parametrize("more", [0, SYSTEM], ids=["vram", "vram-or-system"])
def test_vram_bo_with_write_back_caching_is_einval(device: Device, bo: MakeBo, more: int) -> None:
    """A BO that may be placed in VRAM can be created write-combined; write-back gives EINVAL."""
    placement = 1 << device.vram[0] | more
    assert bo(SZ_64K, placement=placement, caching=WC).handle
    with refused(errno.EINVAL):
        bo(SZ_64K, placement=placement, caching=WB)


@behaviour("abi.gem-create.args")
@acts("ioctl")
@pytest.mark.parametrize("caching", [WB, WC], ids=["write-back", "write-combining"])
def test_sysmem_bo_takes_wb_and_wc_caching(bo: MakeBo, caching: int, sentinel: Sentinel) -> None:
    """A BO in system memory can be mapped write-back or write-combined, and keeps what is stored either way."""
    mapped, value = bo(SZ_64K, caching=caching).map(), sentinel()
    mapped.set_u32(0, value)
    assert mapped.u32(0) == value


@behaviour("abi.gem-create.args")
@acts("ioctl")
def test_scanout_bo_is_write_combined(bo: MakeBo) -> None:
    """A BO with SCANOUT can be created write-combined."""
    assert bo(SZ_64K, flags=SCANOUT, caching=WC).handle


@behaviour("abi.gem-create.args")
@acts("ioctl")
@needs("vram")
def test_cpu_maps_bo_that_needs_visible_vram(device: Device, bo: MakeBo, sentinel: Sentinel) -> None:
    """A BO with NEEDS_VISIBLE_VRAM is placed in VRAM, and the CPU can store to it."""
    made, value = bo(SZ_64K, placement=1 << device.vram[0], flags=VISIBLE), sentinel()
    mapped = made.map()
    mapped.set_u32(0, value)
    assert mapped.u32(0) == value


@behaviour("abi.gem-create.zeroed")
@acts("ioctl")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("vram"))])
def test_new_bo_in_reused_memory_reads_zero(device: Device, bo: MakeBo, place: str) -> None:
    """The memory of a new BO is zero, even where it reuses memory that was just freed with data in it."""
    placement = SYSTEM if place == "system" else 1 << device.vram[0]
    for _ in range(3):
        made = bo(2 * SZ_1M, placement=placement)
        mapped = made.map()
        assert not any(mapped.bytes(offset, PAGE).strip(b"\0") for offset in range(0, made.size, 1 << 18))
        mapped.fill(b"\xa5", 0, 2 * SZ_1M)
        made.close()


@behaviour("abi.gem-create.defer")
@acts("query", "ioctl")
@needs("vram")
def test_deferred_backing_takes_no_vram_at_creation(device: Device, bo: MakeBo) -> None:
    """GEM_CREATE allocates the VRAM of a BO; with DEFER_BACKING it does not."""
    instance, size = device.vram[0], 4 * SZ_1M
    before = device.region(instance).used
    bo(size, placement=1 << instance)
    at_once = device.region(instance).used
    assert at_once >= before + size
    bo(size, placement=1 << instance, flags=DEFER)
    assert device.region(instance).used == at_once


@behaviour("abi.gem-create.defer")
@acts("query", "load")
@needs("vram")
def test_deferred_backing_takes_vram_at_bind(
    device: Device, plain_vm: Vm, bo: MakeBo, sentinel: Sentinel
) -> None:
    """With DEFER_BACKING the bind allocates the VRAM, keeps what the CPU stored before, and close frees it."""
    instance, size, value = device.vram[0], 4 * SZ_1M, sentinel()
    queue = plain_vm.queue()
    plain_vm.map(bo(SZ_64K, placement=1 << instance), AT)  # page tables take VRAM too
    queue.load(AT)
    made = bo(size, placement=1 << instance, flags=DEFER)
    made.map().set_u32(4, value)
    before = device.region(instance).used
    plain_vm.map(made, AT + 64 * SZ_1M)
    assert device.region(instance).used >= before + size
    gpu_sees(queue, AT + 64 * SZ_1M + 4, value)
    plain_vm.unmap(AT + 64 * SZ_1M, size)
    made.close()
    wait_until(lambda: device.region(instance).used < before + size, what="the release of VRAM")


@behaviour("abi.gem-create.defer-export")
@acts("query", "load")
@pytest.mark.parametrize("place", ["system", pytest.param("vram", marks=needs("vram"))])
def test_export_of_deferred_bo_takes_no_memory(
    device: Device, plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, place: str
) -> None:
    """PRIME export of an object with DEFER_BACKING takes no memory; a bind does, and then it has its data."""
    instance, size, value = device.vram[0] if place == "vram" else 0, 16 * SZ_1M, sentinel()
    plain_vm.map(bo(SZ_64K), AT)  # page tables take VRAM too
    queue = plain_vm.queue()
    queue.load(AT)
    made = bo(size, placement=1 << instance, flags=DEFER)
    before = device.region(instance).used
    exported = [made.export() for _ in range(2)]
    try:
        assert device.region(instance).used < before + size
        mapped = made.map()
        plain_vm.map(made, AT + 64 * SZ_1M)
        mapped.set_u32(size - 4, value)
        assert device.region(instance).used > before + size // 2
        gpu_sees(queue, AT + 64 * SZ_1M + size - 4, value)
    finally:
        for fd in exported:
            os.close(fd)


@behaviour("abi.gem-create.visible-vram")
@acts("query", "load")
@needs("vram", "small-bar")
@pytest.mark.parametrize("number", [1, 5])
def test_visible_bo_stays_in_vram_at_cpu_access(
    device: Device, plain_vm: Vm, bo: MakeBo, sentinel: Sentinel, number: int
) -> None:
    """Objects with NEEDS_VISIBLE_VRAM are in the part of VRAM that the CPU reaches, and stay there when it stores."""
    instance, size = device.vram[0], 4 * SZ_1M
    before = device.region(instance)
    made = [bo(size, placement=1 << instance, flags=VISIBLE) for _ in range(number)]
    now = device.region(instance)
    assert now.used >= before.used + number * size
    assert now.cpu_visible_used >= before.cpu_visible_used + number * size
    queue = plain_vm.queue()
    for index, one in enumerate(made):
        plain_vm.map(one, AT + index * size)
        first, last = sentinel(), sentinel()
        mapped = one.map()
        mapped.set_u32(0, first)
        mapped.set_u32(size - 4, last)
        gpu_sees(queue, AT + index * size, first)
        gpu_sees(queue, AT + (index + 1) * size - 4, last)
    after = device.region(instance)
    assert after.cpu_visible_used >= now.cpu_visible_used
    assert after.used >= now.used


@behaviour("abi.gem-mmap-offset.args")
@acts("ioctl")
def test_each_bo_has_its_own_mmap_offset(device: Device, bo: MakeBo, sentinel: Sentinel) -> None:
    """The mmap offsets of two BOs differ, are page-aligned, and each maps its own BO."""
    values = [sentinel(), sentinel()]
    mappings, offsets = [], []
    for value in values:
        made = bo(SZ_64K)
        argument = xe.drm_xe_gem_mmap_offset(handle=made.handle)
        device.ioctl(xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, argument)
        offsets.append(argument.offset)
        mappings.append(made.map())
        mappings[-1].set_u32(0, value)
    assert offsets[0] != offsets[1]
    assert not any(offset % PAGE for offset in offsets)
    assert [mapping.u32(0) for mapping in mappings] == values


@behaviour("abi.gem-mmap-offset.args")
@acts("ioctl", "refusal")
def test_pci_barrier_only_on_discrete_device(device: Device, bo: MakeBo) -> None:
    """PCI_BARRIER returns the offset of a page that can be written; with a handle, or on an integrated GPU, EINVAL."""
    made = bo(SZ_64K)
    made.map().close()
    with refused(errno.EINVAL):
        barrier(device, handle=made.handle)
    if not device.known_config.has_vram:
        with refused(errno.EINVAL):
            barrier(device)
        return
    offset = barrier(device)
    assert offset % PAGE == 0
    page = Buffer(mmap(0, PAGE, PROT_WRITE, MAP_SHARED, fd=device.fd, offset=offset), PAGE)
    page.set_u32(0, 1)
    page.close()


def barrier(device: Device, **fields: int) -> int:
    """GEM_MMAP_OFFSET with PCI_BARRIER: the offset; raises OSError."""
    argument = xe.drm_xe_gem_mmap_offset(flags=xe.DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER, **fields)
    device.ioctl(xe.DRM_IOCTL_XE_GEM_MMAP_OFFSET, argument)
    return int(argument.offset)


@behaviour("abi.private-bo-export")
@acts("refusal", "ioctl")
def test_export_of_vm_private_bo_is_eperm(plain_vm: Vm, bo: MakeBo) -> None:
    """PRIME_HANDLE_TO_FD of a BO that belongs to a VM gives EPERM; of any other it works."""
    with refused(errno.EPERM):
        bo(SZ_64K, vm=plain_vm.id).export()
    os.close(bo(SZ_64K).export())


@behaviour("abi.bo-mmap-caching")
@acts("store", "load", "query")
@needs("vram")
@pytest.mark.timeout(60)
def test_evicted_bo_is_coherent_through_old_mmap(
    device: Device, plain_vm: Vm, bo: MakeBo, sentinel: Sentinel
) -> None:
    """After a BO is evicted, CPU and GPU still reach it through mappings made before."""
    instance = device.vram[0]
    size = device.region(instance).total_size * 5 // 8 // (2 * SZ_1M) * (2 * SZ_1M)
    evicted = bo(size, placement=1 << instance | SYSTEM)
    view, queue = evicted.map(), plain_vm.queue()
    first, second, third = sentinel(), sentinel(), sentinel()
    view.set_u32(0, first)
    plain_vm.map(evicted, AT)
    queue.run(Batch().store_dword(AT + 4, second))
    landed(view, 4, second)
    bo(size, placement=1 << instance).map().set_u32(0, sentinel())  # takes the VRAM
    assert view.u32(0) == first
    assert queue.load(AT + 4) == second
    view.set_u32(8, third)
    assert queue.load(AT + 8) == third
    count("load")
    queue.run(Batch().store_dword(AT + 12, first))
    landed(view, 12, first)
    assert device.region(instance).used < 2 * size
