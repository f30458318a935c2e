# SPDX-License-Identifier: MIT
"""PREFETCH of BOs and userptrs (xe_vm.c, xe_bo.c: xe_bo_migrate)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused, wait_until
from fixtures.given import MakeBo, MakeVm, Memory, Sentinel
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.flags import CONSULT, DONTNEED, PREFETCH, PURGEABLE, WILLNEED
from fixtures.xe.vm import FAULTING, PLAIN, Vm

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
SIZE = SZ_2M

MODES = pytest.mark.parametrize(
    "mode", [pytest.param(PLAIN, id="plain"), pytest.param(FAULTING, id="fault", marks=needs("page-faults"))]
)


def used(vm: Vm, region: int) -> int:
    """Bytes in use of a VRAM region. Counts the act "query"."""
    return int(vm.device.region(region).used)


@behaviour("prefetch.bo")
@acts("load", "store", "query")
@needs("vram")
@MODES
def test_prefetch_of_bo_moves_it_to_region(
    make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, mode: int
) -> None:
    """PREFETCH of a BO moves it to the region and back, with its data."""
    vm = make_vm(mode)
    region = vm.device.vram[0]
    free = used(vm, region)  # page tables will be there too, but not SIZE of them
    made, value = bo(SIZE, placement=SYSTEM | 1 << region), sentinel()
    mapped, queue = made.map(), vm.queue()
    vm.map(made, AT)
    mapped.set_u32(0, value)
    for target in (0, region, 0, region, 0):
        vm.prefetch(AT, SIZE, target)
        if target == 0:
            wait_until(lambda: used(vm, region) < free + SIZE, what="the release of VRAM")
        else:
            assert used(vm, region) > free + SIZE // 2
        gpu_sees(queue, AT, value)
        value = sentinel()
        queue.store(AT, value)
        landed(mapped, 0, value)


@behaviour("prefetch.bo")
@acts("refusal", "load")
@MODES
def test_prefetch_of_bo_to_other_placement_fails(
    make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, mode: int
) -> None:
    """PREFETCH of an object to a region that is not a placement of it is refused; to its own it succeeds."""
    vm, value = make_vm(mode), sentinel()
    regions = [0, *vm.device.vram]
    for own in regions:
        made = bo(SIZE, placement=1 << own)
        made.map().set_u32(0, value)
        vm.map(made, AT)
        for target in regions:
            if target == own:
                vm.prefetch(AT, SIZE, target)
                continue
            with refused():
                vm.bind(PREFETCH, addr=AT, range=SIZE, region=target)
        gpu_sees(vm.queue(), AT, value)
        vm.unmap(AT, SIZE)
    with refused(errno.EINVAL):
        vm.bind(PREFETCH, addr=AT, range=SIZE, region=max(regions) + 1)


@behaviour("prefetch.bo-consult")
@acts("load")
@MODES
@pytest.mark.parametrize(
    "places", ["system", pytest.param("vram", marks=needs("vram")), pytest.param("both", marks=needs("vram"))]
)
def test_prefetch_of_bo_to_default_moves_it_to_vram(
    make_vm: MakeVm, bo: MakeBo, sentinel: Sentinel, mode: int, places: str
) -> None:
    """PREFETCH of a BO to region -1 moves it to VRAM if that is a placement, and otherwise leaves it."""
    vm, value = make_vm(mode), sentinel()
    region, *_ = *vm.device.vram, 0
    free = used(vm, region) if region else 0
    made = bo(SIZE, placement={"system": SYSTEM, "vram": 1 << region, "both": SYSTEM | 1 << region}[places])
    made.map().set_u32(0, value)
    vm.map(made, AT)
    if places == "both":
        vm.prefetch(AT, SIZE, 0)
        wait_until(lambda: used(vm, region) < free + SIZE, what="the release of VRAM")
    vm.prefetch(AT, SIZE, CONSULT)
    if region:
        assert (used(vm, region) > free + SIZE // 2) == (places != "system")
    gpu_sees(vm.queue(), AT, value)


@behaviour("prefetch.bo-purgeable")
@acts("refusal", "ioctl")
@needs("purging")
@MODES
def test_prefetch_of_dontneed_bo_is_ebusy(make_vm: MakeVm, bo: MakeBo, mode: int) -> None:
    """PREFETCH of a BO marked DONTNEED gives EBUSY; after WILLNEED it succeeds."""
    vm = make_vm(mode)
    made = bo(SIZE)
    vm.map(made, AT)
    purgeable = PURGEABLE
    vm.madvise(AT, SIZE, purgeable, val=DONTNEED)
    with refused(errno.EBUSY):
        vm.bind(PREFETCH, addr=AT, range=SIZE, region=0)
    vm.madvise(AT, SIZE, purgeable, val=WILLNEED)
    vm.prefetch(AT, SIZE, 0)


@behaviour("prefetch.userptr")
@acts("load", "refusal")
@needs("userptr")
@MODES
def test_prefetch_of_userptr_repins_pages(
    make_vm: MakeVm, memory: Memory, sentinel: Sentinel, mode: int
) -> None:
    """PREFETCH of a userptr maps the memory that is there now; if it was unmapped it gives EFAULT."""
    vm, buffer, value = make_vm(mode), memory(SIZE), sentinel()
    vm.map_userptr(AT, buffer.address, SIZE)
    buffer.set_u32(0, sentinel())
    gpu_sees(vm.queue(), AT, buffer.u32(0))
    buffer.remap_fresh()
    buffer.set_u32(0, value)
    vm.prefetch(AT, SIZE, 0)
    gpu_sees(vm.queue(), AT, value)
    buffer.munmap(SIZE // 2, SIZE // 2)
    with refused(errno.EFAULT):
        vm.bind(PREFETCH, addr=AT, range=SIZE, region=0)
