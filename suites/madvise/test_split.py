# SPDX-License-Identifier: MIT
"""Split of VMAs by MADVISE, and attributes of the parts (drm_gpuvm.c: drm_gpuvm_madvise_ops_create)."""

from __future__ import annotations

import pytest

from fixtures import acts, behaviour, gpu_fault, gpu_sees, landed, needs
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.counters import Counters
from fixtures.xe.flags import ATOMIC
from fixtures.xe.vm import Vm
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
CPU, GLOBAL = xe.DRM_XE_ATOMIC_CPU, xe.DRM_XE_ATOMIC_GLOBAL

pytestmark = needs("page-faults", "range-attributes")


def modes(vm: Vm, start: int, end: int) -> list[tuple[int, int, int]]:
    """Start, end and atomic mode of each VMA of [start, end)."""
    return [(area.start, area.end, area.atomic.val) for area in vm.attributes(start, end - start)]


@behaviour("madvise.no-vma")
@acts("ioctl")
def test_madvise_of_nothing_is_accepted(fault_vm: Vm) -> None:
    """MADVISE of unbound addresses succeeds and has no effect: a later bind there has default attributes."""
    fault_vm.madvise(AT, SZ_2M, ATOMIC, val=CPU)
    assert fault_vm.attributes(AT, SZ_2M) == []
    fault_vm.mirror(AT, SZ_2M)
    assert modes(fault_vm, AT, AT + SZ_2M) == [(AT, AT + SZ_2M, 0)]


@behaviour("madvise.partial-hole")
@acts("ioctl")
def test_madvise_over_holes_reaches_all_mirrors(fault_vm: Vm) -> None:
    """MADVISE over mirrors with holes between them applies to each mirror, more of them than the first array holds."""
    starts = [AT + n * 2 * SZ_2M for n in range(20)]
    for start in starts:
        fault_vm.mirror(start, SZ_2M)
    fault_vm.madvise(AT - SZ_2M, 42 * SZ_2M, ATOMIC, val=CPU)
    assert modes(fault_vm, AT - SZ_2M, AT + 41 * SZ_2M) == [(start, start + SZ_2M, CPU) for start in starts]


PARTS = pytest.mark.parametrize(
    ("first", "last"),
    [(0, 1), (0, 8), (3, 4), (3, 8), (7, 8), (5, 16), (0, 16), (15, 16)],
    ids=str,
)


@behaviour("madvise.split")
@acts("ioctl")
@PARTS
def test_madvise_inside_a_mirror_splits_it(fault_vm: Vm, first: int, last: int) -> None:
    """MADVISE inside a mirror splits it into up to three VMAs, the middle one with the new value."""
    end = AT + 16 * PAGE
    fault_vm.mirror(AT, 16 * PAGE)
    low, high = AT + first * PAGE, AT + last * PAGE
    fault_vm.madvise(low, high - low, ATOMIC, val=CPU)
    expected = [(AT, low, 0), (low, high, CPU), (high, end, 0)]
    assert modes(fault_vm, AT, end) == [area for area in expected if area[0] != area[1]]


@behaviour("madvise.split-max-two")
@acts("ioctl")
def test_vmas_inside_the_range_stay_whole(fault_vm: Vm) -> None:
    """MADVISE over several VMAs splits the outer two at its ends, and none of those between."""
    at = [AT + n * SZ_2M for n in range(6)]
    fault_vm.mirror(AT, 5 * SZ_2M)
    for n in range(5):
        mode = CPU if n % 2 else GLOBAL
        fault_vm.madvise(at[n], SZ_2M, ATOMIC, val=mode)
    assert modes(fault_vm, at[0], at[5]) == [(at[n], at[n + 1], CPU if n % 2 else GLOBAL) for n in range(5)]
    low, high = at[1] - SZ_64K, at[4] + SZ_64K
    fault_vm.madvise(low, high - low, ATOMIC, val=xe.DRM_XE_ATOMIC_DEVICE)
    device = xe.DRM_XE_ATOMIC_DEVICE
    assert modes(fault_vm, at[0], at[5]) == [
        (at[0], low, GLOBAL),
        (low, at[1], device),
        (at[1], at[2], device),
        (at[2], at[3], device),
        (at[3], at[4], device),
        (at[4], high, device),
        (high, at[5], GLOBAL),
    ]


@behaviour("madvise.split-bo-whole")
@acts("ioctl", "store")
@pytest.mark.parametrize("offset", [0, SZ_2M, 2 * SZ_2M - SZ_64K], ids=["first", "middle", "last"])
def test_madvise_of_a_part_is_for_the_whole_bo(
    fault_vm: Vm, bo: MakeBo, sentinel: Sentinel, offset: int
) -> None:
    """MADVISE of part of a BO's mapping does not split it: all of the mapping has the new value, and no other."""
    made, other, value = bo(2 * SZ_2M), bo(SZ_64K), sentinel()
    end = AT + made.size
    fault_vm.map(made, AT)
    fault_vm.map(other, end)
    bound, pat, *_ = fault_vm.device.coherent_pats
    fault_vm.madvise(AT + offset, SZ_64K, xe.DRM_XE_MEM_RANGE_ATTR_PAT, val=pat)
    found = [(area.start, area.end, area.pat_index.val) for area in fault_vm.attributes(AT, 3 * SZ_2M)]
    assert found == [(AT, end, pat), (end, end + SZ_64K, bound)]
    fault_vm.queue().store(AT + offset, value)
    landed(made.map(), offset, value)


