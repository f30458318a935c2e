# SPDX-License-Identifier: MIT
"""DEVICE_QUERY MEM_REGIONS and GT_LIST: memory regions, their sizes, and which are near a GT."""

from __future__ import annotations

from fixtures import acts, behaviour, needs, untested, wait_until
from fixtures.choices import chose
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.pci import Slot
from fixtures.sizes import SZ_1M
from fixtures.xe.device import Device
from fixtures.xe.queue import Queue
from fixtures.xe.vm import Vm
from gpu import Batch
from ioctl import xe

SYSMEM = xe.DRM_XE_MEM_REGION_CLASS_SYSMEM
VRAM = xe.DRM_XE_MEM_REGION_CLASS_VRAM


@behaviour("query.mem.sysmem-first")
@acts("query")
def test_sysmem_region_has_no_vram_fields(device: Device) -> None:
    """The region of system memory has a size and pages, and nothing in the fields about VRAM."""
    (first,) = (region for region in device.regions if region.mem_class == SYSMEM)
    assert first.min_page_size % PAGE == 0
    assert first.min_page_size > 0
    assert first.total_size > 0
    chose(f"system memory: entry {device.regions.index(first)}, instance {first.instance}")
    assert (first.cpu_visible_size, first.cpu_visible_used) == (0, 0)


@behaviour("query.mem.sysmem-first")
@acts("query")
def test_sysmem_region_is_listed_once(device: Device) -> None:
    """System memory is listed once, and every reserved word of every region is 0."""
    assert [region.mem_class for region in device.regions].count(SYSMEM) == 1
    for region in device.regions:
        assert list(region.reserved) == [0] * len(region.reserved)


@behaviour("query.mem.vram-instances")
@acts("query", "ioctl")
@needs("vram")
def test_vram_instances_are_bo_placements(device: Device, bo: MakeBo) -> None:
    """VRAM regions are instances 1, 2 ..., and each is a placement bit of a BO."""
    vram = [region for region in device.regions if region.mem_class == VRAM]
    assert [region.instance for region in vram] == list(range(1, len(vram) + 1))
    for region in vram:
        used = device.region(region.instance).used
        made = bo(2 * SZ_1M, placement=1 << region.instance)
        made.map().set_u32(0, 1)
        assert device.region(region.instance).used > used + made.size // 2


@behaviour("query.mem.used-tracks-svm")
@acts("query", "exec")
@needs("vram", "page-faults", "svm-vram")
def test_used_follows_migration_and_munmap(
    device: Device, mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> None:
    """VRAM in use grows by the memory that a GPU fault migrates there, and is freed by munmap."""
    size = 2 * SZ_1M
    instance = device.vram[0]
    buffer = memory(size, align=size)
    queue.run(Batch())
    before = device.region(instance).used
    queue.run(Batch().store_dword(buffer.address, sentinel()))
    # An estimate, as the header says.
    wait_until(
        lambda: device.region(instance).used >= before + size // 2, what="the use of VRAM by 2 MiB more"
    )
    buffer.munmap()
    wait_until(
        lambda: device.region(instance).used < before + size // 2, what="the release of VRAM after munmap"
    )


@behaviour("query.mem.cpu-visible-le-total")
@acts("query")
@needs("vram")
def test_cpu_visible_size_is_at_most_vram(device: Device) -> None:
    """The CPU-visible size of each VRAM region is at most its size, and the used part of it at most the used size."""
    for region in device.regions[1:]:
        assert region.cpu_visible_size <= region.total_size
        assert region.cpu_visible_used <= region.used <= region.total_size


@behaviour("query.mem.cpu-visible-le-total")
@acts("query")
@needs("vram")
def test_cpu_sees_all_vram_behind_full_bar(device: Device) -> None:
    """If the memory BAR is as large as all VRAM, the CPU sees all of each region."""
    regions = device.regions[1:]
    try:
        bar = Slot(device).memory_bar
    except OSError as error:
        untested("MACHINE:sysfs", f"the size of the memory BAR: {error}")
    if bar < sum(region.total_size for region in regions):
        untested("MACHINE:full-bar", f"a memory BAR of {bar >> 20} MiB")
    assert [region.cpu_visible_size for region in regions] == [region.total_size for region in regions]


@behaviour("query.gt.near-far-regions")
@acts("query")
def test_near_and_far_regions_of_gt_are_disjoint(device: Device) -> None:
    """Near and far regions of a GT do not overlap, and together are the listed regions."""
    listed = sum(1 << region.instance for region in device.regions)
    assert device.gts
    for gt in device.gts:
        assert gt.near_mem_regions & gt.far_mem_regions == 0
        assert gt.near_mem_regions | gt.far_mem_regions == listed


@behaviour("query.gt.near-far-regions")
@acts("query")
def test_near_region_of_gt_is_on_its_tile(device: Device) -> None:
    """On an integrated GPU the near region is system memory; on a discrete one it is the VRAM of the tile."""
    for gt in device.gts:
        near = [r for r in device.regions if gt.near_mem_regions >> r.instance & 1]
        if device.config.has_vram:
            assert [(r.mem_class, r.instance) for r in near] == [(VRAM, gt.tile_id + 1)]
        else:
            assert [r.mem_class for r in near] == [SYSMEM]
