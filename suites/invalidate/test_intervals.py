# SPDX-License-Identifier: MIT
"""Parts of mirrored memory are unmapped, replaced, moved, emptied or protected: any part, of any kind of memory.

Before the call returns, the GPU loses the part that the operation affects, and nothing else: all other bytes stay the
same, for GPU and CPU, although whole ranges are invalidated (drm_gpusvm.c: DOC Partial Unmapping).

Memory is three ranges long here, or six of huge pages. The operations relate to the middle one in all possible ways: at
its left or right end, inside, across an end, around it, exactly on it, or next to it.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import pytest
from _pytest.mark import ParameterSet

from fixtures import acts, behaviour, gpu_fault, gpu_finds, kinds, known, landed, needs, wait_until
from fixtures.given import Memory, Sentinel
from fixtures.intervals import (
    ACROSS_RIGHT,
    BEFORE,
    EXACT,
    LEFT,
    MIDDLE,
    PARTS,
    RELATIONS,
    RIGHT,
    Interval,
    Relation,
)
from fixtures.kinds import HUGETLB, KINDS, THP, Kind
from fixtures.memory import (
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PAGE,
    PROT_NONE,
    PROT_READ,
    READ_WRITE,
    Buffer,
    mremap,
)
from fixtures.sizes import SZ_1M, SZ_2M, SZ_4K, SZ_16K, SZ_512K
from fixtures.xe.queue import Queue
from fixtures.xe.sync import SECOND
from fixtures.xe.vm import Vm
from gpu import Batch

PIECES = {"4K": SZ_4K, "64K": SZ_16K, "2M": SZ_512K}
"""Bytes of a quarter of a range; a page has no quarter, so four ranges of 4 KiB stand for one."""

INSIDE = 16
"""Offset of the value in a piece."""

pytestmark = needs("page-faults")


def _cuts(kind: Kind, pieces: dict[str, int], relations: tuple[Relation, ...]) -> list[ParameterSet]:
    return [
        pytest.param((kind, size, relation), id=f"{relation.name}-{name}-{kind}", marks=needs(*kind.needs))
        for name, size in pieces.items()
        for relation in relations
    ]


def _piece(kind: Kind) -> dict[str, int]:
    """The most revealing size for a kind of memory: its huge pages are split, if possible."""
    return {HUGETLB: {"8M": kinds.HUGE}, THP: {"2M": SZ_512K}}.get(kind, {"64K": SZ_16K})


each_cut = pytest.mark.parametrize(
    "cut",
    _cuts(kinds.ANONYMOUS, PIECES, RELATIONS)
    + [
        case
        for kind in KINDS
        if kind is not kinds.ANONYMOUS
        for case in _cuts(kind, _piece(kind), (LEFT, MIDDLE, ACROSS_RIGHT, EXACT))
    ],
    indirect=True,
)
few_cuts = pytest.mark.parametrize(
    "cut",
    [case for kind in KINDS for case in _cuts(kind, _piece(kind), (RIGHT, MIDDLE, BEFORE))],
    indirect=True,
)


@dataclass
class Cut:
    """Memory that the GPU uses, and the part of it that an operation hits."""

    vm: Vm
    queue: Queue
    buffer: Buffer
    kind: Kind
    part: Interval
    """The intervals to unmap."""
    values: dict[int, int]
    """The values that the GPU stored into each piece, by address."""
    range: int
    """Bytes of a range."""

    @property
    def offset(self) -> int:
        """Offset of the part in the buffer."""
        return self.part.start - self.buffer.address

    @property
    def size(self) -> int:
        """Bytes of the part."""
        return self.part.size

    @property
    def inside(self) -> dict[int, int]:
        """The values of the part."""
        return {at: value for at, value in self.values.items() if self.part.start <= at < self.part.end}

    @property
    def outside(self) -> dict[int, int]:
        """The other values."""
        return {at: value for at, value in self.values.items() if at not in self.inside}

    @property
    def apart(self) -> dict[int, int]:
        """The values in ranges that the part does not touch."""
        start, size = self.buffer.address, self.range
        first, last = self.offset // size, (self.offset + self.size - 1) // size
        return {at: value for at, value in self.values.items() if not first <= (at - start) // size <= last}

    def check(self, values: dict[int, int]) -> None:
        """GPU and CPU find these values at these addresses."""
        gpu_finds(self.queue, values)
        for address, value in values.items():
            landed(self.buffer, address - self.buffer.address, value)

    def refuse(self) -> None:
        """The GPU cannot reach either end of the part, and the attempts change nothing."""
        for address in min(self.inside), max(self.inside):
            with gpu_fault(self.vm.queue()) as queue:
                queue.load(address)


@pytest.fixture
def cut(
    request: pytest.FixtureRequest, mirror_vm: Vm, queue: Queue, memory: Memory, sentinel: Sentinel
) -> Cut:
    """See Cut; parametrised by kind of memory, size of a piece, and relation of the part to the middle range."""
    kind, piece, relation = request.param
    size = piece if kind is HUGETLB else PARTS * piece  # of a range, or of four that are a page each
    buffer = memory(PARTS * piece + 2 * size, align=size, kind=kind)
    middle = Interval(buffer.address + size, buffer.end - size)
    values = {at + INSIDE: sentinel() for at in range(buffer.address, buffer.end, piece)}
    queue.store_all(values)
    gpu_finds(queue, values)
    return Cut(mirror_vm, queue, buffer, kind, relation.to(middle), values, size)


@behaviour("notifier.unmap-event", "invalidate.partial-munmap-keeps-rest")
@acts("store", "load", "refusal")
@each_cut
def test_munmap_of_part_keeps_rest(cut: Cut) -> None:
    """After munmap of a part the GPU cannot access it, and the rest is unchanged for GPU and CPU."""
    cut.buffer.munmap(cut.offset, cut.size)
    cut.refuse()
    cut.check(cut.outside)


@behaviour("invalidate.remap-fixed")
@acts("store", "load")
@each_cut
def test_map_fixed_over_part_keeps_rest(cut: Cut, sentinel: Sentinel) -> None:
    """After mmap(MAP_FIXED) over a part GPU and CPU share the new memory, and the rest is unchanged."""
    cut.buffer.remap_fresh(cut.offset, cut.size)
    cut.check(cut.outside)
    gpu_finds(cut.queue, dict.fromkeys(cut.inside, 0))
    values = {address: sentinel() for address in cut.inside}
    cut.queue.store_all(values)
    cut.check(values)
    cut.check(cut.outside)


@behaviour("fault.mremap", "invalidate.munmap-no-stale-read")
@acts("store", "load", "refusal")
@each_cut
def test_mremap_of_part_keeps_rest(cut: Cut, memory: Memory, sentinel: Sentinel) -> None:
    """After mremap of a part it is at its new address and gone from the old, for GPU and CPU; the rest is unchanged."""
    there = memory(cut.size, align=cut.kind.page, kind=cut.kind)
    mremap(cut.part.start, cut.size, cut.size, MREMAP_MAYMOVE | MREMAP_FIXED, there.address)
    moved = {address - cut.part.start: value for address, value in cut.inside.items()}
    gpu_finds(cut.queue, {there.address + offset: value for offset, value in moved.items()})
    cut.refuse()
    cut.check(cut.outside)
    for offset, value in moved.items():
        landed(there, offset, value)
    values = {there.address + offset: sentinel() for offset in moved}
    cut.queue.store_all(values)
    for address, value in values.items():
        landed(there, address - there.address, value)


@behaviour("notifier.other-events", "fault.madvise-dontneed")
@acts("store", "load")
@each_cut
def test_dontneed_of_part_keeps_rest(cut: Cut, sentinel: Sentinel) -> None:
    """After MADV_DONTNEED of a part GPU and CPU see what that kind of memory keeps; the rest is unchanged."""
    lost = kinds.discard(cut.buffer, cut.kind, cut.offset, cut.size)
    cut.check(cut.outside)
    cut.check(dict.fromkeys(cut.inside, 0) if lost else cut.inside)
    values = {address: sentinel() for address in cut.inside}
    cut.queue.store_all(values)
    cut.check(values | cut.outside)


@behaviour("notifier.other-events", "notifier.sync-with-syscall")
@acts("store", "load", "refusal")
@few_cuts
@pytest.mark.parametrize("protection", [PROT_NONE, PROT_READ], ids=["none", "read"])
def test_mprotect_of_part_makes_it_inaccessible(cut: Cut, protection: int) -> None:
    """While a part is read-only the GPU cannot access it through the mirror; once writable, its data is there."""
    cut.buffer.mprotect(protection, cut.offset, cut.size)
    cut.refuse()
    cut.check(cut.apart)
    cut.buffer.mprotect(READ_WRITE, cut.offset, cut.size)
    cut.check(cut.values)


@behaviour("invalidate.partial-mprotect")
@acts("store")
@known(
    "A range of which a part is not writable keeps the fault handler busy",
    first="6.17",
    signature="ETIME: DRM_IOCTL_XE_WAIT_USER_FENCE on fd #: Timer expired",
)
@pytest.mark.parametrize("protection", [PROT_NONE, PROT_READ], ids=["none", "read"])
def test_rest_of_partly_protected_range_is_accessible(
    queue: Queue, memory: Memory, sentinel: Sentinel, protection: int
) -> None:
    """A GPU access to the writable rest of a range, part of which is read-only now, terminates."""
    buffer, value = memory(SZ_2M, align=SZ_2M), sentinel()
    queue.store(buffer.address, value)
    landed(buffer, 0, value)
    buffer.mprotect(protection, SZ_1M)
    buffer.madvise(mmap.MADV_DONTNEED, PAGE, PAGE)  # if the GPU still had the range, now it has not
    job = queue.start(Batch().store_dword(buffer.address, sentinel()))
    try:
        job.wait(SECOND // 2)
    finally:
        buffer.mprotect(READ_WRITE, SZ_1M)
        wait_until(lambda: job.done, what="the batch, with nothing in its way")
