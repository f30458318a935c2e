# SPDX-License-Identifier: MIT
"""Batches that follow pointers through mirrored memory, and memory that moves beneath them."""

from __future__ import annotations

import mmap

import pytest

from fixtures import acts, behaviour, gpu_sees, landed, needs
from fixtures.given import MakeVm, Memory, Sentinel
from fixtures.memory import MREMAP_DONTUNMAP, MREMAP_MAYMOVE, PAGE, Buffer
from fixtures.sizes import SZ_2M, SZ_64K
from fixtures.xe.device import Device
from fixtures.xe.flags import PREFERRED_LOC
from fixtures.xe.vm import FAULTING, Vm
from gpu import Batch
from ioctl import xe

SYSTEM = xe.DRM_XE_PREFERRED_LOC_DEFAULT_SYSTEM & 0xFFFF_FFFF
DATA = 512
"""Offset of a node's number; its commands are at its start."""

pytestmark = needs("page-faults", "cpu-addr-mirror")


def linked(nodes: list[Buffer], result: Buffer, sentinel: Sentinel) -> list[int]:
    """Make each node a piece of batch that copies its number to the result and continues at the next: the numbers."""
    values = []
    for index, node in enumerate(nodes):
        at = node.size - PAGE  # the last page of each
        values.append(sentinel())
        node.set_u32(at + DATA, values[-1])
        piece = Batch().copy_mem(result.address + 4 * index, node.address + at + DATA)
        if index + 1 < len(nodes):
            following = nodes[index + 1]
            piece.chain(following.address + following.size - PAGE)
        else:
            piece.end()
        node.write(at, piece.encode())
    return values


@behaviour("fault.pointer-chase")
@acts("store")
@needs("range-attributes")
@pytest.mark.parametrize("rounds", [1, 3])
def test_batch_follows_list_through_all_memory(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, rounds: int
) -> None:
    """A linked list through memory that prefers VRAM or system memory, and through files, is followed to its end."""
    result = memory(PAGE)
    nodes = [memory(SZ_2M, align=SZ_2M, shared=index % 3 == 2) for index in range(9)]
    for node in nodes[1::3]:
        mirror_vm.madvise(node.address, node.size, PREFERRED_LOC, devmem_fd=SYSTEM)
    queue = mirror_vm.queue()
    for _ in range(rounds):
        values = linked(nodes, result, sentinel)
        queue.run(Batch().chain(nodes[0].end - PAGE))
        for index, value in enumerate(values):
            landed(result, 4 * index, value)


@behaviour("md.batch-in-peer")
@acts("store")
@needs("vram", "two-devices", "interconnect", "range-attributes", "svm-vram")
def test_batch_in_the_vram_of_a_peer_runs(
    devices: list[Device], make_vm: MakeVm, memory: Memory, sentinel: Sentinel
) -> None:
    """A batch whose memory is in the VRAM of another device is executed."""
    vm, peer = make_vm(FAULTING, devices[0]), devices[1]
    vm.mirror()
    code, result, value = memory(SZ_2M, align=SZ_2M), memory(PAGE), sentinel()
    code.write(PAGE, Batch().store_dword(result.address, value).end().encode())
    vm.madvise(code.address, SZ_2M, PREFERRED_LOC, devmem_fd=peer.fd, region_instance=peer.vram[0])
    before = peer.region(peer.vram[0]).used
    vm.queue().run(Batch().chain(code.address + PAGE))
    assert not code.present(PAGE)
    assert peer.region(peer.vram[0]).used > before + SZ_2M // 2
    landed(result, 0, value)


@behaviour("fault.mremap-dontunmap")
@acts("load", "store")
@pytest.mark.parametrize("size", [PAGE, SZ_64K, SZ_2M], ids=["4K", "64K", "2M"])
def test_mremap_dontunmap_leaves_zeros(mirror_vm: Vm, memory: Memory, sentinel: Sentinel, size: int) -> None:
    """After MREMAP_DONTUNMAP the GPU finds zeros at the old address and the data at the new one, in every page."""
    buffer, queue = memory(size, align=size), mirror_vm.queue()
    values = {offset: sentinel() for offset in sorted({0, size // 2, size - 4})}
    queue.store_all({buffer.address + offset: value for offset, value in values.items()})
    moved = buffer.mremap(flags=MREMAP_MAYMOVE | MREMAP_DONTUNMAP)
    try:
        for offset, value in values.items():
            gpu_sees(queue, moved.address + offset, value)
            gpu_sees(queue, buffer.address + offset, 0)
        value = sentinel()
        queue.store(buffer.address + size - 4, value)
        landed(buffer, size - 4, value)
        for offset, old in values.items():
            landed(moved, offset, old)
    finally:
        moved.munmap()


@behaviour("gc.regrant")
@acts("load", "store")
@pytest.mark.parametrize("how", ["reuse", "dontneed", "free"])
def test_memory_given_out_again_stays_usable(
    mirror_vm: Vm, memory: Memory, sentinel: Sentinel, how: str
) -> None:
    """Memory that an allocator frees and reuses without munmap is usable each time, without any ioctl."""
    buffer, queue = memory(2 * SZ_2M, align=SZ_2M), mirror_vm.queue()
    for _ in range(12):
        values = {offset: sentinel() for offset in (0, SZ_2M - 4, SZ_2M, 2 * SZ_2M - 4)}
        for offset, value in values.items():
            buffer.set_u32(offset, value)
        for offset, value in values.items():
            gpu_sees(queue, buffer.address + offset, value)
            queue.store(buffer.address + offset, stored := sentinel())
            landed(buffer, offset, stored)
        if how == "dontneed":
            queue.store(buffer.address + SZ_2M, sentinel())  # back to VRAM, if there is any
            buffer.madvise(mmap.MADV_DONTNEED)
            gpu_sees(queue, buffer.address + SZ_2M, 0)
        elif how == "free":
            buffer.madvise(mmap.MADV_FREE)
