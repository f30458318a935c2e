# SPDX-License-Identifier: MIT
"""MADVISE PAT: which indices are accepted, and that data stays correct (xe_vm_madvise.c: madvise_pat_index)."""

from __future__ import annotations

import errno

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs, refused
from fixtures.given import MakeBo, Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.bo import SYSTEM
from fixtures.xe.flags import PAT
from fixtures.xe.vm import Vm
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
INCOHERENT = 0
"""A PAT index of Xe2 and later with which the GPU does not look into the CPU's caches (xe_pat.c: xe2_pat_table)."""

pytestmark = needs("page-faults", "range-attributes")


def index_at(vm: Vm, address: int) -> int:
    """The PAT index of the VMA at an address."""
    (area,) = vm.attributes(address, PAGE)
    index: int = area.pat_index.val
    return index


@acts("refusal", "ioctl")
@pytest.mark.parametrize(
    "index",
    [
        *(pytest.param(index, marks=behaviour("madvise.pat.bounds")) for index in (32, 255, 0xFFFF)),
        *(
            pytest.param(index, marks=behaviour("madvise.pat.beyond"))
            for index in (0x1_0000, 0x1_0001, 0xFFFF_FFFF)
        ),
    ],
    ids=hex,
)
def test_index_beyond_the_table_is_refused(fault_vm: Vm, index: int) -> None:
    """MADVISE PAT with an index beyond the table gives EINVAL, even if it is in range when truncated to 16 bits."""
    fault_vm.mirror(AT, SZ_2M)
    with refused(errno.EINVAL):
        fault_vm.madvise(AT, SZ_2M, PAT, val=index)
    assert index_at(fault_vm, AT) == fault_vm.device.write_back_pat


@behaviour("madvise.pat.effect")
@acts("load", "store")
@needs("cpu-addr-mirror")
def test_mirror_stays_coherent_with_each_coherent_pat(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel
) -> None:
    """After MADVISE PAT with any coherent index the query shows it, and CPU and GPU see each other's stores."""
    buffer, queue = memory(SZ_2M, align=SZ_2M), mirror_vm.queue()
    for index in (*mirror_vm.device.coherent_pats[1:], mirror_vm.device.write_back_pat):
        mirror_vm.madvise(buffer.address, SZ_2M, PAT, val=index)
        assert index_at(mirror_vm, buffer.address) == index
        for offset in (0, SZ_2M // 2, SZ_2M - 4):
            value = sentinel()
            queue.store(buffer.address + offset, value)
            landed(buffer, offset, value)
            value = sentinel()
            buffer.set_u32(offset, value)
            gpu_sees(queue, buffer.address + offset, value)


@behaviour("madvise.pat.coh-none-igpu")
@acts("refusal")
@needs("integrated", "xe2")
@pytest.mark.parametrize("kind", ["mirror", "userptr", "bo"])
def test_incoherent_pat_of_cached_memory_is_refused(
    fault_vm: Vm, bo: MakeBo, memory: Memory, kind: str
) -> None:
    """On an integrated GPU MADVISE PAT with an incoherent index gives EINVAL for CPU-cached memory."""
    if kind == "mirror":
        fault_vm.mirror(AT, SZ_2M)
    elif kind == "userptr":
        fault_vm.map_userptr(AT, memory(SZ_2M, align=SZ_2M).address, SZ_2M)
    else:
        fault_vm.map(bo(SZ_2M, caching=xe.DRM_XE_GEM_CPU_CACHING_WB), AT)
    with refused(errno.EINVAL):
        fault_vm.madvise(AT, SZ_2M, PAT, val=INCOHERENT)
    assert index_at(fault_vm, AT) == fault_vm.device.write_back_pat


@behaviour("madvise.pat.coh-none-igpu")
@acts("store")
@needs("xe2")
def test_incoherent_pat_of_wc_bo_is_accepted(fault_vm: Vm, bo: MakeBo, sentinel: Sentinel) -> None:
    """MADVISE PAT with an incoherent index is set for a BO that the CPU does not cache, and the GPU's store lands."""
    made, value = bo(SZ_2M, placement=SYSTEM, caching=xe.DRM_XE_GEM_CPU_CACHING_WC), sentinel()
    fault_vm.map(made, AT)
    fault_vm.madvise(AT, SZ_2M, PAT, val=INCOHERENT)
    assert index_at(fault_vm, AT) == INCOHERENT
    fault_vm.queue().store(AT + PAGE, value)
    landed(made.map(), PAGE, value)


@behaviour("madvise.pat.coh-none-igpu")
@acts("store")
@needs("vram", "xe2", "cpu-addr-mirror")
def test_incoherent_pat_of_dgpu_mirror_is_accepted(mirror_vm: Vm, memory: Memory, sentinel: Sentinel) -> None:
    """On a GPU with VRAM MADVISE PAT with an incoherent index is set for a mirror, and the GPU's store lands."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    mirror_vm.madvise(buffer.address, SZ_2M, PAT, val=INCOHERENT)
    assert index_at(mirror_vm, buffer.address) == INCOHERENT
    mirror_vm.queue().store(buffer.address + PAGE, value)
    landed(buffer, PAGE, value)
