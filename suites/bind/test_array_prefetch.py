# SPDX-License-Identifier: MIT
"""Arrays of binds with a PREFETCH next to other operations (xe_vm.c: prefetch_ranges, xe_vm_bind_ioctl)."""

from __future__ import annotations

import mmap

import pytest

from fixtures import acts, behaviour, gpu_sees, known, needs, spoils
from fixtures.given import Memory, Sentinel
from fixtures.memory import PAGE
from fixtures.sizes import SZ_2M
from fixtures.xe.checks import gpu_fault
from fixtures.xe.flags import IMMEDIATE, NULL, PREFETCH, UNMAP
from fixtures.xe.sync import UserFence
from fixtures.xe.vm import Vm
from ioctl import xe

AT = 0x20_0000_0000
"""A GPU address at which nothing is bound, multiple of 2 MiB."""
FINDING = "A PREFETCH that moves nothing drops the other operations of its array"

pytestmark = needs("page-faults", "vram")


@pytest.fixture
def prefetch(mirror_vm: Vm, memory: Memory, sentinel: Sentinel, stuck: bool) -> xe.drm_xe_vm_bind_op:
    """PREFETCH to VRAM of memory that can move, or that cannot, as two CPU mappings share its range."""
    buffer = memory(SZ_2M, align=SZ_2M)
    mirror_vm.queue().store(buffer.address, sentinel())
    buffer.set_u32(0, sentinel())  # the CPU brings it back, and the range stays
    assert buffer.present(0)
    if stuck:
        buffer.madvise(mmap.MADV_DONTFORK, SZ_2M // 2, SZ_2M // 2)
    return mirror_vm.operation(PREFETCH, addr=buffer.address, range=SZ_2M, region=mirror_vm.device.vram[0])


def _array(vm: Vm, operations: list[xe.drm_xe_vm_bind_op]) -> None:
    """The array is accepted and carried out."""
    fence = UserFence(vm.device)
    vm.bind_array(operations, syncs=[fence.sync()])
    fence.wait()


each_stuck = pytest.mark.parametrize(
    "stuck",
    [
        False,
        pytest.param(
            True,
            marks=[
                known(
                    FINDING, first="6.17", signature="expected EIO, but the call succeeded", acts=("load",)
                ),
                spoils("the VMA is never destroyed, and keeps the device: the driver cannot be bound again"),
            ],
        ),
    ],
    ids=["movable", "stuck"],
)
"""Parametrises a test by whether the memory of the PREFETCH can move."""


@behaviour("prefetch.array-mixed")
@acts("load", "refusal")
@each_stuck
@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "middle", "last"])
def test_map_and_unmap_around_prefetch_take_effect(
    mirror_vm: Vm, sentinel: Sentinel, prefetch: xe.drm_xe_vm_bind_op, position: int
) -> None:
    """MAP and UNMAP in an array with a PREFETCH are carried out, whether the memory could move or not."""
    queue, there = mirror_vm.queue(), AT + 16 * SZ_2M
    mirror_vm.bind_and_wait(addr=AT, range=SZ_2M, flags=NULL | IMMEDIATE)
    mirror_vm.unmap(there, SZ_2M)  # no mirror any more
    gpu_sees(queue, AT + PAGE, 0)
    with gpu_fault(other := mirror_vm.queue()):
        other.load(there)
    operations = [
        mirror_vm.operation(UNMAP, addr=AT, range=SZ_2M),
        mirror_vm.operation(addr=there, range=SZ_2M, flags=NULL | IMMEDIATE),
    ]
    operations.insert(position, prefetch)
    _array(mirror_vm, operations)
    with gpu_fault(queue):
        queue.store(AT + PAGE, sentinel())
    for offset in (0, SZ_2M // 2, SZ_2M - 4):
        gpu_sees(mirror_vm.queue(), there + offset, 0)


@behaviour("bind.array.order", "prefetch.best-effort")
@acts("load", "refusal")
@each_stuck
@pytest.mark.parametrize("position", [0, 1], ids=["before", "after"])
def test_unmap_next_to_prefetch_takes_effect(
    mirror_vm: Vm, sentinel: Sentinel, prefetch: xe.drm_xe_vm_bind_op, position: int
) -> None:
    """UNMAP in an array with a PREFETCH removes a mapping, whether the memory could be migrated or not."""
    queue = mirror_vm.queue()
    # A NULL mapping: where UNMAP is lost, a bo stays on the lists of a VM that is gone, which oopses at its next move.
    mirror_vm.bind_and_wait(addr=AT, range=SZ_2M, flags=NULL | IMMEDIATE)
    gpu_sees(queue, AT + PAGE, 0)
    operations = [prefetch]
    operations.insert(position, mirror_vm.operation(UNMAP, addr=AT, range=SZ_2M))
    _array(mirror_vm, operations)
    with gpu_fault(queue):
        queue.store(AT + PAGE, sentinel())