@behaviour("madvise.split-keeps-flags", "fault.gpu-readonly-write")
@acts("refusal", "load")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("part", range(3), ids=["before", "inside", "after"])
def test_parts_of_a_readonly_mirror_are_readonly(
    fault_vm: Vm, memory: Memory, sentinel: Sentinel, part: int
) -> None:
    """Each part that MADVISE made of a READONLY mirror can be read by the GPU and not written."""
    buffer, value = memory(3 * SZ_2M, align=SZ_2M), sentinel()
    place = part * SZ_2M + 5 * PAGE
    buffer.set_u32(place, value)
    fault_vm.mirror(buffer.address, buffer.size, xe.DRM_XE_VM_BIND_FLAG_READONLY)
    fault_vm.madvise(buffer.address + SZ_2M, SZ_2M, ATOMIC, val=CPU)
    gpu_sees(fault_vm.queue(), buffer.address + place, value)
    with gpu_fault(fault_vm.queue()) as queue:
        queue.store(buffer.address + place, sentinel())
    assert buffer.u32(place) == value


@behaviour("madvise.split-keeps-flags")
@acts("store", "ioctl")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("part", range(3), ids=["before", "inside", "after"])
def test_parts_of_an_autoreset_mirror_are_reset(
    memory: Memory, fault_vm: Vm, sentinel: Sentinel, part: int
) -> None:
    """In each part that MADVISE made of a mirror with MADVISE_AUTORESET, memory that is unmapped is reset."""
    buffer, elsewhere, value = memory(9 * SZ_2M, align=SZ_2M), memory(PAGE), sentinel()
    start, size = buffer.address, buffer.size
    fault_vm.mirror(flags=xe.DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET)
    fault_vm.madvise(start, size, ATOMIC, val=CPU)
    fault_vm.madvise(start + 3 * SZ_2M, 3 * SZ_2M, ATOMIC, val=GLOBAL)
    offset = (3 * part + 1) * SZ_2M
    fault_vm.queue().store(start + offset, value)
    landed(buffer, offset, value)
    buffer.munmap(offset, SZ_2M)
    fault_vm.madvise(elsewhere.address, PAGE, ATOMIC, val=0)  # MADVISE collects first
    (area,) = fault_vm.attributes(start + offset, SZ_2M)
    assert area.atomic.val == 0


@behaviour("madvise.split-active-range")
@acts("load", "store")
@needs("cpu-addr-mirror")
@pytest.mark.parametrize("cut", [PAGE, SZ_64K, SZ_2M // 2, SZ_2M - PAGE], ids=["4K", "64K", "1M", "last"])
def test_range_across_the_cut_keeps_its_data(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, cut: int
) -> None:
    """Both parts of a range that MADVISE split keep their data, for CPU and GPU."""
    buffer, queue = memory(SZ_2M, align=SZ_2M), mirror_vm.queue()
    places = sorted({0, cut - 4, cut, SZ_2M - 4})
    values = {buffer.address + place: sentinel() for place in places}
    queue.store_all(values)
    mirror_vm.madvise(buffer.address + cut, SZ_2M - cut, ATOMIC, val=CPU)
    for address, value in values.items():
        gpu_sees(queue, address, value)
    for address, value in values.items():
        landed(buffer, address - buffer.address, value)
    for place in places:
        value = sentinel()
        queue.store(buffer.address + place, value)
        landed(buffer, place, value)


@behaviour("madvise.inner-range-kept")
@acts("load", "store")
@needs("debugfs", "cpu-addr-mirror")
def test_ranges_inside_stay_valid_with_the_same_value(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, counters: Counters
) -> None:
    """MADVISE around ranges that already have the value splits outside of them: the GPU does not fault."""
    buffer, queue = memory(3 * SZ_2M, align=SZ_2M), mirror_vm.queue()
    mirror_vm.madvise(buffer.address, buffer.size, ATOMIC, val=CPU)
    values = {buffer.address + n * SZ_2M + 8: sentinel() for n in range(3)}
    queue.store_all(values)
    before = counters.snapshot()
    mirror_vm.madvise(buffer.address, buffer.size, ATOMIC, val=CPU)
    for address, value in values.items():
        gpu_sees(queue, address, value)
    counters.still("svm_pagefault_count", since=before)
    for address, value in values.items():
        landed(buffer, address - buffer.address, value)


@behaviour("madvise.canonical-address")
@acts("ioctl")
def test_sign_extended_start_is_the_same_address(fault_vm: Vm) -> None:
    """MADVISE of a sign-extended address in the upper half applies to the address without the extension."""
    start = fault_vm.size - 4 * SZ_2M
    fault_vm.mirror(start, 2 * SZ_2M)
    fault_vm.madvise(start | -fault_vm.size & 0xFFFF_FFFF_FFFF_FFFF, SZ_2M, ATOMIC, val=CPU)
    assert modes(fault_vm, start, start + 2 * SZ_2M) == [
        (start, start + SZ_2M, CPU),
        (start + SZ_2M, start + 2 * SZ_2M, 0),
    ]
